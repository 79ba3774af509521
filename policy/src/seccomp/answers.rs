//! What is answered to a call that is not allowed, where EPERM would be the wrong answer.
//!
//! Three answers besides. *Killed*: calls that no ordinary program makes by accident, so that making one is an attack
//! worth a record. *Absent*: the caller has a fallback that a filter can check, which it takes only when the call seems
//! not to exist. *Refused* with EPERM, all the rest: programs probe for optional calls and must survive the answer.

use super::arguments;
use super::rule::{Call, Rules, calls};

/// What a debugger's server does and no other program may.
pub(crate) const TRACES: &[Call] = calls![SYS_ptrace];

/// Calls that end the process: no ordinary program makes them by accident.
pub(crate) fn killed() -> Rules {
    let mut rules = Rules::default();
    rules.always(calls![
        SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp SYS_userfaultfd SYS_bpf SYS_perf_event_open
        SYS_io_uring_enter SYS_io_uring_register
        SYS_mount SYS_umount2 SYS_pivot_root SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick
        SYS_mount_setattr SYS_setns SYS_unshare SYS_open_by_handle_at
        SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot SYS_swapon SYS_swapoff
        SYS_keyctl SYS_add_key SYS_request_key SYS_acct SYS_quotactl SYS_settimeofday SYS_clock_settime
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![SYS_kexec_file_load SYS_iopl SYS_ioperm SYS_modify_ldt]);
    let personality = ("SYS_personality", libc::SYS_personality);
    rules.when(personality, "changing it", &[&arguments::personality_changed()]);
    rules
}

/// Calls that seem not to exist, by an errno: an attack on one is worth a record, and nobody can answer for the filter.
/// `io_uring_setup` would make the filter blind, and runtimes fall back to `epoll`.
pub(crate) fn absent() -> Rules {
    let mut rules = Rules::default();
    rules.always(calls![SYS_io_uring_setup]);
    rules
}

/// Calls that programs make in their ordinary work and can do without: they seem not to exist, and leave no record, which
/// would hide the others. For each, `reasons` says what the program does instead.
///
/// `clone3` is among them because it passes its flags in memory, which no filter can see: libc falls back to `clone`, and
/// tries again for every thread.
///
/// This answer (`SECCOMP_RET_TRACE`) is ENOSYS as long as nobody traces the process, and an action of its own, so that the
/// kernel's record of refused calls can leave it out. A tracer could let the call through. In a box nobody can be one
/// (`ptrace` kills) but a debugger's server, which a developer has put there; one from outside is root of the device, and what `clone3` has beyond `clone` needs capabilities that a
/// box does not have (the kernel is built without user namespaces).
pub(crate) fn untraced() -> Rules {
    let mut rules = Rules::default();
    rules.always(calls![
        SYS_clone3 SYS_rseq
        SYS_setuid SYS_setgid SYS_timer_create SYS_timer_settime SYS_times SYS_close_range SYS_getrusage
        SYS_copy_file_range SYS_fadvise64 SYS_fstatfs SYS_fallocate
        SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_setxattr SYS_lsetxattr
        SYS_fsetxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![SYS_getrlimit SYS_select]);
    rules
}
