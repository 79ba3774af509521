//! What the core decided, done: one epoll, no thread, no call that waits but `epoll_wait`.
//!
//! Sockets are shared: `sandboxd` and `init` have duplicates of the listening ones and of the socket to `sandboxd`,
//! callers' servers those of connections. So nothing here relies on a flag that who shares a socket could change
//! (`MSG_DONTWAIT`, and what is accepted from is made non-blocking), and a descriptor is taken out of the epoll before
//! it is closed, because closing ours would not take it out.
//!
//! The kernel counts descriptors that are sent and not received, for all of a uid's sockets together. So that servers
//! that never read cannot use that up for everybody, the buffer towards each is small ([`SERVER_BUFFER`]).

mod poller;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use bus::control::{FromRouter, MESSAGE_MAX, ToRouter};
use bus::handover::{HANDOVER_MAX, REPORT_MAX};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{MsgFlags, Shutdown, recv, setsockopt, shutdown, sockopt};
use nix::sys::stat::fstat;
use nix::time::{ClockId, clock_gettime};
use sys::channel;

use crate::core::{Accepted, Action, CONTROL, Core, Descriptor, Sent, Token, Watch};
use poller::Poller;

/// Things done before the sockets are looked at again.
const ACTIONS_AT_ONCE: usize = 256;
/// Messages of `sandboxd` read at once.
const MESSAGES_AT_ONCE: usize = 64;
/// Descriptors that are not for connections: standard streams, the epoll, what came with messages just read, and one
/// to refuse a caller with.
const RESERVED: usize = 8 + MESSAGES_AT_ONCE;
/// Room for hand-overs that a server has not read, bytes as the kernel counts them (it doubles the number): one of the
/// largest, or some ten of the usual.
const SERVER_BUFFER: usize = 2 * HANDOVER_MAX;

/// Runs until `sandboxd`'s end of `control` is closed for good, which `init` only does to end this box.
///
/// # Errors
/// When going on would mean to know something wrong: a message of `sandboxd` that is none, or a kernel that refuses what
/// it always can do. The next router asks for everything anew.
pub fn run(control: BorrowedFd<'_>) -> io::Result<()> {
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let capacity = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(RESERVED);
    let started = clock_us()?;
    let poller = Poller::new(control)?;
    let core = Core::new(started.max(1), capacity, started / 1000);
    let shell =
        Shell { control, poller, core, held: BTreeMap::new(), last: CONTROL, buffer: vec![0; MESSAGE_MAX] };
    shell.run()
}

/// Microseconds since boot. They number connections: a router opens fewer than one in each, so the next one's numbers
/// are new.
fn clock_us() -> io::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec().unsigned_abs() * 1_000_000 + time.tv_nsec().unsigned_abs() / 1000)
}

/// A descriptor in our hands.
enum Held {
    Listener(UnixListener),
    Socket(OwnedFd),
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Held::Listener(listener) => listener.as_fd(),
            Held::Socket(socket) => socket.as_fd(),
        }
    }
}

struct Shell<'a> {
    control: BorrowedFd<'a>,
    poller: Poller,
    core: Core,
    held: BTreeMap<Token, Held>,
    last: Token,
    buffer: Vec<u8>,
}

impl Shell<'_> {
    fn run(mut self) -> io::Result<()> {
        let mut timeout = Some(0);
        loop {
            let events = self.poller.wait(timeout)?;
            let now = clock_us()? / 1000;
            for ready in events {
                if ready.token == CONTROL {
                    if ready.readable && !self.hear(now)? {
                        return Ok(());
                    }
                } else if ready.readable || ready.hung {
                    self.core.ready(ready.token, ready.hung, now);
                }
                if ready.writable {
                    self.await_room(ready.token, false)?;
                    self.core.writable(ready.token);
                }
            }
            self.core.tick(now);
            timeout = if self.act(now)? {
                self.core.deadline(now).map(|at| at.saturating_sub(now))
            } else {
                Some(0)
            };
        }
    }

    /// Takes what `sandboxd` says; false at its end.
    fn hear(&mut self, now: u64) -> io::Result<bool> {
        for _ in 0..MESSAGES_AT_ONCE {
            let (length, fds) = match channel::receive_into(self.control, &mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error),
            };
            let message = ToRouter::decode(self.buffer.get(..length).unwrap_or_default());
            let fds = fds?;
            let message = message.filter(|message| message.descriptors() == fds.len());
            let Some(message) = message else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "sandboxd says what is no message"));
            };
            let listening = !matches!(message, ToRouter::Stored(_));
            let descriptor = fds.into_iter().next().map(|fd| self.receive(fd, listening)).transpose()?;
            self.core.control(message, descriptor, now);
        }
        Ok(true)
    }

    fn receive(&mut self, fd: OwnedFd, listening: bool) -> io::Result<Descriptor> {
        let socket = fstat(&fd)?.st_ino;
        let held = if listening {
            let listener = UnixListener::from(fd);
            listener.set_nonblocking(true)?;
            Held::Listener(listener)
        } else {
            Held::Socket(fd)
        };
        Ok(Descriptor { token: self.hold(held), socket })
    }

    fn hold(&mut self, held: Held) -> Token {
        self.last = Token(self.last.0 + 1);
        self.held.insert(self.last, held);
        self.last
    }

    /// Does what there is to do; false when there may be more.
    fn act(&mut self, now: u64) -> io::Result<bool> {
        for _ in 0..ACTIONS_AT_ONCE {
            match self.core.next(now) {
                Some(action) => self.perform(action, now)?,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    fn perform(&mut self, action: Action, now: u64) -> io::Result<()> {
        match action {
            Action::Watch(token, watch) => self.watch(token, watch)?,
            Action::AwaitRoom(token) => self.await_room(token, true)?,
            Action::Tell(message, descriptor) => {
                let sent = self.tell(&message, descriptor)?;
                self.core.told(sent, now);
            }
            Action::Accept { listener, room } => {
                let accepted = self.accept(listener, room)?;
                self.core.accepted(accepted, now);
            }
            Action::Say { server, message, connection } => {
                let fd: Vec<RawFd> = connection.iter().filter_map(|(_, token)| self.raw(*token)).collect();
                let sent = match self.held.get(&server) {
                    Some(held) => sent(channel::send(held, message.as_bytes(), &fd)).unwrap_or(Sent::Gone),
                    None => Sent::Gone,
                };
                self.core.said(server, connection.map(|(serial, _)| serial), sent, now);
            }
            Action::Read(server) => self.read(server, now),
            Action::Shutdown(token) => {
                if let Some(fd) = self.raw(token) {
                    // It fails when the other end has closed already.
                    let _ = shutdown(fd, Shutdown::Both);
                }
            }
            Action::Close(token) => {
                if let Some(held) = self.held.remove(&token) {
                    self.poller.forget(&held);
                }
            }
        }
        Ok(())
    }

    fn raw(&self, token: Token) -> Option<RawFd> {
        self.held.get(&token).map(|held| held.as_fd().as_raw_fd())
    }

    fn watch(&mut self, token: Token, watch: Watch) -> io::Result<()> {
        let Some(held) = self.held.get(&token) else { return Ok(()) };
        if watch == Watch::Server {
            setsockopt(held, sockopt::SndBuf, &SERVER_BUFFER)?;
        }
        self.poller.watch(held, token, watch)
    }

    fn await_room(&mut self, token: Token, on: bool) -> io::Result<()> {
        if token == CONTROL {
            return self.poller.await_room(self.control, token, on);
        }
        self.held.get(&token).map_or(Ok(()), |held| self.poller.await_room(held, token, on))
    }

    fn tell(&self, message: &FromRouter, descriptor: Option<Token>) -> io::Result<Sent> {
        let fd: Vec<RawFd> = descriptor.iter().filter_map(|token| self.raw(*token)).collect();
        match sent(channel::send(self.control, &message.encode(), &fd))? {
            Sent::Gone => Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody holds sandboxd's end")),
            sent => Ok(sent),
        }
    }

    fn accept(&mut self, listener: Token, room: Option<Token>) -> io::Result<Accepted> {
        for token in [Some(CONTROL), room].into_iter().flatten() {
            if !self.has_room(token)? {
                return Ok(Accepted::NoRoom(token));
            }
        }
        let Some(Held::Listener(listener)) = self.held.get(&listener) else { return Ok(Accepted::Nobody) };
        Ok(match listener.accept() {
            Ok((stream, _)) => Accepted::One(self.hold(Held::Socket(stream.into()))),
            Err(error) if is_shortage(&error) => Accepted::Busy,
            // Nobody waits, or never will: somebody who shares the socket has shut it down.
            Err(_) => Accepted::Nobody,
        })
    }

    fn has_room(&self, token: Token) -> io::Result<bool> {
        let fd = match self.held.get(&token) {
            Some(held) => held.as_fd(),
            None => self.control,
        };
        let mut poll = [PollFd::new(fd, PollFlags::POLLOUT)];
        match nix::poll::poll(&mut poll, PollTimeout::ZERO) {
            Ok(_) => Ok(poll.iter().all(|fd| fd.revents().is_some_and(|r| r.contains(PollFlags::POLLOUT)))),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// One report. Descriptors that come with it never reach us: there is no room for any.
    fn read(&mut self, server: Token, now: u64) {
        let Some(fd) = self.raw(server) else { return };
        let mut buffer = [0; REPORT_MAX + 1];
        match recv(fd, &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => self.core.report(server, buffer.get(..length), now),
            Err(Errno::EAGAIN | Errno::EINTR) => self.core.report(server, None, now),
            Err(_) => self.core.report(server, Some(&[]), now),
        }
    }
}

/// What became of a message.
fn sent(result: io::Result<()>) -> io::Result<Sent> {
    match result {
        Ok(()) => Ok(Sent::Done),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Sent::Full),
        Err(error) if is_shortage(&error) => Ok(Sent::Busy),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Ok(Sent::Gone),
            _ => Err(error),
        },
    }
}

/// Whether the kernel was short of something that others may give back.
fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let short = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::ETOOMANYREFS,
        Errno::EINTR,
        Errno::ECONNABORTED,
    ];
    errno.is_some_and(|errno| short.contains(&errno))
}
