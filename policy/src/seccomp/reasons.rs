//! Where a profile differs from what was seen, and why: calls it allows that no evidence has, and calls it leaves out
//! that some evidence has.
//!
//! Evidence is in `tests/programs/need`: one file for each program, with the calls it was seen to make. The tests refuse
//! a call that is allowed without evidence or a reason, a reason for a call that is in evidence, and a call in evidence
//! that is neither allowed nor left out here.

/// A call by its kernel name, with the reason.
pub(crate) type Reason = (&'static str, &'static str);

/// Allowed, though seen in no program.
pub(crate) const NOT_SEEN: &[Reason] = &[
    ("restart_syscall", "the kernel makes the program call it, when a sleep goes on after a stop"),
    ("clock_gettime", "as gettimeofday"),
    (
        "gettimeofday",
        "where only the kernel can read the clock, its page of shared code asks it; strace saw a faster clock",
    ),
    ("fchmodat", "chmod of coreutils"),
    ("pause", "what a C program does when it has nothing to do but wait for a signal"),
    (
        "pkey_mprotect",
        "V8, on processors with keys for memory, which the machine of the evidence has not; with jit",
    ),
    ("pkey_free", "as pkey_mprotect"),
    ("memfd_create", "what maps the code it makes twice, to write and to run it (.NET, libffi); with jit"),
    ("sendmmsg", "glibc asks a name server for both kinds of address at once; only with UDP"),
];

/// Seen, and left out of every profile, or of all but `network-server` where that is said: what the program does without it. All but `execveat`, `getgroups`, `pidfd_open`
/// and the family of `chown` seem not to exist and leave no record (`answers::untraced`), because they are made often.
pub(crate) const LEFT_OUT: &[Reason] = &[
    ("clone3", "its flags lie in memory, where no filter sees them: libc uses clone"),
    ("rseq", "libc then asks for its processor as it did before there was this"),
    ("setuid", "busybox, to the uid it has; it does not look at the answer"),
    ("setgid", "as setuid"),
    (
        "chown",
        "an app has one uid, and a file of another's no app may have: EPERM, for which cp -a goes on, with a record",
    ),
    ("fchownat", "as chown"),
    ("pidfd_open", "tokio takes any refusal for no, and waits for its children by signal"),
    (
        "timer_create",
        "coreutils' timeout uses alarm; haproxy warns, and runs without its watchdog over itself",
    ),
    ("timer_settime", "as timer_create"),
    ("times", "openssl speed, for its share of the processor; it can count by the clock (-elapsed)"),
    ("close_range", "Python closes one by one"),
    ("copy_file_range", "cp, and std of Rust, read and write"),
    ("fadvise64", "advice"),
    ("fstatfs", "what walks directories asks on what kind of file system it is, and does without an answer"),
    (
        "fallocate",
        "posix_fallocate says that it cannot, for which programs write; PostgreSQL does not, and has it with network-server",
    ),
    ("select", "musl's select; glibc's is pselect6, and poll and epoll do the same"),
    ("getxattr", "files of apps have no attributes: ls, cp and tar take it that there are none"),
    ("fgetxattr", "as getxattr"),
    ("flistxattr", "as getxattr"),
    ("llistxattr", "as getxattr"),
    ("setxattr", "as getxattr"),
    ("fsetxattr", "as getxattr"),
    ("removexattr", "as getxattr"),
    ("getrlimit", "Go raises its limit of open files, if it can"),
    ("capget", "node asks whether it has capabilities, and takes any refusal for no"),
    (
        "getgroups",
        "perl, for -w of a directory that it does not own: it takes it that it is in no group, which is so",
    ),
    (
        "execveat",
        "runs a descriptor, which Landlock does not see on a memfd; dropbear serves without running itself anew",
    ),
];

/// Allowed to every program of the system.
pub(crate) const DAEMON_NOT_SEEN: &[Reason] = &[
    ("write", "says on its standard error why it ends"),
    ("mremap", "a buffer of the heap that grows"),
    ("munmap", "a large buffer that is given back"),
    ("rt_sigprocmask", "ends itself after a panic: abort(3)"),
    ("getpid", "as rt_sigprocmask"),
    ("tgkill", "as rt_sigprocmask"),
    ("rt_sigreturn", "the handler that tells a full stack from another fault goes back to it"),
    ("restart_syscall", "the kernel makes the program call it, when waiting goes on after a stop"),
    ("exit_group", "its end"),
    ("clock_gettime", "as for apps"),
    ("uname", "appsd: os.gabion.Device tells the kernel's version"),
    ("sysinfo", "appsd: os.gabion.Device tells memory and uptime"),
];

/// Seen in programs of the system, and left out: glibc asks for its own path and, to know its stack's bounds, for its own
/// maps, and goes on without.
pub(crate) const DAEMON_LEFT_OUT: &[&str] = &["readlink", "openat", "newfstatat", "read"];
