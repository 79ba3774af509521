//! The conversation with `init`. It may be busy for a moment, never for long: a request that can not be sent in
//! [`PATIENCE_MS`] ends sandboxd, which `init` starts again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sys::bundle::{Event, Request};
use sys::channel;

const PATIENCE_MS: u16 = 10_000;

/// Our end of the socket.
#[derive(Debug)]
pub struct InitLink(OwnedFd);

/// A box that `init` held before we came: its event and our descriptors.
pub type Kept = (Event, Vec<OwnedFd>);

/// What `init` said to `Hello`.
#[derive(Debug)]
pub struct Greeting {
    /// Boxes it holds.
    pub kept: Vec<Kept>,
    /// Start no app.
    pub safe_mode: bool,
}

impl InitLink {
    /// On this socket, which is non-blocking.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Asks without descriptors.
    pub fn ask(&self, request: &Request) -> io::Result<()> {
        self.send(&request.encode(), &[])
    }

    /// Sends a message with descriptors.
    pub fn send(&self, message: &[u8], fds: &[RawFd]) -> io::Result<()> {
        loop {
            match channel::send(&self.0, message, fds) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait_for(PollFlags::POLLOUT)?,
                other => return other,
            }
        }
    }

    /// The next event, `Ok(None)` when there is none now. An `init` that is gone or speaks nonsense is an error, and so
    /// are descriptors that did not get here: a box without its log pipes cannot be looked after.
    pub fn event(&self) -> io::Result<Option<(Event, Vec<OwnedFd>)>> {
        match channel::receive(&self.0) {
            Ok(Some((message, fds))) => {
                let event = Event::decode(&message).ok_or(io::ErrorKind::InvalidData)?;
                Ok(Some((event, fds?)))
            }
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Says hello and waits for the list of kept boxes.
    pub fn greet(&self) -> io::Result<Greeting> {
        self.ask(&Request::Hello)?;
        let mut greeting = Greeting { kept: Vec::new(), safe_mode: false };
        loop {
            match self.event()? {
                Some((event @ Event::Kept { .. }, fds)) => greeting.kept.push((event, fds)),
                Some((Event::KeptEnd { safe_mode }, _)) => {
                    greeting.safe_mode = safe_mode;
                    return Ok(greeting);
                }
                // It tells nothing before the list, and all at once then.
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None => self.wait_for(PollFlags::POLLIN)?,
            }
        }
    }

    fn wait_for(&self, what: PollFlags) -> io::Result<()> {
        let mut fds = [PollFd::new(self.0.as_fd(), what)];
        match poll(&mut fds, PollTimeout::from(PATIENCE_MS)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for InitLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
