//! Names of the system calls a box can be killed for, so that a record says `ptrace` and not a number.
//!
//! A call that is not listed shows as `syscall-N`: nothing is lost but comfort.

use nix::libc;

macro_rules! table {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

const COMMON: &[(libc::c_long, &str)] = table![
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp SYS_userfaultfd SYS_bpf SYS_perf_event_open
    SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_mount SYS_umount2 SYS_pivot_root SYS_open_tree
    SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_setns SYS_unshare
    SYS_open_by_handle_at SYS_name_to_handle_at SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load
    SYS_reboot SYS_swapon SYS_swapoff SYS_keyctl SYS_add_key SYS_request_key SYS_acct SYS_quotactl
    SYS_settimeofday SYS_clock_settime SYS_personality SYS_chroot SYS_seccomp SYS_memfd_create SYS_execveat
    SYS_syslog SYS_socket SYS_clone SYS_clone3 SYS_prctl SYS_mknodat SYS_setuid SYS_setgid SYS_capset SYS_ioctl
    SYS_mprotect SYS_mmap SYS_sethostname SYS_clock_adjtime SYS_adjtimex SYS_fanotify_init SYS_mbind
    SYS_move_pages SYS_migrate_pages SYS_shmat SYS_mq_open SYS_msgget SYS_semget SYS_shmget
];

#[cfg(target_arch = "x86_64")]
const ARCH: &[(libc::c_long, &str)] = table![
    SYS_kexec_file_load SYS_iopl SYS_ioperm SYS_modify_ldt SYS_mknod SYS_uselib SYS_ustat SYS_sysfs
];
#[cfg(not(target_arch = "x86_64"))]
const ARCH: &[(libc::c_long, &str)] = table![];

/// The kernel's name of call `number`.
pub fn name(number: u64) -> String {
    let known = COMMON.iter().chain(ARCH).find(|(n, _)| u64::try_from(*n) == Ok(number));
    match known {
        Some((_, name)) => name.trim_start_matches("SYS_").to_owned(),
        None => format!("syscall-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_known_and_unknown() {
        assert_eq!(name(u64::try_from(libc::SYS_ptrace).unwrap()), "ptrace");
        assert_eq!(name(99_999), "syscall-99999");
    }
}
