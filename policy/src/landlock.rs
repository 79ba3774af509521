//! Landlock rules of a box, as the kernel's own numbers (`linux/landlock.h`).
//!
//! The required ABI is [`ABI`]: a kernel with less must refuse the box, never run it with less. Everything the ABI
//! can handle is handled, so a right that no rule names is denied.
//!
//! A path walk does not see the dentry of a mount point itself: the rule that covers a fresh `/tmp` or `/proc` must
//! sit on the box's `/`. So `/` is readable and writable but never executable, and the app's own directories, which
//! are read-only mounts, are executable. What of `/` can really be written is decided by its mounts.

use crate::facts::Facts;
use crate::net::Proto;
use std::collections::BTreeSet;

/// The Landlock ABI every box needs (Linux 6.12: scoped signals and abstract sockets).
pub const ABI: u32 = 6;

/// `LANDLOCK_ACCESS_FS_EXECUTE`
pub const FS_EXECUTE: u64 = 1;
/// `LANDLOCK_ACCESS_FS_WRITE_FILE`
pub const FS_WRITE_FILE: u64 = 1 << 1;
/// `LANDLOCK_ACCESS_FS_READ_FILE`
pub const FS_READ_FILE: u64 = 1 << 2;
/// `LANDLOCK_ACCESS_FS_READ_DIR`
pub const FS_READ_DIR: u64 = 1 << 3;
/// `LANDLOCK_ACCESS_FS_MAKE_CHAR`
pub const FS_MAKE_CHAR: u64 = 1 << 6;
/// `LANDLOCK_ACCESS_FS_MAKE_BLOCK`
pub const FS_MAKE_BLOCK: u64 = 1 << 11;
/// `LANDLOCK_ACCESS_FS_IOCTL_DEV`
pub const FS_IOCTL_DEV: u64 = 1 << 15;
/// All sixteen rights of ABI 5 and 6.
pub const FS_ALL: u64 = (1 << 16) - 1;
/// `LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP`
pub const NET_ALL: u64 = 0b11;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`
pub const SCOPE_ALL: u64 = 0b11;

/// Where a resolver is asked again when its answer does not fit into a datagram. (UDP is not Landlock's; whom the box reaches
/// at this port is the firewall's: its own resolver.)
const DNS_PORT: u16 = 53;

/// What an ordinary place of the box may be used for: everything but running code and making or driving devices.
const ORDINARY: u64 = FS_ALL & !(FS_EXECUTE | FS_MAKE_CHAR | FS_MAKE_BLOCK | FS_IOCTL_DEV);
const PROGRAM: u64 = FS_READ_FILE | FS_READ_DIR | FS_EXECUTE;
const DEVICE: u64 = FS_READ_FILE | FS_WRITE_FILE | FS_IOCTL_DEV;

/// A ruleset, and the rules to add to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landlock {
    /// `handled_access_fs`
    pub handled_fs: u64,
    /// `handled_access_net`
    pub handled_net: u64,
    /// `scoped`
    pub scoped: u64,
    /// `LANDLOCK_RULE_PATH_BENEATH` rules.
    pub fs: Vec<FsRule>,
    /// Ports with `LANDLOCK_ACCESS_NET_BIND_TCP`, sorted.
    pub bind_tcp: Vec<u16>,
    /// Ports with `LANDLOCK_ACCESS_NET_CONNECT_TCP`, sorted.
    pub connect_tcp: Vec<u16>,
}

/// One rule for a place in the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsRule {
    /// Where.
    pub path: FsPath,
    /// `allowed_access`
    pub access: u64,
}

/// A place in the box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsPath {
    /// The box's `/`.
    BoxRoot,
    /// Each directory at the top of the app's root except `dev`, `proc`, `tmp`, `data` and `run`.
    AppRoot,
    /// One device file.
    Device(String),
    /// What a debugger's server is in, at [`DEBUGGER`]; in a box that is debugged, and no other.
    Debugger,
}

/// Where a box that is debugged has its debugger's server: on a mount of its own.
pub const DEBUGGER: &str = "/run/debugger";

/// The rule for [`FsPath::Debugger`].
pub(crate) fn debugger() -> FsRule {
    FsRule { path: FsPath::Debugger, access: PROGRAM }
}

pub(crate) fn ruleset(facts: &Facts) -> Landlock {
    let mut fs = vec![
        FsRule { path: FsPath::BoxRoot, access: ORDINARY },
        FsRule { path: FsPath::AppRoot, access: PROGRAM },
    ];
    fs.extend(
        facts
            .devices
            .iter()
            .map(|device| FsRule { path: FsPath::Device(device.path().to_owned()), access: DEVICE }),
    );
    let tcp = |ports: &mut dyn Iterator<Item = crate::Port>| -> BTreeSet<u16> {
        ports.filter(|port| port.proto() == Proto::Tcp).map(crate::Port::number).collect()
    };
    let mut connect = tcp(&mut facts.connect.iter().map(crate::HostPort::port));
    if facts.resolves() {
        connect.insert(DNS_PORT);
    }
    // Which port a manager of the network needs, the network decides.
    let manager = facts.system.as_ref().is_some_and(|grant| grant.network);
    Landlock {
        handled_fs: FS_ALL,
        handled_net: if manager { 0 } else { NET_ALL },
        scoped: SCOPE_ALL,
        fs,
        bind_tcp: tcp(&mut facts.listen.iter().map(|listen| listen.port())).into_iter().collect(),
        connect_tcp: connect.into_iter().collect(),
    }
}
