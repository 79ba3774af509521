//! The two network namespaces that boxes share.
//!
//! `empty` has no interface up: for boxes with no network at all. It may be made again at any time: two empty ones are as
//! good as one. Boxes with a network live in the device's own, where the firewall on their cgroup holds each to its
//! manifest. One namespace for all, because one each would cost half a millisecond per launch and 200 kB of kernel memory.
//!
//! A namespace is made by a thread that leaves ours and ends; it lives by its descriptor. The kernel takes its time over
//! it, so at start-up that thread works while ours waits for disks.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// A new network namespace with nothing up.
pub fn empty() -> io::Result<OwnedFd> {
    made(|| Ok(()))
}

/// A new network namespace with loopback up: a developer's box has one of its own in place of the device's.
pub fn local() -> io::Result<OwnedFd> {
    made(raise_loopback)
}

/// A namespace that is being made.
#[derive(Debug)]
pub struct Pending(JoinHandle<io::Result<OwnedFd>>);

impl Pending {
    /// Waits for it.
    pub fn wait(self) -> io::Result<OwnedFd> {
        self.0.join().unwrap_or_else(|_| Err(io::Error::other("panic")))
    }
}

/// Begins to make an `empty` one.
pub fn begin() -> io::Result<Pending> {
    Ok(Pending(thread().spawn(|| unshared(|| Ok(())))?))
}

/// The one that we live in: the device's own.
pub fn own() -> io::Result<OwnedFd> {
    Ok(OwnedFd::from(File::open("/proc/thread-self/ns/net")?))
}

/// The device's network before anybody uses it: loopback, and settings that hold for every link.
pub fn settle() -> io::Result<()> {
    raise_loopback()?;
    for (name, value) in SETTINGS {
        let set = fs::write(format!("/proc/sys/net/{name}"), value);
        set.map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
    }
    Ok(())
}

/// Keeps ports that were granted to be served from those that the kernel chooses for clients.
pub fn reserve(ports: impl IntoIterator<Item = u16>) -> io::Result<()> {
    let ports: Vec<String> = ports.into_iter().map(|port| port.to_string()).collect();
    fs::write("/proc/sys/net/ipv4/ip_local_reserved_ports", ports.join(","))
}

/// Whether a link has IPv6. `link` is the name of one, and no path.
pub fn ipv6(link: &str, on: bool) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), if on { "0" } else { "1" })
}

/// Which app serves which port is the firewall's to say, so no port is kept for root. Nobody is led elsewhere by a
/// redirect. The source of a packet has to lie where a route back leads (answers of DHCP servers come by another way, see
/// netd's `link`), and a link speaks ARP for its own addresses alone: for another's it would look like a host that took them.
/// Programs of the firewall are compiled with their constants blinded.
const SETTINGS: [(&str, &str); 13] = [
    ("ipv4/ip_unprivileged_port_start", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv4/conf/all/secure_redirects", "0"),
    ("ipv4/conf/default/secure_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/rp_filter", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/all/arp_ignore", "1"),
    ("core/bpf_jit_harden", "2"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/default/accept_redirects", "0"),
];

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
