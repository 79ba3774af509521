//! The socket to `sandboxd`, which is our standard input.
//!
//! Messages go out in order; what does not fit waits here, bounded: sandboxd reads as long as it lives, and the one that
//! follows it asks for nothing that waits here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use bus::network_link::{FromNetd, ToNetd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::watched::watched;

/// Messages that may wait. More than one for each box, and refusals beside them.
const WAITING_MAX: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Desk {
    socket: AsyncFd<OwnedFd>,
    waiting: RefCell<VecDeque<FromNetd>>,
    full: Notify,
}

impl Desk {
    /// On this socket (`SOCK_SEQPACKET`, non-blocking).
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: watched(socket)?, waiting: RefCell::default(), full: Notify::new() })
    }

    /// The next message and its descriptors. One that is none is passed over.
    ///
    /// # Errors
    /// The other end is gone for good, or the socket fails.
    pub async fn receive(&self) -> io::Result<(ToNetd, Vec<OwnedFd>)> {
        loop {
            let received =
                self.socket.async_io(Interest::READABLE, |socket| sys::channel::receive(socket)).await?;
            let (bytes, fds) = received.ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(message) = ToNetd::decode(&bytes) {
                return Ok((message, fds.unwrap_or_default()));
            }
        }
    }

    /// Sends it, now or when there is room; when far too much waits, the message is lost.
    pub fn send(&self, message: FromNetd) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < WAITING_MAX {
            waiting.push_back(message);
        }
        drop(waiting);
        if self.send_some(self.socket.get_ref()).is_err() {
            self.full.notify_one();
        }
    }

    /// Sends what found no room when there is some, for ever.
    pub async fn flush(&self) -> io::Result<()> {
        loop {
            self.full.notified().await;
            self.socket.async_io(Interest::WRITABLE, |socket| self.send_some(socket)).await?;
        }
    }

    fn send_some(&self, socket: &OwnedFd) -> io::Result<()> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(message) = waiting.front() {
            sys::channel::send(socket, &message.encode(), &[])?;
            waiting.pop_front();
        }
        Ok(())
    }
}
