//! One epoll, and what its events mean.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sys::bundle::BoxId;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// A signal waits on the signalfd.
    Signal,
    /// A request from `sandboxd`, or its end.
    Control,
    /// The power button with this index.
    Button(usize),
    /// A box's launch was decided.
    Launch(BoxId),
}

const SIGNAL: u64 = 0;
const CONTROL: u64 = 1;
const BUTTON: u64 = 1 << 32;
const LAUNCH: u64 = 2 << 32;

pub(crate) struct Poller(Epoll);

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Watches a descriptor until it is closed.
    pub(crate) fn watch(&self, fd: impl AsFd, ready: Ready) -> io::Result<()> {
        let data = match ready {
            Ready::Signal => SIGNAL,
            Ready::Control => CONTROL,
            Ready::Button(n) => BUTTON | n as u64,
            Ready::Launch(id) => LAUNCH | u64::from(id),
        };
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, data))?)
    }

    /// Waits for at most `ms` and returns what is ready (at most one batch).
    pub(crate) fn wait(&self, ms: u16) -> io::Result<impl Iterator<Item = Ready> + use<>> {
        let mut events = [EpollEvent::empty(); 16];
        let n = match self.0.wait(&mut events, EpollTimeout::from(ms)) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        Ok(events.into_iter().take(n).map(|e| meaning(e.data())))
    }
}

fn meaning(data: u64) -> Ready {
    let low = data & u64::from(u32::MAX);
    match data & !u64::from(u32::MAX) {
        BUTTON => Ready::Button(low as usize),
        LAUNCH => Ready::Launch(low as BoxId),
        _ if low == SIGNAL => Ready::Signal,
        _ => Ready::Control,
    }
}
