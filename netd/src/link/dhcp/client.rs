//! The sockets, the timers, and what the kernel is told.
//!
//! Questions to everybody go through a packet socket, and all answers come by it (`frame`). An address that is asked for, or
//! is ours, has a second one, for the ARP of whoever has it too (`arp`). Port 68 is opened for as long as it takes to ask the
//! one server that granted the lease; if somebody has the port, that question goes to everybody as well.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{BindToDevice, ReuseAddr};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn};
use nix::sys::socket::{bind, recv, send, sendto, setsockopt, socket};
use sys::bpf::packet;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant as Due, sleep, sleep_until};

use super::frame::{self, CLIENT, FRAME_MAX, SERVER};
use super::machine::{Action, Machine};
use super::wire::{self, Ask, Client, Lease};
use crate::link::arp;
use bus_tokio::watched;

/// How soon a socket that can not be had is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Frames that are looked at before others have their turn, and for how long they have it.
const FLOOD: u32 = 64;
const TURN: Duration = Duration::from_millis(10);

/// The link that wants an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lessee {
    /// The kernel's index of it.
    pub index: u32,
    /// Its name for the kernel.
    pub name: String,
    /// Who it is for servers.
    pub client: Client,
    /// An address that the link has by DHCP from before, and the seconds that are left of it.
    pub found: Option<(Ipv4Addr, u32)>,
}

/// What is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// What the link had before, which nobody has confirmed or refused yet.
    Found,
    /// Nothing.
    Nothing,
    /// This, until that moment.
    Leased(Lease, Instant),
}

impl Held {
    /// The lease.
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Leased(lease, _) => Some(lease),
            Self::Found | Self::Nothing => None,
        }
    }
}

/// Asks and keeps asking, until `carrier` is closed.
pub async fn run(lessee: Lessee, mut carrier: watch::Receiver<bool>, held: watch::Sender<Held>) {
    let began = Instant::now();
    let now_ms = move || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut machine = lessee.found.map_or_else(Machine::default, |(at, left_s)| Machine::found(at, left_s));
    let mut ears = Ears { lessee: &lessee, answers: None, arp: None };
    let mut seen = 0_u32;
    carrier.mark_changed();
    loop {
        let deaf = !ears.open(machine.watched());
        let actions = tokio::select! {
            changed = carrier.changed() => {
                if changed.is_err() {
                    return;
                }
                let up = *carrier.borrow_and_update();
                machine.carrier(up, now_ms(), random())
            }
            heard = ears.hear(&machine) => {
                seen += 1;
                if seen.is_multiple_of(FLOOD) {
                    sleep(TURN).await;
                }
                match heard {
                    Some(Heard::Reply(reply)) => machine.received(reply, now_ms(), random()),
                    Some(Heard::Disputed) => machine.disputed(now_ms(), random()),
                    None => Vec::new(),
                }
            }
            () = until(began, machine.deadline_ms()) => machine.due(now_ms(), random()),
            () = sleep(RETRY), if deaf => Vec::new(),
        };
        for action in actions {
            ears.act(action, &machine, &held, now_ms());
        }
    }
}

enum Heard {
    Reply(wire::Reply),
    Disputed,
}

/// The sockets.
struct Ears<'a> {
    lessee: &'a Lessee,
    answers: Option<AsyncFd<OwnedFd>>,
    arp: Option<(Ipv4Addr, AsyncFd<OwnedFd>)>,
}

impl Ears<'_> {
    /// Opens what is missing; whether all is there then.
    fn open(&mut self, address: Option<(Ipv4Addr, bool)>) -> bool {
        let link = self.lessee.index;
        if self.answers.is_none() {
            let opened = packet::open(link, frame::ETHERTYPE, &frame::FILTER);
            self.answers = opened.and_then(watched).ok();
        }
        self.arp.take_if(|(heard, _)| address.is_none_or(|(address, _)| address != *heard));
        if let Some((address, _)) = address.filter(|_| self.arp.is_none()) {
            let opened = packet::open(link, arp::ETHERTYPE, &arp::filter(address));
            self.arp = opened.and_then(watched).ok().map(|socket| (address, socket));
        }
        self.answers.is_some() && self.arp.is_some() == address.is_some()
    }

    /// Waits for the next frame; `None` if it is nothing to us.
    async fn hear(&self, machine: &Machine) -> Option<Heard> {
        let mut bytes = [0; FRAME_MAX];
        let mut short = [0; arp::FRAME];
        let arp = self.arp.as_ref().map(|(_, socket)| socket);
        tokio::select! {
            frame = receive(self.answers.as_ref(), &mut bytes) => {
                let message = frame::message(frame)?;
                wire::read(message, machine.xid(), self.lessee.client.mac).map(Heard::Reply)
            }
            frame = receive(arp, &mut short) => {
                let (address, ours) = machine.watched()?;
                arp::disputes(frame, self.lessee.client.mac, address, ours).then_some(Heard::Disputed)
            }
        }
    }

    fn act(&mut self, action: Action, machine: &Machine, held: &watch::Sender<Held>, now_ms: u64) {
        match action {
            Action::Send(ask, to) => self.ask(&ask, to, machine, now_ms),
            Action::Probe(address) => {
                // Who answers is heard: the socket is there before the question.
                self.open(Some((address, false)));
                self.send(&arp::probe(self.lessee.client.mac, address));
            }
            Action::Announce(address) => self.send(&arp::announcement(self.lessee.client.mac, address)),
            Action::Use(lease) => {
                let left_s = machine.left_s(now_ms).unwrap_or(lease.lease_s);
                let end = Instant::now() + Duration::from_secs(left_s.into());
                held.send_replace(Held::Leased(lease, end));
            }
            Action::Drop(_) => {
                held.send_replace(Held::Nothing);
            }
        }
    }

    fn ask(&self, ask: &Ask, to: Option<Ipv4Addr>, machine: &Machine, now_ms: u64) {
        let message = wire::write(ask, machine.xid(), &self.lessee.client, machine.secs(now_ms));
        if to.is_some_and(|server| unicast(&self.lessee.name, server, &message).is_ok()) {
            return;
        }
        let source = if let Ask::Renew(address) = ask { *address } else { Ipv4Addr::UNSPECIFIED };
        self.send(&frame::broadcast(&message, self.lessee.client.mac, source));
    }

    /// What can not be sent is sent again when it is due. Any packet socket of the link sends frames of any kind.
    fn send(&self, frame: &[u8]) {
        if let Some(socket) = &self.answers {
            let _ = send(socket.as_raw_fd(), frame, MsgFlags::empty());
        }
    }
}

async fn receive<'a>(socket: Option<&AsyncFd<OwnedFd>>, bytes: &'a mut [u8]) -> &'a [u8] {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
        let received = ready.try_io(|fd| Ok(recv(fd.as_raw_fd(), bytes, MsgFlags::empty())?));
        match received {
            Ok(Ok(length)) => return bytes.get(..length).unwrap_or_default(),
            // ENETDOWN, once, when the link goes down.
            Ok(Err(_)) => sleep(TURN).await,
            Err(_) => {}
        }
    }
}

async fn until(began: Instant, deadline_ms: Option<u64>) {
    match deadline_ms {
        Some(at) => sleep_until(Due::from_std(began + Duration::from_millis(at))).await,
        None => std::future::pending().await,
    }
}

/// Asks one server, from our address.
fn unicast(link: &str, server: Ipv4Addr, message: &[u8]) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, BindToDevice, &link.into())?;
    // Another link may ask just now.
    setsockopt(&socket, ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT)))?;
    let to = SockaddrIn::from(SocketAddrV4::new(server, SERVER));
    sendto(socket.as_raw_fd(), message, &to, MsgFlags::empty())?;
    Ok(())
}

/// From the kernel; where it has none yet, the time will do: it only has to differ from the last.
fn random() -> u32 {
    let mut bytes = [0; 4];
    match sys::time::random::fill(&mut bytes) {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.subsec_nanos()),
    }
}
