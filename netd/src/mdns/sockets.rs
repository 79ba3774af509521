//! The group's sockets on one link, bound to it: what comes in came from that link.
//!
//! The port is shared (`SO_REUSEADDR`), as multicast DNS wants it; somebody who holds it alone makes us wait and try again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::PORT;
use super::responder::{Sent, To};

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// As RFC 6762, section 11, wants it: what comes with less was forwarded.
const HOPS: u8 = 255;

/// One link's sockets.
#[derive(Debug)]
pub(super) struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    index: u32,
}

impl Sockets {
    /// Opens those for which the link has addresses.
    pub(super) fn open(name: &str, index: u32, addresses: &[(IpAddr, u8)]) -> io::Result<Self> {
        let has = |wanted: fn(&IpAddr) -> bool| addresses.iter().any(|(address, _)| wanted(address));
        let v4 = addresses.iter().find_map(|(address, _)| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        let v4 = v4.map(|own| open_v4(name, own)).transpose()?;
        let v6 = has(IpAddr::is_ipv6).then(|| open_v6(name, index)).transpose()?;
        Ok(Self { v4, v6, index })
    }

    /// Takes the next message.
    pub(super) fn poll(&self, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<(usize, SocketAddr)> {
        for socket in [&self.v4, &self.v6].into_iter().flatten() {
            let mut read = ReadBuf::new(bytes);
            // An error is one of a message we sent; the next call gives the next message.
            while let Poll::Ready(from) = socket.poll_recv_from(context, &mut read) {
                if let Ok(from) = from {
                    return Poll::Ready((read.filled().len(), from));
                }
            }
        }
        Poll::Pending
    }

    /// Sends a message. What cannot be sent now is lost, as on the link: others ask again.
    pub(super) fn send(&self, sent: &Sent) {
        let group_v6 = SocketAddrV6::new(GROUP_V6, PORT, 0, self.index);
        match sent.to {
            To::Group => {
                self.send_to(&sent.bytes, (GROUP_V4, PORT).into());
                self.send_to(&sent.bytes, group_v6.into());
            }
            To::One(to) => self.send_to(&sent.bytes, to),
        }
    }

    fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        if let Some(socket) = socket {
            let _ = socket.try_send_to(bytes, to);
        }
    }
}

fn open_v4(name: &str, own: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = open(AddressFamily::Inet, name, (Ipv4Addr::UNSPECIFIED, PORT).into(), |_| Ok(()))?;
    socket.join_multicast_v4(GROUP_V4, own)?;
    socket.set_multicast_ttl_v4(HOPS.into())?;
    socket.set_multicast_loop_v4(false)?;
    Ok(socket)
}

fn open_v6(name: &str, index: u32) -> io::Result<UdpSocket> {
    let any = (Ipv6Addr::UNSPECIFIED, PORT).into();
    let only = |socket: &OwnedFd| {
        setsockopt(socket, sockopt::Ipv6V6Only, &true)?;
        setsockopt(socket, sockopt::Ipv6MulticastHops, &HOPS.into())
    };
    let socket = open(AddressFamily::Inet6, name, any, only)?;
    socket.join_multicast_v6(&GROUP_V6, index)?;
    socket.set_multicast_loop_v6(false)?;
    Ok(socket)
}

fn open(
    family: AddressFamily,
    name: &str,
    any: SocketAddr,
    more: impl FnOnce(&OwnedFd) -> nix::Result<()>,
) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let opened = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
    setsockopt(&opened, sockopt::ReuseAddr, &true)?;
    setsockopt(&opened, sockopt::BindToDevice, &name.into())?;
    more(&opened)?;
    bind(opened.as_raw_fd(), &SockaddrStorage::from(any))?;
    UdpSocket::from_std(opened.into())
}
