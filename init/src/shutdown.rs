//! The orderly end: boxes, then `sandboxd`, then everybody else, then file systems, then power.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};
use sys::bundle::Power;

use crate::report::say;

/// The longest a shutdown waits for boxes beyond their own stop times, and for `sandboxd`.
pub(crate) const MANAGER_MS: u64 = 3_000;

/// Asks the manager to end, if it runs.
pub(crate) fn ask(pid: Option<u32>, signal: Signal) {
    if let Some(Ok(pid)) = pid.map(i32::try_from) {
        // It may be gone already, which is what was wanted.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Ends everything. Does not return on the device; as the first process of a pid namespace the kernel ends us.
pub(crate) fn end(power: Power) -> ! {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    // Until they are gone they hold file systems open; a second at most, since one may hang in the kernel.
    for _ in 0..100 {
        while sys::process::reap().is_some() {}
        std::thread::sleep(std::time::Duration::from_millis(10));
        if kill(Pid::from_raw(-1), None).is_err() {
            break;
        }
    }
    sync();
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    for at in ["/data", "/apps", "/"] {
        // Read-only first: it leaves the file system clean even where something still holds it. Not mounted is fine.
        let _ = mount(None::<&str>, at, None::<&str>, read_only, None::<&str>);
        if at != "/" {
            let _ = umount2(at, MntFlags::empty()).or_else(|_| umount2(at, MntFlags::MNT_DETACH));
        }
    }
    sync();
    say!("{}", if power == Power::Off { "power off" } else { "reboot" });
    let mode = if power == Power::Off { RebootMode::RB_POWER_OFF } else { RebootMode::RB_AUTOBOOT };
    let _ = reboot(mode);
    std::process::exit(0)
}
