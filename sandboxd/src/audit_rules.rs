//! What the kernel is asked to record: every call of a box that is refused, whichever layer refuses it.
//!
//! The filter's refusals come by themselves, because boxes load their filters with `SECCOMP_FILTER_FLAG_LOG`; those of
//! the layers behind it come by a rule for each errno. Calls answered with ENOSYS, which libc makes at every start of a
//! thread, are answered in a way that is not logged (`policy`'s `seccomp`).
//!
//! Not recorded: what does not exist in the box (ENOENT, ESRCH). There is nothing that would be refused.

use std::io;

use nix::libc;
use sys::audit::{AuditControl, CALLS_ALL, Calls, Field, Rule, UNUSED};

use crate::system;

/// Refused by permissions, Landlock, W^X, `noexec`; by a read-only mount; by a quota.
const ERRNOS: [i32; 4] = [libc::EPERM, libc::EACCES, libc::EROFS, libc::EDQUOT];

/// Calls that are made all the time and refused by no layer: what a rule costs each call, they are spared.
const UNWATCHED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_ppoll,
    libc::SYS_epoll_pwait,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// Calls that make a process, which EAGAIN means a limit for.
const FORKS: &[libc::c_long] = &[
    libc::SYS_clone,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// The filter's answers that the kernel logs: all but `trace`.
const LOGGED: &str = "kill_process kill_thread trap errno log";

/// Sets every rule. They stay when sandboxd is gone, and setting them again changes nothing.
pub(crate) fn set() -> io::Result<AuditControl> {
    let control = AuditControl::open()?;
    control.enable()?;
    for kind in UNUSED {
        control.add(&Rule::Silence(&[Field::Kind(kind)]))?;
    }
    let boxes = Field::UidFrom(system::FIRST_UID);
    let mut watched = CALLS_ALL;
    UNWATCHED.iter().for_each(|call| set_bit(&mut watched, *call, false));
    for errno in ERRNOS {
        control.add(&Rule::Record(&watched, &[Field::Errno(errno), boxes]))?;
    }
    let mut forks = [0; 64];
    FORKS.iter().for_each(|call| set_bit(&mut forks, *call, true));
    control.add(&Rule::Record(&forks, &[Field::Errno(libc::EAGAIN), boxes]))?;
    std::fs::write("/proc/sys/kernel/seccomp/actions_logged", LOGGED)?;
    Ok(control)
}

/// Records nothing of the box `uid`, or all of it again.
pub(crate) fn silence(control: &AuditControl, uid: u32, on: bool) -> io::Result<()> {
    let fields = [Field::Uid(uid)];
    let rule = Rule::Silence(&fields);
    if on { control.add(&rule) } else { control.remove(&rule) }
}

fn set_bit(calls: &mut Calls, call: libc::c_long, on: bool) {
    let call = usize::try_from(call).unwrap_or(usize::MAX);
    if let Some(word) = calls.get_mut(call / 32) {
        let bit = 1 << (call % 32);
        if on { *word |= bit } else { *word &= !bit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_as_the_kernel_counts_them() {
        let mut calls = [0; 64];
        set_bit(&mut calls, 33, true);
        assert_eq!((calls[0], calls[1]), (0, 2));
        set_bit(&mut calls, 33, false);
        set_bit(&mut calls, 1 << 20, true);
        assert_eq!(calls, [0; 64]);
    }
}
