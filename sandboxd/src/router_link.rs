//! The socket to the router: messages out in order, each with its descriptor looked up when it is sent; messages in.
//!
//! Never waits. What does not fit into the socket stays in the queue, which is as long as the state of all boxes at
//! most: a new state replaces what is left of the one before.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bus::control::{FromRouter, Key, ToRouter};
use sys::channel;

/// The descriptor that goes with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum With {
    /// None.
    Nothing,
    /// The socket at which a box calls.
    Caller(Key),
    /// The socket at which a box serves.
    Server(Key),
    /// The duplicate of a connection.
    Connection(u64),
}

/// See the module.
#[derive(Debug)]
pub struct RouterLink {
    socket: OwnedFd,
    queue: VecDeque<(ToRouter, With)>,
}

impl RouterLink {
    /// On this socket, which is non-blocking.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, queue: VecDeque::new() }
    }

    /// Puts a message behind the others.
    pub fn push(&mut self, message: ToRouter, with: With) {
        self.queue.push_back((message, with));
    }

    /// Forgets what was not sent yet.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Sends as much as goes. `find` gives descriptors; a message whose descriptor is gone is passed over. True when
    /// nothing is left.
    pub fn flush<'a>(&mut self, mut find: impl FnMut(&With) -> Option<BorrowedFd<'a>>) -> io::Result<bool> {
        while let Some((message, with)) = self.queue.front() {
            let fd = find(with);
            if fd.is_some() || *with == With::Nothing {
                let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
                match channel::send(&self.socket, &message.encode(), &fds) {
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    other => other?,
                }
            }
            self.queue.pop_front();
        }
        Ok(true)
    }

    /// The next message and its descriptor; `None` when there is none, or it is nonsense, which is passed over.
    pub fn receive(&self) -> Option<(FromRouter, Option<OwnedFd>)> {
        loop {
            let (bytes, fds) = channel::receive(&self.socket).ok()??;
            if let Some(message) = FromRouter::decode(&bytes) {
                // Cut at the limit of open files is as if none had come.
                return Some((message, fds.unwrap_or_default().into_iter().next()));
            }
        }
    }

    /// Whether something waits to be sent.
    pub fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl AsFd for RouterLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
