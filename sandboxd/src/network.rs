//! The two network namespaces apps without a routed network share.
//!
//! `empty` has no interface up: for apps with no network at all. `local` has loopback up: for apps that may
//! talk to each other on this device; Landlock bounds the ports. One namespace for all, because one each would
//! cost half a millisecond per launch and 200 kB of kernel memory, and an app that may use no port gains
//! nothing from a neighbour's loopback being there.
//!
//! Both are made by a thread that leaves our network namespace and ends; they live by their descriptors. The kernel
//! takes its time over a namespace, so at start-up that thread works while ours waits for disks. `local`
//! must outlive a restart of sandboxd (apps that run keep talking on it), so every box on it has `init` keep a
//! descriptor of it. `empty` may be made again at any time: two empty ones are as good as one.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// A new network namespace with nothing up.
pub fn empty() -> io::Result<OwnedFd> {
    made(|| Ok(()))
}

/// A new network namespace with loopback up.
pub fn local() -> io::Result<OwnedFd> {
    made(raise_loopback)
}

/// Namespaces that are being made.
#[derive(Debug)]
pub struct Pending(JoinHandle<io::Result<(OwnedFd, Option<OwnedFd>)>>);

impl Pending {
    /// Waits for them: `empty`, and `local` if it was asked for.
    pub fn wait(self) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
        self.0.join().unwrap_or_else(|_| Err(io::Error::other("panic")))
    }
}

/// Begins to make `empty`, and `local` if there is none yet.
pub fn begin(with_local: bool) -> io::Result<Pending> {
    let make = move || {
        // The loopback first: raising it needs a capability that is given up when storage is there.
        let local = with_local.then(|| unshared(raise_loopback)).transpose()?;
        Ok((unshared(|| Ok(()))?, local))
    };
    Ok(Pending(thread().spawn(make)?))
}

fn made(prepare: fn() -> io::Result<()>) -> io::Result<OwnedFd> {
    thread().spawn(move || unshared(prepare))?.join().unwrap_or_else(|_| Err(io::Error::other("panic")))
}

fn thread() -> std::thread::Builder {
    std::thread::Builder::new().name("netns".into()).stack_size(128 << 10)
}

/// The calling thread's new namespace.
fn unshared(prepare: fn() -> io::Result<()>) -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    prepare()?;
    Ok(OwnedFd::from(File::open("/proc/thread-self/ns/net")?))
}

/// `RTM_NEWLINK` for interface 1 (a namespace's loopback always is) with `IFF_UP`.
fn raise_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut request = Vec::with_capacity(32);
    // struct nlmsghdr: len, type, flags, seq, pid
    request.extend_from_slice(&32_u32.to_ne_bytes());
    request.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    // struct ifinfomsg: family, pad, type (u16), index, flags, change
    request.extend_from_slice(&[0; 4]);
    for word in [1, IFF_UP, IFF_UP] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    send(netlink.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut reply = [0; 128];
    let n = recv(netlink.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    // struct nlmsgerr after the header starts with 0 or a negative errno.
    match reply.get(..n).and_then(|r| r.get(16..20)).and_then(|e| e.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}
