//! The filters of the system's own programs: each is one program's calls, measured, and no grant adds to it.
//!
//! They are static programs of ours, so what one needs is known; evidence is in `tests/programs/need/system`. Whoever
//! takes one over has these calls and no others, whatever else its box holds.

use super::rule::{Rules, calls, is, is_not, masked, null};
use crate::facts::SystemFilter;

/// Adds what the program with this filter may call.
pub(super) fn allowed(filter: SystemFilter, rules: &mut Rules) {
    start(rules);
    match filter {
        SystemFilter::Router => router(rules),
        SystemFilter::Worker => worker(rules),
        SystemFilter::Apps => apps(rules),
        SystemFilter::Devport => devport(rules),
        SystemFilter::Net => net(rules),
        SystemFilter::Attest => attest(rules),
        SystemFilter::Update => update(rules),
        SystemFilter::Door => door(rules),
    }
}

/// Every filter at once, for looking up names.
pub(super) fn every(rules: &mut Rules) {
    for filter in SystemFilter::ALL {
        allowed(*filter, rules);
    }
}

/// What every static Rust program of ours makes on its way to `main`, in its heap, and when it panics. It maps nothing
/// executable, and has one thread. (glibc asks for its own path and maps at the start, and goes on without.)
fn start(rules: &mut Rules) {
    rules.always(calls![
        SYS_execve SYS_brk SYS_munmap SYS_mremap SYS_set_tid_address SYS_set_robust_list SYS_getrandom
        SYS_sched_getaffinity SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sigaltstack SYS_restart_syscall
        SYS_write SYS_gettid SYS_getpid SYS_tgkill SYS_exit_group
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![SYS_poll SYS_arch_prctl]);
    #[cfg(target_arch = "aarch64")]
    rules.always(calls![SYS_ppoll]);
    rules.when(("SYS_prlimit64", libc::SYS_prlimit64), "asking only", &[&[null(2)]]);
    let no_exec = [masked(2, libc::PROT_EXEC as u32, 0)];
    rules.when(("SYS_mmap", libc::SYS_mmap), "not executable", &[&no_exec]);
    rules.when(("SYS_mprotect", libc::SYS_mprotect), "not executable", &[&no_exec]);
}

/// Waiting for messages and the clock that says for how long; connections that come and go. `MSG_FASTOPEN` is left open:
/// none of them has a socket that knows it.
fn bus(rules: &mut Rules) {
    rules.always(calls![SYS_epoll_create1 SYS_epoll_ctl SYS_close SYS_clock_gettime SYS_recvmsg]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![SYS_epoll_wait]);
    #[cfg(target_arch = "aarch64")]
    rules.always(calls![SYS_epoll_pwait]);
}

/// The bus's router: connections in, connections out, each over sockets that it was given. It opens nothing, neither
/// files nor sockets.
fn router(rules: &mut Rules) {
    bus(rules);
    rules.always(calls![SYS_accept4 SYS_sendmsg SYS_recvfrom SYS_shutdown]);
    send_buffer(rules);
    rules.when(("SYS_ioctl", libc::SYS_ioctl), "not to wait for a socket", &[&[is(1, 0x5421)]]);
    // fstat(3): which socket a descriptor is. `AT_EMPTY_PATH`, for which glibc gives an empty path.
    rules.when(("SYS_newfstatat", libc::SYS_newfstatat), "of a descriptor", &[&[masked(3, 0x1000, 0x1000)]]);
}

/// The reader of manifests and images: a question in, with an image's descriptor, which it reads; an answer out.
fn worker(rules: &mut Rules) {
    rules.always(calls![SYS_recvmsg SYS_pread64 SYS_close]);
}

/// The server of the system's interfaces: connects to the router, is handed connections, asks on its standard input.
fn apps(rules: &mut Rules) {
    bus(rules);
    rules.always(calls![SYS_connect SYS_sendmsg SYS_sendto SYS_shutdown SYS_uname SYS_sysinfo]);
    unix_socket(rules);
    send_buffer(rules);
}

/// The developer's ports: opens them, carries bytes between them and sockets that it connects, reads files that came
/// over those, and makes files of what comes from the host.
fn devport(rules: &mut Rules) {
    bus(rules);
    rules.always(calls![
        SYS_openat SYS_read SYS_pread64 SYS_connect SYS_sendto SYS_sendmsg SYS_memfd_create SYS_pwrite64
    ]);
    rules.when(("SYS_fcntl", libc::SYS_fcntl), "sealing", &[&[is(1, libc::F_ADD_SEALS as u32)]]);
    unix_socket(rules);
}

/// The network daemon: sockets of its own, of the families that a network is managed with; tables of the firewall, which it
/// was given; the clock. It opens no file.
fn net(rules: &mut Rules) {
    bus(rules);
    rules.always(calls![
        SYS_read SYS_writev SYS_eventfd2 SYS_fcntl SYS_bind SYS_listen SYS_accept4 SYS_connect SYS_getsockname
        SYS_getpeername SYS_getsockopt SYS_sendto SYS_sendmsg SYS_recvfrom SYS_shutdown SYS_uname
        SYS_adjtimex SYS_clock_adjtime SYS_clock_settime
    ]);
    // `SO_LINGER` has the same number as options of protocols that are not needed either.
    let option = [is_not(2, libc::SO_LINGER as u32)];
    rules.when(("SYS_setsockopt", libc::SYS_setsockopt), "options of its sockets, but to linger", &[&option]);
    rules.when(("SYS_ioctl", libc::SYS_ioctl), "not to wait for a socket", &[&[is(1, 0x5421)]]);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET];
    let families = families.map(|family| [is(0, family as u32)]);
    let families: Vec<&[_]> = families.iter().map(<[_; 1]>::as_slice).collect();
    rules.when(("SYS_socket", libc::SYS_socket), "of the families of a network", &families);
    // Looking up, changing, removing, walking a table; what a descriptor is. Not making or loading anything.
    let commands = [1, 2, 3, 4, 15, 24].map(|command| [is(0, command)]);
    let commands: Vec<&[_]> = commands.iter().map(<[_; 1]>::as_slice).collect();
    rules.when(("SYS_bpf", libc::SYS_bpf), "on tables that it holds", &commands);
}

/// The identity daemon: the TPM's device and nothing else is opened; sockets to the service, to the name server and to the
/// bus; descriptors that it was handed are read, and memory is handed back.
fn attest(rules: &mut Rules) {
    bus(rules);
    rules.always(calls![
        SYS_openat SYS_read SYS_pread64 SYS_writev SYS_eventfd2 SYS_fcntl SYS_bind SYS_connect SYS_getsockopt SYS_sendto
        SYS_sendmsg SYS_recvfrom SYS_shutdown SYS_memfd_create SYS_pwrite64 SYS_statx
    ]);
    let option = [is_not(2, libc::SO_LINGER as u32)];
    rules.when(("SYS_setsockopt", libc::SYS_setsockopt), "options of its sockets, but to linger", &[&option]);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|family| [is(0, family as u32)]);
    let families: Vec<&[_]> = families.iter().map(<[_; 1]>::as_slice).collect();
    rules.when(("SYS_socket", libc::SYS_socket), "to the bus, the service, and the name server", &families);
}

/// The update daemon: sockets as the identity daemon has them, and files of its own storage, written so that a power cut leaves the
/// old or the new; of others it reads and writes descriptors that it was handed.
fn update(rules: &mut Rules) {
    bus(rules);
    rules.always(calls![
        SYS_openat SYS_read SYS_pread64 SYS_pwrite64 SYS_lseek SYS_fsync SYS_fdatasync SYS_getdents64 SYS_statx
        SYS_writev SYS_eventfd2 SYS_fcntl SYS_bind SYS_connect SYS_getsockopt SYS_sendto SYS_sendmsg SYS_recvfrom
        SYS_shutdown SYS_memfd_create
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.always(calls![SYS_rename SYS_unlink SYS_mkdir]);
    #[cfg(target_arch = "aarch64")]
    rules.always(calls![SYS_renameat SYS_unlinkat SYS_mkdirat]);
    // What readdir(3) opened, and what it is. `AT_EMPTY_PATH`, for which glibc gives an empty path.
    rules.when(("SYS_newfstatat", libc::SYS_newfstatat), "of a descriptor", &[&[masked(3, 0x1000, 0x1000)]]);
    let option = [is_not(2, libc::SO_LINGER as u32)];
    rules.when(("SYS_setsockopt", libc::SYS_setsockopt), "options of its sockets, but to linger", &[&option]);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|family| [is(0, family as u32)]);
    let families: Vec<&[_]> = families.iter().map(<[_; 1]>::as_slice).collect();
    rules.when(("SYS_socket", libc::SYS_socket), "to the bus, the service, and the name server", &families);
}

/// The door for a developer: what the developer's ports have, over sockets of the network that it accepts. It opens no file.
fn door(rules: &mut Rules) {
    bus(rules);
    rules.always(calls![
        SYS_pread64 SYS_connect SYS_sendto SYS_recvfrom SYS_writev SYS_bind SYS_listen SYS_accept4 SYS_sendmsg
        SYS_memfd_create SYS_pwrite64
    ]);
    rules.when(("SYS_fcntl", libc::SYS_fcntl), "sealing", &[&[is(1, libc::F_ADD_SEALS as u32)]]);
    let option = [is_not(2, libc::SO_LINGER as u32)];
    rules.when(("SYS_setsockopt", libc::SYS_setsockopt), "options of its sockets, but to linger", &[&option]);
    rules.when(("SYS_ioctl", libc::SYS_ioctl), "not to wait for a socket", &[&[is(1, 0x5421)]]);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(|family| [is(0, family as u32)]);
    let families: Vec<&[_]> = families.iter().map(<[_; 1]>::as_slice).collect();
    rules.when(("SYS_socket", libc::SYS_socket), "to the bus, and to listen", &families);
}

fn unix_socket(rules: &mut Rules) {
    let unix = [is(0, libc::AF_UNIX as u32)];
    rules.when(("SYS_socket", libc::SYS_socket), "of the Unix family", &[&unix]);
}

fn send_buffer(rules: &mut Rules) {
    let option = [is(1, libc::SOL_SOCKET as u32), is(2, libc::SO_SNDBUF as u32)];
    rules.when(("SYS_setsockopt", libc::SYS_setsockopt), "how much may wait in a socket", &[&option]);
}
