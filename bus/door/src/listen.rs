//! Who is let in, how many at a time, and how long somebody may take to say who he is.
//!
//! Everything is watched for edges, as by the developer port: each caller is tried until nothing can be done.

use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use devport::Port;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::ServerConfig;
use sys::process::now_ms;

use crate::caller::Caller;

/// Connections of the developer, at a time.
pub const SESSIONS: usize = bus::devport::PORTS;
/// Connections of whoever has not said who he is, at a time. The oldest goes for a newer one: somebody who keeps them busy must be
/// faster than the developer at each.
pub const HANDSHAKES: usize = 4;
/// How long that may take, milliseconds: the TPM may be slow, and somebody may be before us at it.
pub const HANDSHAKE_MS: u64 = 30_000;
/// Who comes in is not the device, and signs nothing in its name.
const WITHHELD: [&str; 1] = ["os.gabion.Certificate"];
/// Says that somebody connects. Sessions have numbers below.
const LISTENER: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    bus: PathBuf,
    epoll: Epoll,
    next: u64,
    callers: Vec<Guest<Caller>>,
    sessions: Vec<Guest<Port<Caller>>>,
}

#[derive(Debug)]
struct Guest<T> {
    number: u64,
    since_ms: u64,
    busy: bool,
    it: T,
}

impl Door {
    /// At this socket, before these sockets of the bus.
    ///
    /// # Errors
    /// The kernel has no more descriptors.
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>, bus: PathBuf) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self { listener, config, bus, epoll, next: 0, callers: Vec::new(), sessions: Vec::new() })
    }

    /// Lets callers in, for ever.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            self.turn()?;
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.greet();
        for session in self.sessions.iter_mut().filter(|session| session.busy) {
            session.busy = session.it.turn(now_ms());
            if let Some(socket) = session.it.opened() {
                // Closing takes it off again. What came before it was watched is an edge, too.
                self.epoll.add(socket, edges(session.number))?;
            }
        }
        self.sessions.retain(|session| !session.it.stream().is_over());
        let mut events = [EpollEvent::empty(); 16];
        let count = match self.epoll.wait(&mut events, self.patience()) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        for event in events.iter().take(count) {
            let number = event.data();
            if number == LISTENER {
                self.accept()?;
            }
            self.callers.iter_mut().filter(|one| one.number == number).for_each(|one| one.busy = true);
            self.sessions.iter_mut().filter(|one| one.number == number).for_each(|one| one.busy = true);
        }
        let now = now_ms();
        for session in &mut self.sessions {
            session.busy |= session.it.deadline_ms().is_some_and(|deadline| deadline <= now);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        match self.listener.accept() {
            Ok((socket, _)) => {
                let Ok(caller) = Caller::new(socket, self.config.clone()) else { return Ok(()) };
                if self.callers.len() >= HANDSHAKES {
                    self.callers.remove(0);
                }
                let number = self.next;
                self.next += 1;
                self.epoll.add(&caller, edges(number))?;
                self.callers.push(Guest { number, since_ms: now_ms(), busy: true, it: caller });
                Ok(())
            }
            // He has gone already, or it is not our turn.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// Goes on with those who have not said who they are.
    fn greet(&mut self) {
        let now = now_ms();
        for mut guest in std::mem::take(&mut self.callers) {
            let known = guest.busy && guest.it.greet();
            guest.busy = false;
            if known {
                // One too many: he sees the end, and has three others.
                if self.sessions.len() < SESSIONS {
                    let it = Port::new(guest.it, self.bus.clone()).without(&WITHHELD);
                    self.sessions.push(Guest { number: guest.number, since_ms: now, busy: true, it });
                }
            } else if !guest.it.is_over() && now < guest.since_ms + HANDSHAKE_MS {
                self.callers.push(guest);
            }
        }
    }

    fn patience(&self) -> EpollTimeout {
        if self.sessions.iter().any(|session| session.busy) {
            return EpollTimeout::ZERO;
        }
        let handshakes = self.callers.iter().map(|guest| guest.since_ms + HANDSHAKE_MS);
        let sessions = self.sessions.iter().filter_map(|session| session.it.deadline_ms());
        let left = handshakes.chain(sessions).min().map(|deadline| deadline.saturating_sub(now_ms()));
        left.map_or(EpollTimeout::NONE, |ms| EpollTimeout::from(u16::try_from(ms).unwrap_or(u16::MAX)))
    }
}

fn edges(number: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, number)
}
