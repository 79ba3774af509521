//! `sandboxd` as far as the router sees it: tells the state, keeps duplicates. Everybody who is named may call.
//!
//! A thread of the bench, on the same CPU as all the others, as `sandboxd` is on a device with one. What it does for a
//! connection is what `sandboxd` does: two messages read, a descriptor received and kept, one entry of a map.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use bus::control::{Connection, FromRouter, Grant, Key, Limits, ToRouter, Verdict};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandboxd::endpoint::{Endpoint, Kept, Side, identify};
use sys::channel;

use super::scene::{INTERFACE, METHODS, SERVER, app};
use crate::subject::Subject;

/// Wide enough that no bound of the router is what is measured.
const LIMITS: Limits = Limits { connections: 1024, connections_per_s: u16::MAX, message_bytes: 64 * 1024 };

/// What the manager tells of itself.
#[derive(Default)]
pub(super) struct Seen {
    /// Duplicates that it keeps.
    pub(super) stored: AtomicUsize,
    /// States that a router has taken over.
    pub(super) synced: AtomicUsize,
}

/// See the module.
pub(super) struct Manager {
    socket: OwnedFd,
    /// What is told of each listening socket, and the socket.
    state: Vec<(ToRouter, OwnedFd)>,
    store: BTreeMap<u64, (Connection, OwnedFd)>,
    seen: Arc<Seen>,
}

impl Manager {
    /// Starts it on its end of the control socket. It ends when nobody has the router's end any more.
    pub(super) fn start(socket: OwnedFd, server: &Subject, callers: &[Subject]) -> Result<Arc<Seen>> {
        let mut state = Vec::new();
        for subject in callers.iter().chain([server]) {
            state.extend(endpoints(subject)?);
        }
        let seen = Arc::new(Seen::default());
        let mut manager = Manager { socket, state, store: BTreeMap::new(), seen: seen.clone() };
        std::thread::Builder::new().name("manager".into()).spawn(move || {
            if let Err(error) = manager.run() {
                eprintln!("the router's manager ended: {error:#}");
            }
        })?;
        Ok(seen)
    }

    fn run(&mut self) -> Result<()> {
        loop {
            self.wait(PollFlags::POLLIN)?;
            let Some((bytes, fds)) = channel::receive(&self.socket)? else { return Ok(()) };
            let message = FromRouter::decode(&bytes).context("the router says what is no message")?;
            self.hear(message, fds?.into_iter().next())?;
            self.seen.stored.store(self.store.len(), Ordering::Relaxed);
        }
    }

    fn hear(&mut self, message: FromRouter, fd: Option<OwnedFd>) -> Result<()> {
        match (message, fd) {
            (FromRouter::Hello(number), _) => self.tell_all(number)?,
            (FromRouter::Synced(_), _) => {
                self.seen.synced.fetch_add(1, Ordering::Relaxed);
            }
            (FromRouter::Store(connection), Some(fd)) => {
                self.store.insert(connection.serial, (connection, fd));
            }
            (FromRouter::Handed(serial), _) => {
                if let Some((connection, _)) = self.store.get_mut(&serial) {
                    connection.handed = true;
                }
            }
            (FromRouter::Forget(serial), _) => {
                self.store.remove(&serial);
            }
            (FromRouter::Event(_), _) => {}
            (FromRouter::Store(_), None) => bail!("a connection without a descriptor"),
        }
        Ok(())
    }

    fn tell_all(&self, number: u64) -> Result<()> {
        self.tell(&ToRouter::Sync { number, asked: true }, None)?;
        for (message, socket) in &self.state {
            self.tell(message, Some(socket))?;
        }
        for (connection, socket) in self.store.values() {
            self.tell(&ToRouter::Stored(connection.clone()), Some(socket))?;
        }
        self.tell(&ToRouter::SyncEnd(number), None)
    }

    /// Says it, once there is room. `sandboxd` goes on meanwhile; here nobody else waits.
    fn tell(&self, message: &ToRouter, socket: Option<&OwnedFd>) -> Result<()> {
        let fds: Vec<_> = socket.iter().map(|socket| socket.as_raw_fd()).collect();
        loop {
            match channel::send(&self.socket, &message.encode(), &fds) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT)?,
                sent => return Ok(sent?),
            }
        }
    }

    fn wait(&self, what: PollFlags) -> Result<()> {
        let mut fds = [PollFd::new(self.socket.as_fd(), what)];
        poll(&mut fds, PollTimeout::NONE)?;
        Ok(())
    }
}

/// The sockets on the bus that the builder made for a box, and what the router is told of each.
fn endpoints(subject: &Subject) -> Result<Vec<(ToRouter, OwnedFd)>> {
    let mut found = Vec::new();
    for fd in &subject.built.kept {
        if let Kept::Endpoint(Endpoint { side, interface, socket }) = identify(fd.try_clone()?)
            && interface == INTERFACE
        {
            found.push((message(subject.built.spec.id, side), socket));
        }
    }
    Ok(found)
}

fn message(uid: u32, side: Side) -> ToRouter {
    let (key, app) = (Key { uid, interface: INTERFACE.to_owned() }, app(uid));
    match side {
        Side::Uses => {
            let methods = METHODS.map(str::to_owned).to_vec();
            let verdict = Verdict::Granted(Grant { server: SERVER, methods, limits: LIMITS });
            ToRouter::Listen { key, app, system: false, verdict }
        }
        Side::Provides => ToRouter::Serve { key, app },
    }
}
