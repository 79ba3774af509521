//! Processes as PID 1 sees them: cloning, spawning the manager, waiting, signals, ending a whole cgroup, the clock.

use std::ffi::{CStr, c_char};
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_long};

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

unsafe extern "C" {
    /// The environment of this process (`environ(7)`).
    static environ: *const *const c_char;
}

/// `clone3` into a cgroup: a fork whose child is there from its first instruction. (Moving it afterwards by
/// `cgroup.procs` waits milliseconds for the scheduler's grace period.) 0 in the child, negative with errno on failure.
///
/// # Safety
/// The child must make raw system calls only and never return from the caller.
pub(crate) unsafe fn clone_into(cgroup: RawFd, flags: c_int, pidfd: &mut RawFd) -> c_long {
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000; // linux/sched.h
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: clone_args is plain integers; all zero is its default.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = flags as u64 | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
    args.pidfd = &raw mut *pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup as u64;
    // SAFETY: without CLONE_VM the child has a copy of this stack and returns 0 on it. The caller is single-threaded on
    // the device; in tests the child calls nothing that could need a lock.
    unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, mem::size_of_val(&args)) }
}

/// Starts `argv` outside any box, in the cgroup whose directory is given, with `socket` as its descriptor 3 and
/// nothing to read. For `sandboxd` alone. A program that can not be executed ends with status 127.
///
/// # Errors
/// Those of `clone3(2)`.
pub fn spawn_manager(argv: &[&CStr], socket: &OwnedFd, cgroup: &OwnedFd) -> io::Result<u32> {
    let pointers: Vec<_> = argv.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
    let ignored = ignored_signals();
    // SAFETY: the child makes raw system calls, on strings and descriptors of its copy of this memory, and ends.
    unsafe {
        let pid = clone_into(cgroup.as_raw_fd(), 0, &mut -1);
        if pid == 0 {
            // A duplicate is not close-on-exec, unless it is the same number.
            let given = if socket.as_raw_fd() == 3 {
                libc::fcntl(3, libc::F_SETFD, 0)
            } else {
                libc::dup2(socket.as_raw_fd(), 3)
            };
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if given >= 0 && libc::dup2(null, 0) >= 0 && default_signals(ignored) >= 0 {
                libc::execve(*pointers.as_ptr(), pointers.as_ptr(), environ);
            }
            libc::_exit(127);
        }
        if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(u32::try_from(pid).unwrap_or(0)) }
    }
}

/// Signals that this process ignores, bit `n - 1` for signal `n`: what a child would inherit as ignored.
pub(crate) fn ignored_signals() -> u64 {
    let ignored = |signal: &i32| {
        // `struct sigaction` of the kernel: handler (1 is SIG_IGN), flags, restorer, mask.
        let mut now = [0_u64; 4];
        // SAFETY: only asks; `now` has the structure's size.
        let r =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, *signal, ptr::null::<u64>(), &raw mut now, 8) };
        r == 0 && now.first() == Some(&1)
    };
    (1..=64).filter(ignored).fold(0, |bits, signal| bits | 1 << (signal - 1))
}

/// In a child: the signals of `ignored` back to their default, and none blocked. Handlers went with
/// CLONE_CLEAR_SIGHAND.
///
/// # Safety
/// Only in a single-threaded child.
pub(crate) unsafe fn default_signals(ignored: u64) -> c_long {
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in (1..=64).filter(|s| ignored & (1 << (s - 1)) != 0) {
        // SAFETY: sets a valid signal to its default by the raw call, since glibc refuses its own two.
        let r =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), ptr::null::<u64>(), 8) };
        if r < 0 {
            return -1;
        }
    }
    let none = 0_u64;
    // SAFETY: an empty mask of the kernel's eight bytes.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, ptr::null::<u64>(), 8)
    }
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
