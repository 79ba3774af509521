//! The loop around the connections: epoll, the router, time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::epoll::EpollFlags;
use nix::time::{ClockId, clock_gettime};

use super::connection::{Buffers, Connection, End};
use super::handed::{self, FromRouter, Handover};
use super::link::{Handed, Link};
use super::poll::{Interest, Poll, Token};
use super::slots::Slots;
use super::{Answer, CallId, Incoming, Pending, Place};
use crate::handover::ReportKind;
use crate::interface::{Interface, Method};
use crate::session::{About, Granted, Note, Session, Surroundings};

/// Where the router takes servers' sockets.
const SERVE: &str = "/run/serve";
/// Bytes received at once.
const CHUNK: usize = 64 * 1024;
/// Connections taken from the router before others have their turn.
const HANDED_AT_ONCE: usize = 16;

/// What the daemon has to deal with itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A descriptor that it watches is ready.
    Ready(u32),
    /// A call that was kept for later is over, because its connection is: nobody waits for the answer.
    Ended(CallId),
    /// The router said something that is not understood. For the log.
    BadHandover(&'static str, String),
}

/// Serves interfaces on behalf of a daemon `H`.
#[derive(Debug)]
pub struct Server<H> {
    poll: Poll,
    about: About,
    links: Vec<Link<H>>,
    connections: Slots<Connection>,
    serials: BTreeMap<u64, Place>,
    deadlines: BTreeSet<(u64, Place)>,
    /// Connections on which calls may wait that can be taken now.
    woken: Vec<Place>,
    events: Vec<Event>,
    buffers: Buffers,
    notes: Vec<Note>,
}

impl<H> Server<H> {
    /// Serving nothing yet.
    ///
    /// # Errors
    /// Those of `epoll_create1(2)`.
    pub fn new(about: About) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            about,
            links: Vec::new(),
            connections: Slots::new(),
            serials: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            woken: Vec::new(),
            events: Vec::new(),
            buffers: Buffers { receive: vec![0; CHUNK], spare: Vec::new() },
            notes: Vec::new(),
        })
    }

    /// Serves an interface at the place that the box has for it.
    pub fn serve(&mut self, interface: &'static Interface, dispatch: fn(&mut H, Incoming<'_>) -> Answer) {
        self.serve_at(interface, dispatch, &Path::new(SERVE).join(interface.name));
    }

    /// Serves an interface whose router listens at `path`. Tries again and again until it does.
    pub fn serve_at(
        &mut self,
        interface: &'static Interface,
        dispatch: fn(&mut H, Incoming<'_>) -> Answer,
        path: &Path,
    ) {
        self.add(interface, dispatch, Some(path.to_owned()));
        self.connect(self.links.len() - 1);
    }

    /// Serves an interface on what is given to [`Server::adopt`], without a router.
    pub fn offer(&mut self, interface: &'static Interface, dispatch: fn(&mut H, Incoming<'_>) -> Answer) {
        self.add(interface, dispatch, None);
    }

    fn add(
        &mut self,
        interface: &'static Interface,
        dispatch: fn(&mut H, Incoming<'_>) -> Answer,
        path: Option<PathBuf>,
    ) {
        self.links.push(Link::new(interface, dispatch, path));
    }

    /// Watches a descriptor of the daemon's own; [`Event::Ready`] brings `number`. Again with the same descriptor: what
    /// is waited for is replaced.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn watch(&mut self, fd: impl AsFd, number: u32, interest: Interest) -> io::Result<()> {
        match self.poll.add(&fd, Token::Own(number), interest) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.poll.modify(&fd, Token::Own(number), interest)
            }
            other => other,
        }
    }

    /// Watches it no more.
    pub fn forget(&mut self, fd: impl AsFd) {
        self.poll.remove(fd);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes a connection that was handed over.
    ///
    /// # Errors
    /// The interface is not served here, or those of `epoll_ctl(2)`.
    pub fn adopt(&mut self, handover: Handover, socket: OwnedFd) -> io::Result<()> {
        let link = self.links.iter().position(|link| link.interface.name == handover.interface);
        let link = link.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not served here"))?;
        let serial = handover.serial;
        // A router that cannot know whether we got it says it again. The connection goes on.
        if self.serials.contains_key(&serial) {
            return Ok(());
        }
        let interface = self.links.get(link).map(|link| link.interface);
        let Some(interface) = interface else { return Ok(()) };
        let connection = Connection::new(socket, Session::new(Granted::new(handover, interface)), link);
        let token = Token::Connection(self.connections.next_place());
        self.poll.add(&connection, token, connection.interest)?;
        let place = self.connections.insert(connection);
        self.serials.insert(serial, place);
        Ok(())
    }

    /// Waits for something to happen, at most `wait_ms` milliseconds (`None`: as long as it takes), and has `daemon`
    /// answer the calls that came. Adds to `events` what the daemon has to deal with itself.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`.
    pub fn turn(&mut self, daemon: &mut H, wait_ms: Option<u64>, events: &mut Vec<Event>) -> io::Result<()> {
        for place in std::mem::take(&mut self.woken) {
            self.drive(place, EpollFlags::EPOLLOUT, daemon);
        }
        let count = self.poll.wait(self.wait_ms(wait_ms))?;
        for n in 0..count {
            match self.poll.event(n) {
                Some((Token::Own(number), _)) => events.push(Event::Ready(number)),
                Some((Token::Link(number), _)) => self.take_handovers(number as usize),
                Some((Token::Connection(place), flags)) => self.drive(place, flags, daemon),
                None => {}
            }
        }
        self.expire();
        events.append(&mut self.events);
        Ok(())
    }

    /// After how many milliseconds [`Server::turn`] has something to do though its descriptor says nothing; `None`: until
    /// then there is nothing. For a loop that watches the descriptor.
    pub fn due_ms(&self) -> Option<u64> {
        if self.woken.is_empty() { self.wait_ms(None) } else { Some(0) }
    }

    /// Time is asked for only where it runs out for somebody.
    fn wait_ms(&self, asked: Option<u64>) -> Option<u64> {
        if !self.events.is_empty() {
            return Some(0);
        }
        let first = self.deadlines.first().map(|(at, _)| *at);
        let retry = self.links.iter().filter_map(Link::retry_at).min();
        let ours = first.into_iter().chain(retry).min().map(|at| at.saturating_sub(now_ms()).max(1));
        asked.into_iter().chain(ours).min()
    }

    fn expire(&mut self) {
        if self.deadlines.is_empty() && self.links.iter().all(|link| link.retry_at().is_none()) {
            return;
        }
        let now = now_ms();
        while let Some((_, place)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.settle(place);
        }
        for number in 0..self.links.len() {
            if self.links.get(number).and_then(Link::retry_at).is_some_and(|at| at <= now) {
                self.connect(number);
            }
        }
    }

    /// Has a connection do what it can.
    fn drive(&mut self, place: Place, flags: EpollFlags, daemon: &mut H) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let Some(link) = self.links.get(connection.link) else { return };
        let dispatch = link.dispatch;
        let mut call = |incoming: Incoming<'_>| dispatch(daemon, incoming);
        let mut with =
            Surroundings { about: &self.about, place, dispatch: &mut call, notes: &mut self.notes };
        let done = connection.ready(flags, &mut self.buffers, &mut with);
        self.report_notes(place);
        self.after(place, done);
    }

    /// Brings epoll and the deadlines up to date with a connection that did something, or ends it.
    fn after(&mut self, place: Place, done: Result<(), End>) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let mut done = done;
        let wanted = connection.wanted();
        if done.is_ok() && wanted != connection.interest {
            connection.interest = wanted;
            done = self.poll.modify(&*connection, Token::Connection(place), wanted).map_err(|_| End::Closed);
        }
        match done {
            Ok(()) if connection.session.is_owed() || connection.deadline.is_some() => self.settle(place),
            Ok(()) => {}
            Err(end) => self.end(place, end),
        }
    }

    fn settle(&mut self, place: Place) {
        let Some(connection) = self.connections.get_mut(place) else {
            self.deadlines.retain(|(_, of)| *of != place);
            return;
        };
        match connection.session.settle(now_ms()) {
            Ok(deadline) if deadline == connection.deadline => {}
            Ok(deadline) => {
                if let Some(before) = std::mem::replace(&mut connection.deadline, deadline) {
                    self.deadlines.remove(&(before, place));
                }
                self.deadlines.extend(deadline.map(|at| (at, place)));
            }
            Err(why) => self.end(place, why.into()),
        }
    }

    fn end(&mut self, place: Place, end: End) {
        let Some(connection) = self.connections.remove(place) else { return };
        self.poll.remove(&connection);
        connection.shut();
        let serial = connection.session.granted().caller.serial;
        self.serials.remove(&serial);
        if let Some(at) = connection.deadline {
            self.deadlines.remove(&(at, place));
        }
        if let Some(number) = connection.session.waiting() {
            self.events.push(Event::Ended(CallId { place, number }));
        }
        if let (End::Dropped(why), Some(link)) = (end, self.links.get(connection.link)) {
            link.report(ReportKind::Dropped, serial, why.word());
        }
    }

    fn report_notes(&mut self, place: Place) {
        let connection = self.connections.get_mut(place);
        if let Some(connection) = connection
            && let Some(link) = self.links.get(connection.link)
        {
            let serial = connection.session.granted().caller.serial;
            for note in &self.notes {
                match note {
                    Note::Refused(method) => link.report(ReportKind::Refused, serial, method),
                    Note::Called(method) if link.monitored => link.report(ReportKind::Called, serial, method),
                    Note::Called(_) => {}
                }
            }
        }
        self.notes.clear();
    }

    fn connect(&mut self, number: usize) {
        let Some(link) = self.links.get_mut(number) else { return };
        if let Some(socket) = link.connect(now_ms()) {
            let token = Token::Link(u32::try_from(number).unwrap_or(u32::MAX));
            if self.poll.add(socket, token, Interest { read: true, write: false }).is_err() {
                self.lost(number);
            }
        }
    }

    /// The router is gone: its next one takes us at the same place.
    fn lost(&mut self, number: usize) {
        let Some(link) = self.links.get_mut(number) else { return };
        if let Some(socket) = link.close() {
            self.poll.remove(socket);
        }
        self.connect(number);
    }

    fn take_handovers(&mut self, number: usize) {
        for _ in 0..HANDED_AT_ONCE {
            let Some(link) = self.links.get_mut(number) else { return };
            match link.receive() {
                Handed::Nothing => return,
                Handed::End => return self.lost(number),
                Handed::Message(message, fds) => self.handed(number, &message, fds),
            }
        }
    }

    fn handed(&mut self, number: usize, message: &[u8], fds: Vec<OwnedFd>) {
        let Some(link) = self.links.get_mut(number) else { return };
        let name = link.interface.name;
        let mut fds = fds.into_iter();
        let problem = match (handed::read(message), fds.next()) {
            (Ok(FromRouter::Monitor(monitor)), None) => {
                link.monitored = monitor.monitor;
                None
            }
            (Ok(FromRouter::Handover(handover)), Some(socket)) if handover.interface == name => {
                self.adopt(handover, socket).err().map(|error| error.to_string())
            }
            (Ok(FromRouter::Handover(handover)), None) => {
                // We have too many open. Nobody would ever end the connection.
                link.report(ReportKind::Dropped, handover.serial, "no-descriptor");
                Some(format!("connection {} came without its descriptor", handover.serial))
            }
            (Ok(message), _) => Some(format!("not for here: {message:?}")),
            (Err(error), _) => Some(error.to_string()),
        };
        self.events.extend(problem.map(|why| Event::BadHandover(name, why)));
    }

    /// Sends one reply of a stream. Nobody gets it when the caller is gone, see [`Event::Ended`].
    pub fn push<M: Method>(&mut self, to: &Pending<M>, reply: &M::Reply<'_>) {
        self.answer(to.id(), |session| session.push::<M>(reply));
    }

    /// Answers a call, or ends its stream with one last reply.
    pub fn finish<M: Method>(&mut self, to: Pending<M>, reply: &M::Reply<'_>) {
        self.finish_with(to, reply, Vec::new());
    }

    /// Answers a call with descriptors.
    pub fn finish_with<M: Method>(&mut self, to: Pending<M>, reply: &M::Reply<'_>, fds: Vec<OwnedFd>) {
        self.answer(to.id(), |session| session.finish::<M>(reply, fds));
    }

    /// Answers a call, or ends its stream, by an error of the interface.
    pub fn fail<M: Method>(&mut self, to: Pending<M>, error: &M::Error) {
        self.answer(to.id(), |session| session.fail_waiting(error));
    }

    fn answer(
        &mut self,
        id: CallId,
        write: impl FnOnce(&mut Session) -> Result<(), crate::session::Dropped>,
    ) {
        let Some(connection) = self.connections.get_mut(id.place) else { return };
        if !connection.session.waits(id.number) {
            return;
        }
        connection.session.output().lend(&mut self.buffers.spare);
        let written = write(&mut connection.session).map_err(End::from);
        let done = written.and_then(|()| connection.flush(&mut self.buffers));
        if connection.session.waiting().is_none() {
            self.woken.push(id.place);
        }
        self.after(id.place, done);
    }
}

/// What to watch to know that [`Server::turn`] has something to do.
impl<H> AsFd for Server<H> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

/// The monotonic clock, at the kernel's tick: seconds matter here, not microseconds, and reading it costs nothing on
/// any machine.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .unwrap_or_else(|_| nix::sys::time::TimeSpec::new(0, 0));
    let part = |n: i64| u64::try_from(n).unwrap_or_default();
    part(now.tv_sec()) * 1000 + part(now.tv_nsec()) / 1_000_000
}
