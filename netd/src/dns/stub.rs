//! The sockets that boxes ask: port 53 at every address below `127.64.0.0/10`, on the loopback alone.
//!
//! The port may be somebody else's when we come, or while we were away (no app's: the firewall sees to that): it is tried
//! again until it is free, and said once.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use bus_tokio::watched;
use nix::sys::socket::sockopt::{BindToDevice, Ipv4PacketInfo, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn,
    bind, listen, recvmsg, sendmsg, setsockopt, socket,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::question::{Asked, Fault, QUESTION_MAX};
use super::service::{Learn, Resolver};
use super::turns::Turns;
use crate::apps::{AppPolicy, Apps};

const PORT: u16 = 53;
/// How soon a port that somebody has is tried again, at first and at last.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(5);
/// Connections of one app, of all, and how long one may be idle.
const STREAMS_MAX: usize = 4;
const ALL_STREAMS_MAX: usize = 32;
const IDLE: Duration = Duration::from_secs(10);

/// Answers questions over UDP for ever. Must run in a `LocalSet`.
pub async fn serve_udp<L: Learn + 'static>(resolver: Rc<Resolver<L>>, apps: Rc<RefCell<Apps>>) {
    let socket = Rc::new(held("udp", udp_socket).await);
    loop {
        let received = socket.async_io(tokio::io::Interest::READABLE, receive).await;
        let Ok((bytes, from, to)) = received else {
            // ENOMEM and the like: nothing that another reading at once would mend.
            sleep(*RETRY.start()).await;
            continue;
        };
        let Some(policy) = owner(&apps, to) else { continue };
        let (socket, resolver) = (socket.clone(), resolver.clone());
        tokio::task::spawn_local(async move {
            if let Some(answer) = answered(&resolver, &policy, &bytes).await {
                // A full buffer is a lost datagram: the app asks again.
                let _ = send(socket.get_ref(), &answer, from, to);
            }
        });
    }
}

/// Answers questions over TCP for ever. Must run in a `LocalSet`.
pub async fn serve_tcp<L: Learn + 'static>(resolver: Rc<Resolver<L>>, apps: Rc<RefCell<Apps>>) {
    let listener = held("tcp", tcp_socket).await;
    let turns = Turns::new(STREAMS_MAX, ALL_STREAMS_MAX);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(*RETRY.start()).await;
            continue;
        };
        let Ok(SocketAddr::V4(to)) = stream.local_addr() else { continue };
        let Some(turn) = owner(&apps, *to.ip()).and_then(|policy| turns.take(policy.uid)) else { continue };
        let (resolver, apps) = (resolver.clone(), apps.clone());
        tokio::task::spawn_local(async move {
            let _ = converse(stream, &resolver, &apps, *to.ip()).await;
            drop(turn);
        });
    }
}

/// Looks the policy up for each question: it may be another by the next.
async fn converse<L: Learn>(
    mut stream: TcpStream,
    resolver: &Resolver<L>,
    apps: &RefCell<Apps>,
    at: Ipv4Addr,
) -> io::Result<()> {
    while let Ok(length) = timeout(IDLE, stream.read_u16()).await {
        let length = usize::from(length?);
        if length > QUESTION_MAX {
            return Ok(());
        }
        let mut bytes = vec![0; length];
        timeout(IDLE, stream.read_exact(&mut bytes)).await??;
        let Some(policy) = owner(apps, at) else { return Ok(()) };
        let Some(answer) = answered(resolver, &policy, &bytes).await else { return Ok(()) };
        let mut message = u16::try_from(answer.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
        message.extend(answer);
        timeout(IDLE, stream.write_all(&message)).await??;
    }
    Ok(())
}

async fn answered<L: Learn>(resolver: &Resolver<L>, policy: &AppPolicy, bytes: &[u8]) -> Option<Vec<u8>> {
    match Asked::read(bytes) {
        Ok(asked) => Some(asked.answer(&resolver.answer(policy, &asked.name, asked.kind()).await)),
        Err(Fault::Reply(reply)) => Some(reply),
        Err(Fault::Nonsense) => None,
    }
}

/// Whose address it is, if that box has a policy.
fn owner(apps: &RefCell<Apps>, address: Ipv4Addr) -> Option<AppPolicy> {
    let uid = firewall::tables::client(address)?;
    apps.borrow().get(&uid).cloned()
}

/// What `make` makes, as soon as it can be had.
async fn held<S>(what: &str, make: fn() -> io::Result<S>) -> S {
    let (mut wait, mut said) = (*RETRY.start(), false);
    loop {
        match make() {
            Ok(socket) => {
                if said {
                    eprintln!("names: port {PORT}/{what} is ours now");
                }
                return socket;
            }
            Err(e) if !said => {
                eprintln!("names: port {PORT}/{what} can not be had yet: {e}");
                said = true;
            }
            Err(_) => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(*RETRY.end());
    }
}

fn bound(kind: SockType) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&socket, BindToDevice, &"lo".into())?;
    if kind == SockType::Stream {
        // Connections of a netd before us may still be on their way out.
        setsockopt(&socket, ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)))?;
    Ok(socket)
}

fn udp_socket() -> io::Result<AsyncFd<OwnedFd>> {
    let socket = bound(SockType::Datagram)?;
    setsockopt(&socket, Ipv4PacketInfo, &true)?;
    watched(socket)
}

fn tcp_socket() -> io::Result<TcpListener> {
    let socket = bound(SockType::Stream)?;
    listen(&socket, Backlog::new(32)?)?;
    TcpListener::from_std(std::net::TcpListener::from(socket))
}

/// A datagram, where from, and to which of our addresses.
fn receive(socket: &OwnedFd) -> io::Result<(Vec<u8>, SockaddrIn, Ipv4Addr)> {
    let mut bytes = [0; QUESTION_MAX + 1];
    let mut space = nix::cmsg_space!(nix::libc::in_pktinfo);
    let (length, from, to) = {
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        let message =
            recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
        let to = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)))
            }
            _ => None,
        });
        (message.bytes, message.address, to)
    };
    let (Some(from), Some(to)) = (from, to) else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok((bytes.get(..length).unwrap_or_default().to_vec(), from, to))
}

/// From the address that was asked.
fn send(socket: &OwnedFd, bytes: &[u8], to: SockaddrIn, from: Ipv4Addr) -> io::Result<()> {
    let from = nix::libc::in_addr { s_addr: u32::from(from).to_be() };
    let info = nix::libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: from,
        ipi_addr: nix::libc::in_addr { s_addr: 0 },
    };
    let control = [ControlMessage::Ipv4PacketInfo(&info)];
    sendmsg(
        socket.as_fd().as_raw_fd(),
        &[io::IoSlice::new(bytes)],
        &control,
        MsgFlags::MSG_DONTWAIT,
        Some(&to),
    )?;
    Ok(())
}
