//! The sockets towards routers: hearing of the name servers that they advertise, and asking them to advertise.
//!
//! The kernel asks once in the life of a link, when it is switched on (RFC 4861, 6.3.7). Who comes back to a link later, as
//! netd after a restart or the device with its cable, would wait for the next advertisement, ten minutes or more.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::sockopt::{BindToDevice, Ipv6MulticastHops};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, recvfrom,
    sendto, setsockopt, socket,
};
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::LINKS_MAX;
use super::advert::{self, Advert, Advised};
use crate::state::Link;
use bus_tokio::watched;

/// `RTNLGRP_ND_USEROPT` (20) as a bit.
const OPTIONS: u32 = 1 << 19;
/// Longest message: an option has at most 255 units of eight bytes, in front of it are 32, behind it the router's address.
const MESSAGE_MAX: usize = 4096;
/// How often and how many times routers are asked (RFC 4861, `RTR_SOLICITATION_INTERVAL`, `MAX_RTR_SOLICITATIONS`).
/// Off-spec: also when one has answered, which only the kernel knows.
const ASK_EVERY: Duration = Duration::from_secs(4);
const ASKS: u32 = 3;
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// `ND_ROUTER_SOLICIT`, without options; the kernel fills in the checksum.
const SOLICIT: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

/// Where the kernel tells what routers advertise.
pub(super) struct Heard(AsyncFd<OwnedFd>);

impl Heard {
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, OPTIONS))?;
        Ok(Self(watched(socket)?))
    }

    /// Takes what is advertised until that changes which servers there are.
    pub(super) async fn changed(&self, advised: &mut Advised, now_ms: impl Fn() -> u64) {
        while !advised.take(&self.next().await, now_ms()) {}
    }

    async fn next(&self) -> Advert {
        loop {
            // The runtime is ending.
            let Ok(mut ready) = self.0.readable().await else { return std::future::pending().await };
            let mut bytes = [0; MESSAGE_MAX];
            let got = ready.try_io(|fd| Ok(recvfrom::<NetlinkAddr>(fd.as_raw_fd(), &mut bytes)?));
            // Any process may write to it; only the kernel's own number is 0. Too much at once is lost (ENOBUFS), and
            // advertised again.
            if let Ok(Ok((length, Some(from)))) = got
                && from.pid() == 0
                && let Some(advert) = bytes.get(..length).and_then(advert::read)
            {
                return advert;
            }
        }
    }
}

/// What is known of routers.
#[derive(Default)]
pub(super) struct Routers {
    pub(super) advised: Advised,
    /// Links with a carrier, whose routers were asked.
    asked: BTreeMap<u32, JoinHandle<()>>,
}

impl Routers {
    /// Asks the routers of links that have a carrier now, and forgets those of links that have none any more.
    pub(super) fn settle(&mut self, links: &[Link]) {
        let carried = |index: u32| links.iter().any(|link| link.index == index && link.up);
        self.advised.keep(carried);
        self.asked.retain(|index, asking| {
            if !carried(*index) {
                asking.abort();
            }
            carried(*index)
        });
        for link in links.iter().filter(|link| link.up && !link.loopback).take(LINKS_MAX) {
            let ask = || spawn_local(solicit(link.index, link.name.clone()));
            self.asked.entry(link.index).or_insert_with(ask);
        }
    }
}

impl Drop for Routers {
    fn drop(&mut self) {
        self.asked.values().for_each(JoinHandle::abort);
    }
}

/// Asks the routers of a link to advertise.
async fn solicit(index: u32, name: String) {
    for _ in 0..ASKS {
        // A link that was just switched on has no address to ask from yet: then the kernel will ask.
        let _ = ask(index, &name);
        sleep(ASK_EVERY).await;
    }
}

fn ask(index: u32, name: &str) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
    setsockopt(&socket, BindToDevice, &name.into())?;
    // Routers pass over what may have come from elsewhere.
    setsockopt(&socket, Ipv6MulticastHops, &255)?;
    let to = SockaddrIn6::from(SocketAddrV6::new(ROUTERS, 0, 0, index));
    sendto(socket.as_raw_fd(), &SOLICIT, &to, MsgFlags::empty())?;
    Ok(())
}
