//! Which of QEMU's accelerators runs a machine: KVM where it works, else QEMU's own interpreter, with a thread for each of the machine's
//! processors where that is safe. `GABION_ACCEL=tcg` or `kvm` decides instead.

use crate::command::{output, tool};
use crate::qemu::QEMU;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

/// In how many seconds a kernel is through on KVM, which takes it less than one.
const PATIENCE_S: &str = "10";

/// What QEMU is told for a machine with this kernel, which has system management mode, as a board's firmware wants it, or not.
pub(crate) fn of(kernel: &Path, smm: bool) -> [&'static str; 4] {
    static WITH_SMM: OnceLock<bool> = OnceLock::new();
    static WITHOUT: OnceLock<bool> = OnceLock::new();
    let found = if smm { &WITH_SMM } else { &WITHOUT };
    let kvm = *found.get_or_init(|| match std::env::var("GABION_ACCEL").as_deref() {
        Ok(choice) => choice == "kvm",
        Err(_) => kvm_works(kernel, smm),
    });
    if kvm { ["-accel", "kvm", "-cpu", "host"] } else { ["-accel", tcg(), "-cpu", "max"] }
}

/// Before 8.2, a processor that writes to a device while another changes the memory map, as a kernel does when it finds its devices,
/// may use the old map's index in the new map: QEMU ends by a segmentation fault, once in some hundred boots (7.2, in
/// `memory_region_dispatch_write`). On one thread they take turns.
fn tcg() -> &'static str {
    static SAFE: OnceLock<bool> = OnceLock::new();
    let is_safe = *SAFE.get_or_init(|| {
        let said = output(tool(QEMU).arg("--version")).unwrap_or_default();
        version(&said).is_some_and(|version| version >= (8, 2))
    });
    if is_safe { "tcg,thread=multi" } else { "tcg,thread=single" }
}

/// The first two numbers of `QEMU emulator version 7.2.22 (Debian …)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split_once("version ")?.1.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `/dev/kvm` may be there and useless (without permission, without system management mode, on a host that is a guest and
/// interprets what it cannot nest): only a kernel that gets through proves it. This one finds no root, panics, and resets.
fn kvm_works(kernel: &Path, smm: bool) -> bool {
    if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    let machine = if smm { "q35,smm=on" } else { "q35" };
    let probe = tool("timeout")
        .args(["--signal=KILL", PATIENCE_S, QEMU, "-accel", "kvm", "-cpu", "host", "-machine", machine])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "96"])
        .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    probe.is_ok_and(|probe| {
        probe.status.success() && String::from_utf8_lossy(&probe.stdout).contains("Kernel panic")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_of_what_qemu_says() {
        assert_eq!(version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"), Some((7, 2)));
        assert_eq!(version("QEMU emulator version 10.0.2\n"), Some((10, 0)));
        assert_eq!(version("something else"), None);
    }
}
