//! What this machine has for boxes, for packages and for `make run`.

use std::env;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use packing::command::PACKAGES;

use super::{Finding, State};
use crate::exit::Exit;

/// The oldest kernel whose Landlock has all that boxes are held by (ABI 6).
const KERNEL_MIN: (u32, u32) = (6, 12);
/// What `make run` starts, by what it needs, and Debian's package of it.
const MACHINE: [(&str, &str); 3] =
    [("qemu-system-x86_64", "qemu-system-x86"), ("swtpm", "swtpm"), ("swtpm_setup", "swtpm-tools")];
/// Where Debian has the firmware.
const FIRMWARE: &str = "/usr/share/OVMF";

/// What a box needs of the kernel and of who runs `gabion run`.
pub(super) fn boxes() -> Vec<Finding> {
    let mut all = vec![kernel(), landlock(), seccomp()];
    all.push(match boxed::cgroup() {
        Ok(at) => Finding::ok("boxes", "cgroup v2", at.display().to_string()),
        Err(error) => Finding::not(State::Fail, "boxes", "cgroup v2", (error.to_string(), error.help())),
    });
    all.push(match nix::unistd::geteuid().is_root() {
        true => Finding::ok("boxes", "root", "boxes can be made"),
        false => {
            let said = "not root: boxes are made by root";
            Finding::not(State::Warn, "boxes", "root", (said, "sudo gabion run, sudo gabion policy learn"))
        }
    });
    all
}

fn kernel() -> Finding {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let help = "use Debian 12's backports (linux-image-amd64), Debian 13, or any newer kernel";
    match version(&release) {
        Some(version) if version >= KERNEL_MIN => Finding::ok("boxes", "kernel", release),
        _ => {
            let said = format!("{release}: boxes need {}.{}", KERNEL_MIN.0, KERNEL_MIN.1);
            Finding::not(State::Fail, "boxes", "kernel", (said, help))
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn landlock() -> Finding {
    match boxed::landlock() {
        Ok(()) => Finding::ok("boxes", "Landlock", "every right that a box names is handled"),
        Err(error) => {
            let help = "Linux 6.12 or newer, with `landlock` in CONFIG_LSM or lsm= on its command line";
            Finding::not(State::Fail, "boxes", "Landlock", (error.to_string(), help))
        }
    }
}

fn seccomp() -> Finding {
    let known = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let missing: Vec<_> = ["kill_process", "errno", "allow"]
        .into_iter()
        .filter(|action| !known.split(' ').any(|is| is.trim() == *action))
        .collect();
    if missing.is_empty() {
        return Finding::ok("boxes", "seccomp", "filters of system calls");
    }
    let said = format!("the kernel can not {}", missing.join(", "));
    Finding::not(
        State::Fail,
        "boxes",
        "seccomp",
        (said, "use a kernel with CONFIG_SECCOMP_FILTER, as Debian's"),
    )
}

/// The programs that `gabion build` and `make run` start.
pub(super) fn tools() -> Vec<Finding> {
    let mut all: Vec<Finding> = PACKAGES
        .iter()
        // What only tests and Gabion's own images need is left to `make packages`.
        .filter(|(program, _)| !["fsck.erofs", "sfdisk", "readelf"].contains(program))
        .map(|(program, package)| {
            let needed = matches!(*program, "mkfs.erofs" | "veritysetup");
            tool("packages", program, package, if needed { State::Fail } else { State::Warn })
        })
        .collect();
    all.extend(MACHINE.map(|(program, package)| tool("make run", program, package, State::Warn)));
    all.push(match Path::new(FIRMWARE).is_dir() {
        true => Finding::ok("make run", "OVMF", FIRMWARE),
        false => Finding::not(State::Warn, "make run", "OVMF", ("not there", "apt-get install ovmf")),
    });
    all.push(match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Finding::ok("make run", "KVM", "/dev/kvm"),
        Err(error) => {
            let help =
                "devices run slowly without; add yourself to the group kvm, or switch virtualisation on";
            Finding::not(State::Warn, "make run", "KVM", (error.to_string(), help))
        }
    });
    all
}

fn tool(about: &'static str, program: &str, package: &str, state: State) -> Finding {
    match found(program) {
        Some(path) => Finding::ok(about, program, path.display().to_string()),
        None => Finding::not(state, about, program, ("not there", format!("apt-get install {package}"))),
    }
}

/// Where a program is: in PATH, or where only root has it in PATH.
pub(crate) fn found(program: impl AsRef<Path>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let others = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(others).map(|folder| folder.join(&program)).find(|path| path.is_file())
}

/// The state of something that did not go well: what is not there is no failure of anybody's.
pub(super) fn state(exit: Exit) -> State {
    match exit {
        Exit::Unreachable | Exit::NotFound => State::Warn,
        _ => State::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_told_by_its_first_two_numbers() {
        assert_eq!(version("6.12.48+deb13-amd64"), Some((6, 12)));
        assert!(version("6.1.0-13-amd64") < Some(KERNEL_MIN) && version("7.0") > Some(KERNEL_MIN));
        assert_eq!(version("odd"), None);
    }
}
