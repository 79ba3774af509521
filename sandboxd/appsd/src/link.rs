//! The socket to `sandboxd`, which is our standard input: questions out in order, what it says in.
//!
//! Neither side waits for the other. What does not fit into the socket is kept: there is at most one question under
//! way for each call that waits, and calls are bounded by the bus.

use std::collections::VecDeque;
use std::io::{self, Stdin, stdin};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use bus::desk::{Ask, Asked, Told};
use sys::channel;

/// See the module.
pub(crate) struct Link {
    socket: Stdin,
    next: u32,
    unsent: VecDeque<(Asked, Option<OwnedFd>)>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self { socket: stdin(), next: 0, unsent: VecDeque::new() }
    }

    /// A number for a question.
    pub(crate) fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    /// Asks under this number, with a file if there is one.
    pub(crate) fn ask(&mut self, number: u32, ask: Ask, file: Option<OwnedFd>) {
        self.unsent.push_back((Asked { number, ask }, file));
        self.flush();
    }

    /// Sends as much as goes.
    pub(crate) fn flush(&mut self) {
        while let Some((asked, file)) = self.unsent.front() {
            let files: Vec<_> = file.iter().map(AsRawFd::as_raw_fd).collect();
            match channel::send(&self.socket, &asked.encode(), &files) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // `init` keeps the other end, so it is never gone; a message that can not be sent is not sent again.
                _ => self.unsent.pop_front(),
            };
        }
    }

    /// Whether something waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The next thing that it said, with its file; `None` when there is nothing now.
    pub(crate) fn receive(&self) -> Option<(Told, Option<OwnedFd>)> {
        loop {
            let (bytes, fds) = channel::receive(&self.socket).ok()??;
            if let Some(told) = Told::decode(&bytes) {
                return Some((told, fds.ok().and_then(|fds| fds.into_iter().next())));
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
