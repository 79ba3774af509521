//! Messages to a daemon at the other end of a socket that outlives both of us: sent in order, and what does not fit is
//! tried again soon. How many can wait is bounded by whoever pushes: a state and what changed since.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use sys::channel;

use crate::console;

/// How soon what did not fit into the socket is tried again, milliseconds.
const RETRY_MS: u64 = 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    link: Option<OwnedFd>,
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    retry_at_ms: Option<u64>,
}

impl Outbox {
    /// Over `link` from now on; what waited is forgotten.
    pub(crate) fn open(&mut self, link: OwnedFd) {
        *self = Self { link: Some(link), ..Self::default() };
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    /// When to [`flush`](Self::flush).
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.retry_at_ms
    }

    /// Sends a message with descriptors, or has it wait.
    pub(crate) fn push(&mut self, message: Vec<u8>, fds: Vec<OwnedFd>) {
        self.queue.push_back((message, fds));
        self.flush();
    }

    /// Sends what waits, as far as it goes.
    pub(crate) fn flush(&mut self) {
        self.retry_at_ms = None;
        while let (Some(link), Some((message, fds))) = (&self.link, self.queue.front()) {
            let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
            match channel::send(link, message, &fds) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.retry_at_ms = Some(sys::process::now_ms() + RETRY_MS);
                    return;
                }
                // Its box could not be built: the console said so.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return *self = Self::default(),
                Err(e) => console::say(format_args!("can not tell a daemon of the system: {e}")),
                Ok(()) => {}
            }
            self.queue.pop_front();
        }
    }

    /// What the other end said next, with the descriptors that came whole; `None` when there is nothing now.
    pub(crate) fn receive(&self) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
        let (bytes, fds) = channel::receive(self.link.as_ref()?).ok()??;
        Some((bytes, fds.unwrap_or_default()))
    }
}
