//! The sockets of one box on the bus: one listening socket for each interface that it uses or provides, each in a
//! directory of its own `/run` that nothing else can write.
//!
//! ```text
//! /run/bus/INTERFACE     SOCK_STREAM      callers connect here
//! /run/serve/INTERFACE   SOCK_SEQPACKET   the server connects here and is handed its callers
//! ```
//!
//! `init` keeps their descriptors with the box. A later sandboxd knows each by what the kernel says of it: the box it
//! came with, its type, and the last part of the name it is bound to. Nothing is taken from the box's own word.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockname, getsockopt, listen, socket,
    sockopt,
};
use policy::Plan;

/// Connections that wait to be accepted, per socket; what a box can make the kernel keep for it.
const BACKLOG: i32 = 64;

/// Which end of the bus a box has at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It calls.
    Uses,
    /// It serves.
    Provides,
}

impl Side {
    fn directory(self) -> &'static str {
        match self {
            Self::Uses => "bus",
            Self::Provides => "serve",
        }
    }

    fn socket_type(self) -> SockType {
        match self {
            Self::Uses => SockType::Stream,
            Self::Provides => SockType::SeqPacket,
        }
    }
}

/// One listening socket.
#[derive(Debug)]
pub struct Endpoint {
    /// Whether the box calls or serves.
    pub side: Side,
    /// The interface.
    pub interface: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// What a descriptor that `init` kept turns out to be.
#[derive(Debug)]
pub enum Kept {
    /// A listening socket of the bus.
    Endpoint(Endpoint),
    /// A connected socket without a name: the control socket of a system box.
    Control(OwnedFd),
    /// No socket.
    Other(OwnedFd),
}

/// Makes the sockets of `plan`'s box `uid` below `run`, anew.
pub(crate) fn make(run: &Path, uid: u32, plan: &Plan) -> io::Result<Vec<OwnedFd>> {
    let uses = plan.uses.iter().map(|(interface, _)| (Side::Uses, interface));
    let provides = plan.provides.iter().map(|(interface, _)| (Side::Provides, interface));
    uses.chain(provides).map(|(side, interface)| make_one(run, uid, side, interface)).collect()
}

fn make_one(run: &Path, uid: u32, side: Side, interface: &str) -> io::Result<OwnedFd> {
    let dir = run.join(side.directory());
    DirBuilder::new().recursive(true).mode(0o755).create(&dir)?;
    let path = dir.join(interface);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, side.socket_type(), flags, None)?;
    // A socket's name ends at 107 bytes, which the whole path may not fit into.
    let short = File::open(&dir)?;
    let name = format!("/proc/self/fd/{}/{interface}", short.as_raw_fd());
    bind(fd.as_raw_fd(), &UnixAddr::new(name.as_str())?)?;
    chown(&path, Some(uid), Some(uid))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    listen(&fd, Backlog::new(BACKLOG)?)?;
    Ok(fd)
}

/// Whether a kept descriptor is a socket at all.
pub fn is_socket(fd: &OwnedFd) -> bool {
    getsockname::<UnixAddr>(fd.as_raw_fd()) != Err(Errno::ENOTSOCK)
}

/// Tells what a kept descriptor is.
pub fn identify(fd: OwnedFd) -> Kept {
    let name = match getsockname::<UnixAddr>(fd.as_raw_fd()) {
        Err(Errno::ENOTSOCK) => return Kept::Other(fd),
        name => name.ok().and_then(|name| name.path().map(Path::to_owned)),
    };
    let interface = name.as_deref().and_then(Path::file_name).and_then(|n| n.to_str()).map(str::to_owned);
    let side = match getsockopt(&fd, sockopt::SockType) {
        Ok(SockType::SeqPacket) => Side::Provides,
        _ => Side::Uses,
    };
    match interface {
        Some(interface) => Kept::Endpoint(Endpoint { side, interface, socket: fd }),
        None => Kept::Control(fd),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(side: Side, interface: &str) -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = make_one(dir.path(), nix::unistd::getuid().as_raw(), side, interface).unwrap();
        (dir, fd)
    }

    #[test]
    fn endpoint_is_known_again_by_what_the_kernel_says() {
        let long = format!("com.example.{}", "x".repeat(68));
        for (side, interface) in
            [(Side::Uses, "os.gabion.Apps"), (Side::Provides, "com.example.A"), (Side::Uses, &long)]
        {
            let (_dir, fd) = made(side, interface);
            let Kept::Endpoint(found) = identify(fd) else { panic!("{interface}") };
            assert_eq!((found.side, found.interface.as_str()), (side, interface));
        }
    }

    #[test]
    fn kept_descriptor_that_is_no_endpoint_is_told_apart() {
        let (one, _two) = sys::channel::pair().unwrap();
        assert!(matches!(identify(one), Kept::Control(_)));
        assert!(matches!(identify(File::open("/proc/self/ns/net").unwrap().into()), Kept::Other(_)));
    }

    #[test]
    fn endpoint_can_be_connected_to_by_its_owner_and_made_again() {
        let (dir, _fd) = made(Side::Uses, "com.example.A");
        let path = dir.path().join("bus/com.example.A");
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let _again =
            make_one(dir.path(), nix::unistd::getuid().as_raw(), Side::Uses, "com.example.A").unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }
}
