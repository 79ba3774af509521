//! Which syscalls each profile and each grant allows, and which kill.
//!
//! Three answers. *Allowed*: listed below, possibly with certain arguments. *Killed* ([`killed`]): calls that no
//! ordinary program makes by accident, so that making one is an attack worth a record. *Refused* with EPERM: all the
//! rest, because programs probe for optional calls and must survive the answer; and with ENOSYS ([`absent`]) where
//! the caller has a fallback that this filter can check, which is only taken when the call seems not to exist.
//!
//! Deliberately never allowed: `seccomp`, `execveat` (runs descriptors, which Landlock does not see on a memfd),
//! `memfd_create` without `jit` (a memfd mapped twice, RW and RX, is W^X undone), SysV IPC and message queues.

use super::rule::{Call, Rules, calls, is, is_not, masked, null};
use crate::facts::{Facts, Profile, SystemFilter};
use crate::net::Proto;

/// All that the box may call.
pub(crate) fn allowed(facts: &Facts) -> Rules {
    let mut rules = Rules::default();
    if let Some(filter) = facts.filter() {
        match filter {
            SystemFilter::Router => router(&mut rules),
        }
        return rules;
    }
    strict(&mut rules);
    if facts.profile >= Profile::Default {
        default(&mut rules);
    } else {
        strict_only(&mut rules);
    }
    if facts.profile >= Profile::NetworkServer {
        network_server(&mut rules);
    }
    if facts.profile >= Profile::Default || facts.needs_unix_sockets() {
        unix_sockets(&mut rules);
    }
    for proto in [Proto::Tcp, Proto::Udp] {
        if facts.ports().any(|port| port.proto() == proto) {
            internet_sockets(&mut rules, proto);
        }
    }
    if rules.of(libc::SYS_getsockopt).is_some() {
        rules.when(("SYS_setsockopt", libc::SYS_setsockopt), "except SO_LINGER", NO_LINGER);
    }
    memory(&mut rules, facts.jit);
    rules
}

/// Compute, files, and descriptors that it already has.
fn strict(rules: &mut Rules) {
    rules.always(calls![
        SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2 SYS_pwritev2
        SYS_lseek SYS_openat SYS_close SYS_close_range SYS_fcntl SYS_dup SYS_dup3 SYS_flock
        SYS_fstat SYS_newfstatat SYS_statx SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64 SYS_getcwd
        SYS_chdir SYS_umask SYS_ftruncate SYS_fsync SYS_fdatasync SYS_mkdirat SYS_unlinkat SYS_renameat2
        SYS_utimensat SYS_ppoll
        SYS_brk SYS_munmap SYS_mremap SYS_madvise
        SYS_execve SYS_exit SYS_exit_group SYS_futex SYS_set_robust_list SYS_set_tid_address SYS_rseq SYS_tgkill
        SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall
        SYS_getpid SYS_gettid SYS_getppid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid
        SYS_uname SYS_sysinfo SYS_getrandom SYS_sched_getaffinity SYS_sched_yield
        SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday
        SYS_recvfrom SYS_recvmsg SYS_shutdown
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![
        SYS_open SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_dup2 SYS_mkdir SYS_rmdir SYS_unlink
        SYS_rename SYS_poll SYS_arch_prctl SYS_time
    ]);
    rules.always(LIMITS_AND_RENAME);
    // A connection made by sending (TCP Fast Open) is one that Landlock's connect rule never sees.
    let no_fast_open = "without MSG_FASTOPEN";
    rules.when(("SYS_sendto", libc::SYS_sendto), no_fast_open, &[&[masked(3, MSG_FASTOPEN, 0)]]);
    rules.when(("SYS_sendmsg", libc::SYS_sendmsg), no_fast_open, &[&[masked(2, MSG_FASTOPEN, 0)]]);
    let options: Vec<_> = PRCTL_OPTIONS.iter().map(|option| [is(0, *option)]).collect();
    let options: Vec<_> = options.iter().map(<[_; 1]>::as_slice).collect();
    rules.when(("SYS_prctl", libc::SYS_prctl), "for harmless options of its own", &options);
}

// Calls for which libc has no constant on aarch64, with the numbers of `asm-generic/unistd.h` there.
#[cfg(target_arch = "x86_64")]
const LIMITS_AND_RENAME: &[Call] = calls![SYS_getrlimit SYS_renameat];
#[cfg(target_arch = "aarch64")]
const LIMITS_AND_RENAME: &[Call] = &[("SYS_getrlimit", 163), ("SYS_renameat", 38)];
#[cfg(target_arch = "x86_64")]
const LIMITS_AND_FILES: &[Call] = calls![SYS_setrlimit SYS_sync_file_range SYS_fchmodat2];
#[cfg(target_arch = "aarch64")]
const LIMITS_AND_FILES: &[Call] =
    &[("SYS_setrlimit", 164), ("SYS_sync_file_range", 84), ("SYS_fchmodat2", 452)];

/// `MSG_FASTOPEN` of `linux/socket.h`.
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// What a program may ask about or set on itself. Not here: anything of seccomp, securebits, ambient capabilities,
/// tracers, speculation, memory maps (`PR_SET_MM`), and `PR_SET_MDWE`, which is locked before.
const PRCTL_OPTIONS: [u32; 17] = [
    1,           // PR_SET_PDEATHSIG
    2,           // PR_GET_PDEATHSIG
    3,           // PR_GET_DUMPABLE
    4,           // PR_SET_DUMPABLE
    15,          // PR_SET_NAME
    16,          // PR_GET_NAME
    21,          // PR_GET_SECCOMP
    23,          // PR_CAPBSET_READ
    29,          // PR_SET_TIMERSLACK
    30,          // PR_GET_TIMERSLACK
    36,          // PR_SET_CHILD_SUBREAPER
    38,          // PR_SET_NO_NEW_PRIVS
    39,          // PR_GET_NO_NEW_PRIVS
    41,          // PR_SET_THP_DISABLE
    42,          // PR_GET_THP_DISABLE
    66,          // PR_GET_MDWE
    0x5356_4d41, // PR_SET_VMA: names of anonymous memory, by allocators
];

/// What strict has in a narrower form than the other profiles.
fn strict_only(rules: &mut Rules) {
    // TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
    let requests = [0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451].map(|request| [is(1, request)]);
    let requests: Vec<_> = requests.iter().map(<[_; 1]>::as_slice).collect();
    rules.when(("SYS_ioctl", libc::SYS_ioctl), "asking about descriptors", &requests);
    rules.when(("SYS_prlimit64", libc::SYS_prlimit64), "asking only", &[&[null(2)]]);
}

/// Threads, processes of its own root, signals, timers, everything about files.
fn default(rules: &mut Rules) {
    rules.always(calls![
        SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_pidfd_open SYS_pidfd_send_signal SYS_prlimit64
        SYS_getrusage SYS_times SYS_setpgid SYS_getpgid SYS_getsid SYS_setsid SYS_getgroups SYS_getresuid SYS_getresgid
        SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_capget
        SYS_rt_sigpending SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_signalfd4
        SYS_getitimer SYS_setitimer SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun
        SYS_timer_delete SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
        SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_pselect6 SYS_eventfd2 SYS_pipe2
        SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch
        SYS_sched_getparam SYS_sched_getscheduler SYS_sched_setaffinity SYS_sched_get_priority_max
        SYS_sched_get_priority_min SYS_getpriority SYS_setpriority SYS_getcpu SYS_membarrier SYS_futex_waitv
        SYS_mlock SYS_mlock2 SYS_munlock SYS_mincore SYS_msync
        SYS_openat2 SYS_fchdir SYS_truncate SYS_fallocate SYS_fadvise64 SYS_readahead SYS_copy_file_range SYS_sendfile
        SYS_splice SYS_tee SYS_sync SYS_syncfs SYS_statfs SYS_fstatfs SYS_linkat SYS_symlinkat
        SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat
        SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![
        SYS_fork SYS_vfork SYS_getpgrp SYS_pause SYS_alarm SYS_select SYS_epoll_create SYS_epoll_wait SYS_pipe
        SYS_eventfd SYS_inotify_init SYS_creat SYS_link SYS_symlink SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes
        SYS_futimesat
    ]);
    rules.always(LIMITS_AND_FILES);
    rules.when(("SYS_clone", libc::SYS_clone), "without new namespaces", &[&[masked(0, NAMESPACES, 0)]]);
    rules.when(
        ("SYS_ioctl", libc::SYS_ioctl),
        "except requests that reach beyond the box",
        &[&IOCTL_REFUSED],
    );
    // 0xffffffff asks; 0 is what it is already.
    let personality = ("SYS_personality", libc::SYS_personality);
    rules.when(personality, "asking only", &[&[is(0, u32::MAX)], &[is(0, 0)]]);
    rules.when(("SYS_mknodat", libc::SYS_mknodat), "making FIFOs", &[&[masked(2, S_IFMT, S_IFIFO)]]);
    #[cfg(target_arch = "x86_64")]
    rules.when(("SYS_mknod", libc::SYS_mknod), "making FIFOs", &[&[masked(1, S_IFMT, S_IFIFO)]]);
}

/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`. `clone` cannot ask for a time namespace:
/// its bit lies where `clone` has the exit signal.
const NAMESPACES: u32 =
    0x2_0000 | 0x200_0000 | 0x400_0000 | 0x800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000;
const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;

/// Requests refused on every descriptor: typing into, taking over or reconfiguring a terminal that others hold, and
/// two that an owner of a file may make to leave its project quota.
const IOCTL_REFUSED: [super::rule::Check; 6] = [
    is_not(1, 0x5412),      // TIOCSTI
    is_not(1, 0x541c),      // TIOCLINUX
    is_not(1, 0x541d),      // TIOCCONS
    is_not(1, 0x5423),      // TIOCSETD
    is_not(1, 0x4008_6602), // FS_IOC_SETFLAGS: clears FS_PROJINHERIT_FL
    is_not(1, 0x401c_5820), // FS_IOC_FSSETXATTR: changes the project id
];

/// Asynchronous file I/O, message batches, scheduling of its own threads.
fn network_server(rules: &mut Rules) {
    rules.always(calls![
        SYS_io_setup SYS_io_submit SYS_io_getevents SYS_io_cancel SYS_io_destroy SYS_recvmmsg SYS_vmsplice
        SYS_sched_setscheduler SYS_sched_setparam SYS_ioprio_get SYS_ioprio_set SYS_mlockall SYS_munlockall
    ]);
    rules.when(
        ("SYS_sendmmsg", libc::SYS_sendmmsg),
        "without MSG_FASTOPEN",
        &[&[masked(3, MSG_FASTOPEN, 0)]],
    );
}

/// What sockets of any family need once they exist.
const SOCKET_CALLS: &[Call] = calls![
    SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname SYS_getpeername SYS_getsockopt
];

/// Whoever closes the last descriptor of a connection that lingers waits there, as long as its maker liked. A descriptor
/// that is sent along with a message is closed by who receives the message, wanted or not: `sandboxd`, the router, a
/// server. (What would refuse it is `SO_PASSRIGHTS`, since Linux 6.16.)
const NO_LINGER: &[&[super::rule::Check]] =
    &[&[is_not(1, libc::SOL_SOCKET as u32)], &[is_not(2, libc::SO_LINGER as u32)]];

fn unix_sockets(rules: &mut Rules) {
    rules.always(SOCKET_CALLS);
    let unix = is(0, libc::AF_UNIX as u32);
    rules.when(("SYS_socket", libc::SYS_socket), "of the granted families", &[&[unix]]);
    rules.when(("SYS_socketpair", libc::SYS_socketpair), "of Unix sockets", &[&[unix]]);
}

/// TCP or UDP, and nothing else that goes by the same family: Landlock's port rules do not see MPTCP, SMC or SCTP.
fn internet_sockets(rules: &mut Rules, proto: Proto) {
    rules.always(SOCKET_CALLS);
    let (kind, number) = match proto {
        Proto::Tcp => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        Proto::Udp => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    };
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [0, number] {
            // The kernel's SOCK_TYPE_MASK is 0xf; beside it only SOCK_CLOEXEC and SOCK_NONBLOCK are valid.
            let socket = [is(0, family as u32), masked(1, 0xf, kind as u32), is(2, protocol as u32)];
            rules.when(("SYS_socket", libc::SYS_socket), "of the granted families", &[&socket]);
        }
    }
}

/// The bus's router: connections in, connections out, each over sockets that it was given. It opens nothing, neither
/// files nor sockets, and maps nothing executable. (glibc asks for its own path and maps at the start, and goes on
/// without.)
fn router(rules: &mut Rules) {
    rules.always(calls![
        SYS_accept4 SYS_sendmsg SYS_recvmsg SYS_recvfrom SYS_shutdown SYS_close SYS_fcntl SYS_fstat SYS_newfstatat
        SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_ppoll SYS_clock_gettime SYS_write
        SYS_brk SYS_munmap SYS_mremap SYS_madvise SYS_futex SYS_getrandom
        SYS_execve SYS_exit SYS_exit_group SYS_set_robust_list SYS_set_tid_address SYS_rseq SYS_gettid SYS_getpid
        SYS_tgkill SYS_sched_getaffinity SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack
        SYS_restart_syscall
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![SYS_poll SYS_epoll_wait SYS_arch_prctl]);
    rules.when(("SYS_prlimit64", libc::SYS_prlimit64), "asking only", &[&[null(2)]]);
    let option = [is(1, libc::SOL_SOCKET as u32), is(2, libc::SO_SNDBUF as u32)];
    rules.when(("SYS_setsockopt", libc::SYS_setsockopt), "how much may wait in a socket", &[&option]);
    rules.when(("SYS_ioctl", libc::SYS_ioctl), "not to wait for a socket", &[&[is(1, 0x5421)]]);
    let no_exec = [masked(2, libc::PROT_EXEC as u32, 0)];
    rules.when(("SYS_mmap", libc::SYS_mmap), "not executable", &[&no_exec]);
    rules.when(("SYS_mprotect", libc::SYS_mprotect), "not executable", &[&no_exec]);
}

/// W^X: no mapping that is writable and executable at once. That a writable one never *becomes* executable is
/// `PR_SET_MDWE`'s part, which a filter cannot do: it does not know what a mapping was before.
fn memory(rules: &mut Rules, jit: bool) {
    if jit {
        rules.always(
            calls![SYS_mmap SYS_mprotect SYS_pkey_mprotect SYS_pkey_alloc SYS_pkey_free SYS_memfd_create],
        );
        return;
    }
    let (write, exec) = (libc::PROT_WRITE as u32, libc::PROT_EXEC as u32);
    let not_both: &[&[_]] = &[&[masked(2, exec, 0)], &[masked(2, write, 0)]];
    rules.when(("SYS_mmap", libc::SYS_mmap), "not writable and executable at once", not_both);
    rules.when(("SYS_mprotect", libc::SYS_mprotect), "not writable and executable at once", not_both);
}

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
    rules.when(personality, "changing it", &[&[is_not(0, u32::MAX), is_not(0, 0)]]);
    rules
}

/// Calls that seem not to exist. `clone3` passes its flags in memory, which no filter can see: libc falls back to
/// `clone`. `io_uring_setup` would make the filter blind: runtimes fall back to `epoll`.
pub(crate) fn absent() -> Rules {
    let mut rules = Rules::default();
    rules.always(calls![SYS_clone3 SYS_io_uring_setup]);
    rules
}

/// Every syscall that some manifest can be allowed, for looking up names.
pub(crate) fn everything() -> Rules {
    let mut rules = Rules::default();
    strict(&mut rules);
    default(&mut rules);
    network_server(&mut rules);
    unix_sockets(&mut rules);
    memory(&mut rules, true);
    rules
}
