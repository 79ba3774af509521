//! Syscalls that are allowed with certain arguments only.
//!
//! An attacker chooses all six arguments; only registers are looked at. Each list of values is an allow-list. What
//! memory an argument points to, and what a descriptor is, is beyond a filter: Landlock, the mounts and the kernel's
//! W^X setting (`PR_SET_MDWE`) stand behind.

use super::rule::{Call, Check, Rules, is, is_not, masked, null, one_of};
use crate::place::DeviceClass;

/// libc's constant and its name without the prefix.
macro_rules! call {
    ($call:ident) => {
        (stringify!($call), libc::$call)
    };
}

/// Requests on any descriptor that tell or set something about the descriptor alone.
const REQUESTS: &[u32] = &[
    0x5401, // TCGETS: whether it is a terminal
    0x5413, // TIOCGWINSZ: how wide that is
    0x541b, // FIONREAD
    0x5421, // FIONBIO
    0x5450, // FIONCLEX
    0x5451, // FIOCLEX
];
/// Besides, for programs with other processes and for servers.
const MORE_REQUESTS: &[u32] = &[
    0x540f, // TIOCGPGRP: whether a shell is in the foreground
    0x5452, // FIOASYNC: nginx, on the channel to its workers, and ends without it
];

/// Of a serial line: everything termios and modem lines, and nothing that reaches another process or the kernel
/// (`TIOCSTI`, `TIOCLINUX`, `TIOCCONS`, `TIOCSETD`, `TIOCSSERIAL`).
const SERIAL_REQUESTS: &[u32] = &[
    0x5402,      // TCSETS
    0x5403,      // TCSETSW
    0x5404,      // TCSETSF
    0x5409,      // TCSBRK
    0x540a,      // TCXONC
    0x540b,      // TCFLSH
    0x540c,      // TIOCEXCL
    0x540d,      // TIOCNXCL
    0x5411,      // TIOCOUTQ
    0x5415,      // TIOCMGET
    0x5416,      // TIOCMBIS
    0x5417,      // TIOCMBIC
    0x5418,      // TIOCMSET
    0x5425,      // TCSBRKP
    0x5427,      // TIOCSBRK
    0x5428,      // TIOCCBRK
    0x542e,      // TIOCGRS485
    0x542f,      // TIOCSRS485
    0x545c,      // TIOCMIWAIT
    0x545d,      // TIOCGICOUNT
    0x802c_542a, // TCGETS2
    0x402c_542b, // TCSETS2
    0x402c_542c, // TCSETSW2
    0x402c_542d, // TCSETSF2
];
/// `linux/gpio.h`, version 2 of its interface.
const GPIO_REQUESTS: &[u32] = &[
    0x8044_b401, // GPIO_GET_CHIPINFO
    0xc100_b405, // GPIO_V2_GET_LINEINFO
    0xc100_b406, // GPIO_V2_GET_LINEINFO_WATCH
    0xc250_b407, // GPIO_V2_GET_LINE
    0xc110_b40d, // GPIO_V2_LINE_SET_CONFIG
    0xc010_b40e, // GPIO_V2_LINE_GET_VALUES
    0xc010_b40f, // GPIO_V2_LINE_SET_VALUES
    0xc004_b40c, // GPIO_GET_LINEINFO_UNWATCH
];
/// `linux/i2c-dev.h`. Not `I2C_SLAVE_FORCE`, which takes an address that a driver of the kernel holds.
const I2C_REQUESTS: &[u32] = &[
    0x0701, // I2C_RETRIES
    0x0702, // I2C_TIMEOUT
    0x0703, // I2C_SLAVE
    0x0704, // I2C_TENBIT
    0x0705, // I2C_FUNCS
    0x0707, // I2C_RDWR
    0x0708, // I2C_PEC
    0x0720, // I2C_SMBUS
];

/// `SPI_IOC_*` of `linux/spi/spidev.h` but for messages: mode, bit order, word length, speed, read and set.
const SPI_REQUESTS: &[u32] = &[
    0x8001_6b01,
    0x4001_6b01,
    0x8001_6b02,
    0x4001_6b02,
    0x8001_6b03,
    0x4001_6b03,
    0x8004_6b04,
    0x4004_6b04,
    0x8004_6b05,
    0x4004_6b05,
];
/// `SPI_IOC_MESSAGE(n)`: any number of transfers of 32 bytes. The size field of the request says how many.
const SPI_MESSAGE: Check = masked(1, 0xc000_ffff, 0x4000_6b00);

/// What a program may ask about or set on itself. Not here: anything of seccomp, securebits, ambient capabilities,
/// tracers, speculation, memory maps (`PR_SET_MM`), being dumpable, and `PR_SET_MDWE`, which is locked before.
const OPTIONS: &[u32] = &[
    1,           // PR_SET_PDEATHSIG
    15,          // PR_SET_NAME
    16,          // PR_GET_NAME
    0x5356_4d41, // PR_SET_VMA: names of anonymous memory, by allocators and Go's runtime
];

/// Commands of `fcntl`. Not here: leases and directory notices (`F_SETLEASE`, `F_NOTIFY`), by which one process holds
/// up or is told of another's use of a file, and signals of the caller's choosing (`F_SETSIG`).
const COMMANDS: &[u32] = &[
    0, 1, 2, 3, 4, // F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL
    5, 6, 7,    // F_GETLK, F_SETLK, F_SETLKW
    1030, // F_DUPFD_CLOEXEC
];
const MORE_COMMANDS: &[u32] = &[
    8, // F_SETOWN: nginx, with FIOASYNC
    36, 37, 38, // F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW
    1031, 1032, // F_SETPIPE_SZ, F_GETPIPE_SZ
    1033, 1034, // F_ADD_SEALS, F_GET_SEALS: of memory that came over the bus
];

/// `CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET`, and `CLONE_PTRACE`. `clone` cannot ask for
/// a time namespace: its bit lies where `clone` has the exit signal.
const NAMESPACES: u32 = 0x7e02_0000 | 0x2000;
/// `CLONE_VM | CLONE_SIGHAND | CLONE_THREAD`: a thread of the caller, and no process.
const THREAD: u32 = 0x0001_0900;

const EXEC: u32 = libc::PROT_EXEC as u32;
const WRITE: u32 = libc::PROT_WRITE as u32;
#[cfg(target_arch = "aarch64")]
const BTI: u32 = 0x10; // PROT_BTI
/// `MAP_TYPE | MAP_ANONYMOUS`.
const MAPPING: u32 = 0x2f;
const PRIVATE_FILE: u32 = libc::MAP_PRIVATE as u32;

/// What a static program needs: threads and no processes, no executable memory that its own file did not bring.
pub(super) fn strict(rules: &mut Rules) {
    let not_executable: &[&[_]] = &[&[masked(2, EXEC, 0)]];
    rules.when(call!(SYS_mmap), "not executable", not_executable);
    rules.when(call!(SYS_mprotect), "not executable", not_executable);
    rules.when(call!(SYS_clone), "threads", &[&[masked(0, NAMESPACES | THREAD, THREAD)]]);
    rules.when(call!(SYS_ioctl), "asking about descriptors", &[&[one_of(1, REQUESTS)]]);
    rules.when(call!(SYS_prctl), "naming itself and its memory", &[&[one_of(0, OPTIONS)]]);
    rules.when(call!(SYS_fcntl), "flags, locks and duplicates", &[&[one_of(1, COMMANDS)]]);
    rules.when(call!(SYS_prlimit64), "asking only", &[&[null(2)]]);
}

/// What dynamic programs and those with other processes need besides.
pub(super) fn default(rules: &mut Rules) {
    // ld.so's way of mapping a library. A file that the app could have written is on a mount that refuses it.
    let library = [masked(2, EXEC | WRITE, EXEC), masked(3, MAPPING, PRIVATE_FILE)];
    rules.when(call!(SYS_mmap), "not executable, or a file's read-only code", &[&library]);
    // ld.so marks a library's code as such whose branches are guarded; it is executable already (`PR_SET_MDWE`).
    #[cfg(target_arch = "aarch64")]
    rules.when(
        call!(SYS_mprotect),
        "not executable, or guarding code",
        &[&[masked(2, EXEC | WRITE | BTI, EXEC | BTI)]],
    );
    rules.when(call!(SYS_clone), "without new namespaces", &[&[masked(0, NAMESPACES, 0)]]);
    rules.when(call!(SYS_ioctl), "asking about descriptors and terminals", &[&[one_of(1, MORE_REQUESTS)]]);
    rules.when(call!(SYS_fcntl), "flags, locks, duplicates, seals", &[&[one_of(1, MORE_COMMANDS)]]);
    rules.when(call!(SYS_prlimit64), "asking, and setting its own", &[&[is(0, 0)]]);
    rules.when(call!(SYS_mknodat), "making FIFOs", &[&[masked(2, libc::S_IFMT, libc::S_IFIFO)]]);
}

/// Which sockets a box may make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sockets {
    /// Unix sockets: programs of a box among themselves, and the bus.
    pub(super) unix: bool,
    /// TCP over IPv4 and IPv6.
    pub(super) tcp: bool,
    /// UDP over IPv4 and IPv6.
    pub(super) udp: bool,
}

impl Sockets {
    /// Whether there are any.
    pub(super) fn any(self) -> bool {
        self.unix || self.tcp || self.udp
    }

    /// Whether there are any that leave the box.
    pub(super) fn internet(self) -> bool {
        self.tcp || self.udp
    }
}

/// What glibc's `getaddrinfo` and `getifaddrs` begin with: they would ask the kernel for the device's addresses, to leave
/// out families that have none. They go on without the answer. Only these very arguments: any other socket of this family,
/// and this one in a box without a network, is refused with a record.
pub(super) fn asking_for_links(rules: &mut Rules) {
    let kind = (libc::SOCK_RAW | libc::SOCK_CLOEXEC) as u32;
    let asking = [is(0, libc::AF_NETLINK as u32), is(1, kind), is(2, libc::NETLINK_ROUTE as u32)];
    rules.when(call!(SYS_socket), "asking for the device's addresses", &[&asking]);
}

/// `MSG_FASTOPEN` of `linux/socket.h`: a connection made by sending (TCP Fast Open) is one that Landlock's connect rule
/// never sees.
const MSG_FASTOPEN: u32 = 0x2000_0000;

const INTERNET: &[u32] = &[libc::AF_INET as u32, libc::AF_INET6 as u32];
/// The kernel's `SOCK_TYPE_MASK` is 0xf; beside it only `SOCK_CLOEXEC` and `SOCK_NONBLOCK` are valid.
const SOCKET_TYPE: u32 = 0xf;

/// Making sockets of the granted families, TCP or UDP and nothing else that goes by the same family: Landlock's port
/// rules do not see MPTCP, SMC or SCTP. Then sending, and setting options.
pub(super) fn sockets(rules: &mut Rules, which: Sockets) {
    let families = "of the granted families";
    if which.unix {
        let unix = is(0, libc::AF_UNIX as u32);
        rules.when(call!(SYS_socket), families, &[&[unix]]);
        rules.when(call!(SYS_socketpair), "of Unix sockets", &[&[unix]]);
    }
    if which.tcp {
        let tcp = [
            one_of(0, INTERNET),
            masked(1, SOCKET_TYPE, libc::SOCK_STREAM as u32),
            one_of(2, &[0, libc::IPPROTO_TCP as u32]),
        ];
        rules.when(call!(SYS_socket), families, &[&tcp]);
        set_options(rules, libc::IPPROTO_TCP, TCP_OPTIONS);
    }
    let no_fast_open = "without MSG_FASTOPEN";
    if which.udp {
        let udp = [
            one_of(0, INTERNET),
            masked(1, SOCKET_TYPE, libc::SOCK_DGRAM as u32),
            one_of(2, &[0, libc::IPPROTO_UDP as u32]),
        ];
        rules.when(call!(SYS_socket), families, &[&udp]);
    }
    if which.udp {
        // glibc asks a name server for both kinds of address at once.
        rules.when(call!(SYS_sendmmsg), no_fast_open, &[&[masked(3, MSG_FASTOPEN, 0)]]);
    }
    rules.when(call!(SYS_sendto), no_fast_open, &[&[masked(3, MSG_FASTOPEN, 0)]]);
    rules.when(call!(SYS_sendmsg), no_fast_open, &[&[masked(2, MSG_FASTOPEN, 0)]]);
    set_options(rules, libc::SOL_SOCKET, SOCKET_OPTIONS);
    if which.tcp || which.udp {
        set_options(rules, libc::IPPROTO_IP, IP_OPTIONS);
        set_options(rules, libc::IPPROTO_IPV6, IPV6_OPTIONS);
    }
}

fn set_options(rules: &mut Rules, level: libc::c_int, options: &'static [u32]) {
    let set = [is(1, level.unsigned_abs()), one_of(2, options)];
    rules.when(call!(SYS_setsockopt), "for ordinary options of a socket", &[&set]);
}

/// Options at `SOL_SOCKET`. Not here: `SO_LINGER`, because whoever closes the last descriptor of such a connection waits
/// there, as long as its maker liked, and a descriptor that is sent along with a message is closed by who receives the
/// message (what would refuse that is `SO_PASSRIGHTS`, since Linux 6.16); and everything that loads a BPF program
/// (`SO_ATTACH_FILTER`, `SO_ATTACH_REUSEPORT_CBPF`).
const SOCKET_OPTIONS: &[u32] = &[
    2,  // SO_REUSEADDR
    6,  // SO_BROADCAST
    7,  // SO_SNDBUF
    8,  // SO_RCVBUF
    9,  // SO_KEEPALIVE
    12, // SO_PRIORITY
    15, // SO_REUSEPORT
    16, // SO_PASSCRED
    20, // SO_RCVTIMEO
    21, // SO_SNDTIMEO
    29, // SO_TIMESTAMP
];
/// Not here: `TCP_ULP` (protocols of the kernel on top), `TCP_REPAIR`, `TCP_FASTOPEN_CONNECT`.
const TCP_OPTIONS: &[u32] = &[
    1,  // TCP_NODELAY
    3,  // TCP_CORK
    4,  // TCP_KEEPIDLE
    5,  // TCP_KEEPINTVL
    6,  // TCP_KEEPCNT
    9,  // TCP_DEFER_ACCEPT
    12, // TCP_QUICKACK
    18, // TCP_USER_TIMEOUT
    25, // TCP_NOTSENT_LOWAT
];
const IP_OPTIONS: &[u32] = &[
    1,  // IP_TOS
    8,  // IP_PKTINFO
    10, // IP_MTU_DISCOVER
    11, // IP_RECVERR
    24, // IP_BIND_ADDRESS_NO_PORT
    32, // IP_MULTICAST_IF
    33, // IP_MULTICAST_TTL
    34, // IP_MULTICAST_LOOP
    35, // IP_ADD_MEMBERSHIP
    36, // IP_DROP_MEMBERSHIP
];
const IPV6_OPTIONS: &[u32] = &[
    17, // IPV6_MULTICAST_IF
    18, // IPV6_MULTICAST_HOPS
    19, // IPV6_MULTICAST_LOOP
    20, // IPV6_ADD_MEMBERSHIP
    21, // IPV6_DROP_MEMBERSHIP
    23, // IPV6_MTU_DISCOVER
    25, // IPV6_RECVERR
    26, // IPV6_V6ONLY
    49, // IPV6_RECVPKTINFO
    67, // IPV6_TCLASS
];

/// Requests that a granted device of this kind answers.
pub(super) fn device(rules: &mut Rules, class: DeviceClass) {
    let ioctl: Call = call!(SYS_ioctl);
    let text = "asking about descriptors, and requests of the granted devices";
    let requests = match class {
        DeviceClass::Serial => SERIAL_REQUESTS,
        DeviceClass::Gpio => GPIO_REQUESTS,
        DeviceClass::I2c => I2C_REQUESTS,
        DeviceClass::Spi => {
            rules.when(ioctl, text, &[&[SPI_MESSAGE]]);
            SPI_REQUESTS
        }
        // Read and written only.
        DeviceClass::Tpm | DeviceClass::Developer => return,
    };
    rules.when(ioctl, text, &[&[one_of(1, requests)]]);
}

/// What databases need besides: they reserve room for a file before they write it, and each process is to end with the first.
pub(super) fn network_server(rules: &mut Rules) {
    rules.when(call!(SYS_fallocate), "reserving room", &[&[is(1, 0)]]);
    let text = "naming itself and its memory, and the signal that it gets when its parent ends";
    rules.when(call!(SYS_prctl), text, &[&[is(0, PR_SET_PDEATHSIG)]]);
}

const PR_SET_PDEATHSIG: u32 = 1;

/// Flags of `shmget` that are refused: SHM_HUGETLB, whose pages no memory limit of a box counts.
const SHM_HUGETLB: u32 = 0o4000;
/// Flags of `shmat`: none, or SHM_RDONLY. Not SHM_EXEC: what one attachment writes, another would run. Not SHM_REMAP: it takes the place of
/// what was there.
const SHM_ATTACHED: &[u32] = &[0, 0o10_000];
/// Commands of `shmctl`: IPC_RMID and IPC_STAT. Not IPC_SET, SHM_LOCK, nor what tells of other segments.
const SHM_COMMANDS: &[u32] = &[0, 2];

/// System V shared memory.
pub(super) fn sysv_shm(rules: &mut Rules) {
    rules.when(call!(SYS_shmget), "for pages that are counted", &[&[masked(2, SHM_HUGETLB, 0)]]);
    rules.when(call!(SYS_shmat), "to read, or to read and write", &[&[one_of(2, SHM_ATTACHED)]]);
    rules.when(call!(SYS_shmctl), "asking about a segment, and removing it", &[&[one_of(1, SHM_COMMANDS)]]);
}

/// The personality is asked for, never changed: `READ_IMPLIES_EXEC` makes every readable mapping executable.
pub(super) fn personality_changed() -> [Check; 2] {
    [is_not(0, u32::MAX), is_not(0, 0)]
}
