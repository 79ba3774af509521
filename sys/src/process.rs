//! Processes as PID 1 sees them: spawning the manager, waiting, signals, ending a whole cgroup, the clock.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

/// A child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its process id.
    pub pid: u32,
    /// `CLD_EXITED` or `CLD_KILLED`.
    pub code: i32,
    /// Exit code or signal.
    pub status: i32,
}

/// Reaps one child that has ended, if there is one; never blocks.
pub fn reap() -> Option<Ended> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    let (pid, code, status) = match waitid(Id::All, flags).ok()? {
        WaitStatus::Exited(pid, status) => (pid, libc::CLD_EXITED, status),
        WaitStatus::Signaled(pid, signal, _) => (pid, libc::CLD_KILLED, signal as i32),
        _ => return None,
    };
    Some(Ended { pid: pid.as_raw().unsigned_abs(), code, status })
}

/// Starts a program outside any box with `socket` as its descriptor 3. For `sandboxd` alone.
///
/// # Errors
/// Those of `fork` and `execve`.
pub fn spawn_manager(path: &str, args: &[&str], socket: &OwnedFd) -> io::Result<u32> {
    let raw = socket.as_raw_fd();
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null());
    // SAFETY: the closure runs between fork and exec and calls only dup2 and fcntl, which are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            let done = if raw == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(raw, 3) };
            if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    Ok(command.spawn()?.id())
}

/// Sends a signal to a process by pidfd, so that a reused pid is never hit.
///
/// # Errors
/// Those of `pidfd_send_signal(2)`.
pub fn signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: plain system call; a null siginfo is allowed.
    let r = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the program has a handler for SIGTERM. The first process of a pid namespace is not ended by a signal it
/// does not handle, though it would be outside; for such a program the default action is SIGKILL's.
pub fn handles_sigterm(pid: u32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
    let caught = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    caught & (1 << (libc::SIGTERM - 1)) != 0
}

/// Ends every process of a cgroup (`cgroup.kill`).
///
/// # Errors
/// Those of opening and writing the file.
pub(crate) fn kill_cgroup(directory: BorrowedFd<'_>) -> io::Result<()> {
    let flags = nix::fcntl::OFlag::O_WRONLY | nix::fcntl::OFlag::O_CLOEXEC;
    let file = nix::fcntl::openat(directory, "cgroup.kill", flags, nix::sys::stat::Mode::empty())?;
    nix::unistd::write(&file, b"1")?;
    Ok(())
}

/// Milliseconds of `CLOCK_MONOTONIC`.
pub fn now_ms() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    t.tv_sec.unsigned_abs() * 1000 + t.tv_nsec.unsigned_abs() / 1_000_000
}
