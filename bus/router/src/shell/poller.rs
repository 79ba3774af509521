//! One epoll, and what its events mean.
//!
//! Listening sockets and servers are edge-triggered: what waits and may not be taken yet does not wake us again and
//! again. Connections are watched for their end alone; half-closed ones live on, and data that goes by does not wake
//! us. The socket to `sandboxd` is level-triggered, because it is read in portions.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::core::{CONTROL, Token, Watch};

/// Events taken at once.
const EVENTS: usize = 64;

/// What became ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: Token,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) hung: bool,
}

pub(super) struct Poller(Epoll);

impl Poller {
    /// Watching the socket to `sandboxd`.
    pub(super) fn new(control: BorrowedFd<'_>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(control, EpollEvent::new(EpollFlags::EPOLLIN, CONTROL.0))?;
        Ok(Self(epoll))
    }

    pub(super) fn watch(&self, fd: impl AsFd, token: Token, watch: Watch) -> io::Result<()> {
        let flags = match watch {
            Watch::Listener => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            Watch::Server => SERVER,
            // EPOLLHUP is always there.
            Watch::Connection => EpollFlags::empty(),
        };
        Ok(self.0.add(fd, EpollEvent::new(flags, token.0))?)
    }

    /// Says or no longer says when there is room in the socket to `sandboxd` or to a server.
    pub(super) fn await_room(&self, fd: impl AsFd, token: Token, on: bool) -> io::Result<()> {
        let flags = if token == CONTROL { EpollFlags::EPOLLIN } else { SERVER };
        let room = if on { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        Ok(self.0.modify(fd, &mut EpollEvent::new(flags | room, token.0))?)
    }

    pub(super) fn forget(&self, fd: impl AsFd) {
        // What was never watched is not there, which is what is wanted.
        let _ = self.0.delete(fd);
    }

    /// Waits at most so many milliseconds (`None`: for ever) and returns one batch.
    pub(super) fn wait(&self, ms: Option<u64>) -> io::Result<impl Iterator<Item = Ready> + use<>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let timeout =
            ms.map_or(EpollTimeout::NONE, |ms| EpollTimeout::from(u16::try_from(ms).unwrap_or(u16::MAX)));
        let n = match self.0.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        Ok(events.into_iter().take(n).map(|event| meaning(&event)))
    }
}

const SERVER: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLRDHUP).union(EpollFlags::EPOLLET);

fn meaning(event: &EpollEvent) -> Ready {
    let flags = event.events();
    let any = |wanted: EpollFlags| flags.intersects(wanted);
    Ready {
        token: Token(event.data()),
        readable: any(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
        writable: any(EpollFlags::EPOLLOUT),
        hung: any(EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLERR),
    }
}
