//! Which syscalls each profile allows, and what each grant adds.
//!
//! Made from what programs were seen to need (`tests/programs/need`), not from what they might: a call that is in no
//! evidence stands in `reasons` with a written one, and the tests refuse any other. What programs try and can do
//! without is left out there too, by name.
//!
//! Deliberately never allowed: `seccomp`, `execveat` (runs descriptors, which Landlock does not see on a memfd),
//! `memfd_create` without `jit`, SysV semaphores and messages, message queues, new namespaces, `ptrace` and its kind.

use super::arguments::{self, Sockets};
use super::daemons;
use super::group::{Group, allow};
use super::rule::{Rules, calls};
use crate::facts::{Facts, Profile};
use crate::net::Proto;
use crate::place::DeviceClass;

impl Profile {
    /// Counts the changes of a profile's rules: a program that was measured against one version of a profile is told by
    /// it that there is another. A test holds it to the rules.
    pub const fn version(self) -> u32 {
        match self {
            Self::Strict => 2,
            Self::Default => 3,
            Self::NetworkServer => 4,
        }
    }
}

/// All that the box may call.
pub(crate) fn allowed(facts: &Facts) -> Rules {
    let mut rules = Rules::default();
    if let Some(filter) = facts.filter() {
        daemons::allowed(filter, &mut rules);
        return rules;
    }
    allow(&mut rules, STRICT);
    arguments::strict(&mut rules);
    if facts.profile >= Profile::Default {
        allow(&mut rules, DEFAULT);
        arguments::default(&mut rules);
    }
    if facts.profile >= Profile::NetworkServer {
        allow(&mut rules, NETWORK_SERVER);
        arguments::network_server(&mut rules);
    }
    let sockets = sockets(facts);
    if sockets.any() {
        allow(&mut rules, SOCKETS);
        arguments::sockets(&mut rules, sockets);
    }
    for device in &facts.devices {
        arguments::device(&mut rules, device.class());
    }
    if facts.jit {
        allow(&mut rules, JIT);
    }
    if facts.sysv_shm {
        sysv_shm(&mut rules);
    }
    rules
}

/// System V shared memory, with `sysv_shm`: a segment is the box's own (its IPC namespace goes with it), and its pages are charged to
/// the box. Never executable, `jit` or not: a segment attached twice, to write it and to run it, is memory that W^X does not see.
fn sysv_shm(rules: &mut Rules) {
    allow(rules, SYSV_SHM);
    arguments::sysv_shm(rules);
}

/// Which sockets the box may make.
pub(super) fn sockets(facts: &Facts) -> Sockets {
    let has = |proto| facts.ports().any(|port| port.proto() == proto);
    Sockets {
        unix: facts.profile >= Profile::Default || facts.needs_unix_sockets(),
        tcp: has(Proto::Tcp) || facts.resolves(),
        udp: has(Proto::Udp) || facts.resolves(),
    }
}

/// A static program that computes, on files and descriptors of its own, in threads of its own.
pub(super) const STRICT: &[Group] = &[
    Group {
        purpose: "reading and writing descriptors",
        calls: calls![
            SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_lseek SYS_close SYS_dup SYS_pipe2
            SYS_flock
        ],
    },
    Group {
        purpose: "files: opening, asking, changing",
        calls: calls![
            SYS_openat SYS_fstat SYS_newfstatat SYS_statx SYS_getdents64 SYS_getcwd SYS_chdir SYS_umask SYS_fchmod
            SYS_ftruncate SYS_fsync SYS_fdatasync SYS_unlinkat SYS_utimensat
        ],
    },
    Group { purpose: "the same by path, as this architecture has it", calls: FILES_BY_PATH },
    Group {
        purpose: "waiting for descriptors and timers",
        calls: calls![
            SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_eventfd2 SYS_timerfd_create
            SYS_timerfd_settime
        ],
    },
    Group { purpose: "the same, as this architecture has it", calls: WAITING },
    Group {
        purpose: "memory that is not executable",
        calls: calls![SYS_brk SYS_munmap SYS_mremap SYS_madvise SYS_msync],
    },
    Group {
        purpose: "starting, threads, ending",
        calls: calls![
            SYS_execve SYS_exit SYS_exit_group SYS_futex SYS_set_robust_list SYS_set_tid_address
            SYS_sched_getaffinity SYS_sched_yield
        ],
    },
    Group {
        purpose: "signals of its own",
        calls: calls![
            SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall SYS_tgkill SYS_tkill
        ],
    },
    Group {
        purpose: "who and where it is",
        calls: calls![
            SYS_getpid SYS_getppid SYS_gettid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_uname SYS_getrandom
        ],
    },
    Group {
        purpose: "time and sleep",
        calls: calls![SYS_clock_gettime SYS_clock_nanosleep SYS_nanosleep SYS_gettimeofday],
    },
];

#[cfg(target_arch = "x86_64")]
const FILES_BY_PATH: &[super::rule::Call] = calls![
    SYS_open SYS_stat SYS_lstat SYS_access SYS_readlink SYS_mkdir SYS_rmdir SYS_unlink SYS_rename SYS_dup2 SYS_pipe
];
// libc has no constant for `renameat` here: the number is that of `asm-generic/unistd.h`.
#[cfg(target_arch = "aarch64")]
const FILES_BY_PATH: &[super::rule::Call] = &[
    ("SYS_dup3", libc::SYS_dup3),
    ("SYS_faccessat", libc::SYS_faccessat),
    ("SYS_readlinkat", libc::SYS_readlinkat),
    ("SYS_mkdirat", libc::SYS_mkdirat),
    ("SYS_renameat", 38),
];

#[cfg(target_arch = "x86_64")]
const WAITING: &[super::rule::Call] = calls![SYS_poll SYS_epoll_wait SYS_arch_prctl];
#[cfg(target_arch = "aarch64")]
const WAITING: &[super::rule::Call] = calls![SYS_ppoll];

/// Any program that Debian ships and that does without privileges: interpreters, tools, servers.
pub(super) const DEFAULT: &[Group] = &[
    Group {
        purpose: "processes, of the box's own programs",
        calls: calls![
            SYS_wait4 SYS_kill SYS_setsid SYS_setpgid SYS_sysinfo SYS_setresuid SYS_setresgid
        ],
    },
    Group { purpose: "the same, as this architecture has it", calls: PROCESSES },
    Group {
        purpose: "signals and alarms",
        calls: calls![SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_setitimer],
    },
    Group {
        purpose: "files: what tools and servers do besides",
        calls: calls![SYS_faccessat2 SYS_fchdir SYS_mkdirat SYS_sendfile SYS_statfs SYS_renameat2 SYS_fchmodat SYS_sync],
    },
    Group { purpose: "the same by path, as this architecture has it", calls: MORE_FILES_BY_PATH },
];

#[cfg(target_arch = "x86_64")]
const PROCESSES: &[super::rule::Call] = calls![SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_epoll_create];
#[cfg(target_arch = "aarch64")]
const PROCESSES: &[super::rule::Call] = calls![SYS_getpgid];

#[cfg(target_arch = "x86_64")]
const MORE_FILES_BY_PATH: &[super::rule::Call] = calls![SYS_creat SYS_link SYS_symlink SYS_chmod];
#[cfg(target_arch = "aarch64")]
const MORE_FILES_BY_PATH: &[super::rule::Call] = calls![SYS_linkat SYS_symlinkat];

/// What tuned servers need besides.
pub(super) const NETWORK_SERVER: &[Group] = &[
    Group { purpose: "placing its threads", calls: calls![SYS_sched_setaffinity SYS_setpriority] },
    Group {
        purpose: "a database: signals read from a descriptor, pages of a file written, and written out, together",
        calls: calls![SYS_signalfd4 SYS_pwritev SYS_sync_file_range],
    },
];

/// What sockets of any family need once they exist; which exist is a matter of arguments.
pub(super) const SOCKETS: &[Group] = &[Group {
    purpose: "sockets",
    calls: calls![
        SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname SYS_getpeername SYS_getsockopt SYS_recvfrom
        SYS_recvmsg SYS_shutdown
    ],
}];

/// What programs need that make code as they run. It lifts W^X.
pub(super) const JIT: &[Group] = &[Group {
    purpose: "memory that is writable and executable, now or later",
    calls: calls![SYS_mmap SYS_mprotect SYS_pkey_mprotect SYS_pkey_alloc SYS_pkey_free SYS_memfd_create],
}];

/// What System V shared memory needs whatever the arguments.
pub(super) const SYSV_SHM: &[Group] =
    &[Group { purpose: "giving a segment of memory back", calls: calls![SYS_shmdt] }];

/// Every syscall that some manifest can be allowed, for looking up names.
pub(crate) fn everything() -> Rules {
    let mut rules = Rules::default();
    for groups in [STRICT, DEFAULT, NETWORK_SERVER, SOCKETS] {
        allow(&mut rules, groups);
    }
    arguments::strict(&mut rules);
    arguments::default(&mut rules);
    arguments::network_server(&mut rules);
    arguments::sockets(&mut rules, Sockets { unix: true, tcp: true, udp: true });
    for class in DeviceClass::ALL {
        arguments::device(&mut rules, class);
    }
    daemons::every(&mut rules);
    sysv_shm(&mut rules);
    allow(&mut rules, JIT);
    rules
}
