//! The socket, the timers, and what the kernel is told.
//!
//! Port 68, bound to the link, with broadcasts: no packet socket, since servers answer by broadcast whom asks for it. The port
//! may be somebody else's when we come: it is tried again until it is free.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant as Due, sleep, sleep_until};

use super::machine::{Action, Machine};
use super::wire::{self, Lease, MESSAGE_MAX};

const CLIENT: u16 = 68;
const SERVER: u16 = 67;
/// How soon the port is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Messages that are looked at before others have their turn.
const FLOOD: u32 = 64;

/// The link that wants an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lessee {
    /// Its name for the kernel.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
}

/// Asks and keeps asking, until `carrier` is closed. `lease` is what is ours, with the moment when it ends.
pub async fn run(
    lessee: Lessee,
    mut carrier: watch::Receiver<bool>,
    lease: watch::Sender<Option<(Lease, Instant)>>,
) {
    let began = Instant::now();
    let now_ms = move || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (mut machine, mut socket, mut seen) = (Machine::default(), None, 0_u32);
    loop {
        if socket.is_none() {
            socket = port(&lessee.name);
            if socket.is_none() {
                // Somebody has it. What is ours is still looked after.
                sleep(RETRY).await;
            } else if *carrier.borrow_and_update() {
                let actions = machine.carrier(true, now_ms(), random());
                act(&lessee, &machine, actions, socket.as_ref(), &lease, now_ms()).await;
            }
        }
        let mut bytes = [0; MESSAGE_MAX];
        let actions = tokio::select! {
            changed = carrier.changed() => {
                if changed.is_err() {
                    return;
                }
                let up = *carrier.borrow_and_update();
                machine.carrier(up, now_ms(), random())
            }
            length = receive(socket.as_ref(), &mut bytes) => {
                seen += 1;
                if seen.is_multiple_of(FLOOD) {
                    sleep(Duration::from_millis(10)).await;
                }
                let reply = wire::read(bytes.get(..length).unwrap_or_default(), machine.xid(), lessee.mac);
                reply.map(|reply| machine.received(reply, now_ms(), random())).unwrap_or_default()
            }
            () = until(began, machine.deadline_ms()) => machine.due(now_ms(), random()),
        };
        act(&lessee, &machine, actions, socket.as_ref(), &lease, now_ms()).await;
    }
}

async fn act(
    lessee: &Lessee,
    machine: &Machine,
    actions: Vec<Action>,
    socket: Option<&UdpSocket>,
    lease: &watch::Sender<Option<(Lease, Instant)>>,
    now_ms: u64,
) {
    for action in actions {
        match action {
            Action::Send(ask, to) => {
                let bytes = wire::write(&ask, machine.xid(), lessee.mac, machine.secs(now_ms));
                let to = SocketAddr::V4(SocketAddrV4::new(to.unwrap_or(Ipv4Addr::BROADCAST), SERVER));
                if let Some(socket) = socket {
                    // What can not be sent is asked again when it is due.
                    let _ = socket.send_to(&bytes, to).await;
                }
            }
            Action::Use(granted) => {
                let left_s = machine.left_s(now_ms).unwrap_or(granted.lease_s);
                lease.send_replace(Some((granted, Instant::now() + Duration::from_secs(left_s.into()))));
            }
            Action::Drop(_) => {
                lease.send_replace(None);
            }
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, bytes: &mut [u8]) -> usize {
    match socket {
        Some(socket) => match socket.recv(bytes).await {
            Ok(length) => length,
            // ENETDOWN while the link is down: not again at once.
            Err(_) => {
                sleep(RETRY).await;
                0
            }
        },
        None => std::future::pending().await,
    }
}

async fn until(began: Instant, deadline_ms: Option<u64>) {
    match deadline_ms {
        Some(at) => sleep_until(Due::from_std(began + Duration::from_millis(at))).await,
        None => std::future::pending().await,
    }
}

fn port(link: &str) -> Option<UdpSocket> {
    let open = || -> io::Result<UdpSocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        setsockopt(&socket, BindToDevice, &link.into())?;
        setsockopt(&socket, Broadcast, &true)?;
        // One for each link.
        setsockopt(&socket, ReuseAddr, &true)?;
        bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT)))?;
        UdpSocket::from_std(std::net::UdpSocket::from(socket))
    };
    open().ok()
}

/// From the kernel; where it has none yet, the time will do: it only has to differ from the last.
fn random() -> u32 {
    let mut bytes = [0; 4];
    match sys::time::random::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.subsec_nanos()),
    }
}
