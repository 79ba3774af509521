//! One epoll, and what its events mean.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// An event from `init`.
    Init,
    /// SIGTERM.
    Signal,
    /// An answer from the manifest worker.
    Worker,
    /// A record from the kernel.
    Audit,
    /// The console takes more.
    Console,
    /// A message from the bus's router.
    Router,
    /// A question from `appsd`.
    Desk,
    /// A message from `netd`.
    Netd,
    /// A message from `attestd`.
    Attestd,
    /// A message from `updated`.
    Updated,
    /// Something on the system's disk is done.
    Disk,
    /// Nobody debugs any more.
    Debugger,
    /// Output of the box with this uid.
    Out(u32),
    /// Its error output.
    Err(u32),
    /// Its notify socket.
    Notify(u32),
}

/// The epoll instance.
#[derive(Debug)]
pub struct Poller(Epoll);

impl Poller {
    /// Watching nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Watches a descriptor until it is closed.
    pub fn watch(&self, fd: impl AsFd, ready: Ready) -> io::Result<()> {
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token(ready)))?)
    }

    /// Watches a descriptor for room to write.
    pub fn watch_room(&self, fd: impl AsFd, ready: Ready) -> io::Result<()> {
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLOUT, token(ready)))?)
    }

    /// Watches a descriptor for its other end's being closed, and for nothing else.
    pub fn watch_end(&self, fd: impl AsFd, ready: Ready) -> io::Result<()> {
        // EPOLLHUP is told of whether it is asked for or not.
        Ok(self.0.add(fd, EpollEvent::new(EpollFlags::empty(), token(ready)))?)
    }

    /// Stops or goes on looking at a descriptor.
    pub fn listen(&self, fd: impl AsFd, ready: Ready, on: bool) -> io::Result<()> {
        let flags = if on { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        Ok(self.0.modify(fd, &mut EpollEvent::new(flags, token(ready)))?)
    }

    /// Stops watching. The descriptor may have a duplicate in `init`, so closing ours is not enough.
    pub fn forget(&self, fd: impl AsFd) {
        let _ = self.0.delete(fd);
    }

    /// What is ready, at most one batch, after at most `ms` milliseconds (`None`: whenever).
    pub fn wait(&self, ms: Option<u64>) -> io::Result<impl Iterator<Item = Ready> + use<>> {
        let mut events = [EpollEvent::empty(); 16];
        let timeout = match ms {
            Some(ms) => EpollTimeout::from(u16::try_from(ms).unwrap_or(u16::MAX)),
            None => EpollTimeout::NONE,
        };
        let n = match self.0.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        Ok(events.into_iter().take(n).filter_map(|e| meaning(e.data())))
    }
}

fn token(ready: Ready) -> u64 {
    let (kind, uid) = match ready {
        Ready::Init => (0, 0),
        Ready::Signal => (1, 0),
        Ready::Worker => (2, 0),
        Ready::Audit => (3, 0),
        Ready::Router => (7, 0),
        Ready::Desk => (8, 0),
        Ready::Console => (9, 0),
        Ready::Netd => (10, 0),
        Ready::Attestd => (11, 0),
        Ready::Updated => (12, 0),
        Ready::Disk => (13, 0),
        Ready::Debugger => (14, 0),
        Ready::Out(uid) => (4, uid),
        Ready::Err(uid) => (5, uid),
        Ready::Notify(uid) => (6, uid),
    };
    kind << 32 | u64::from(uid)
}

fn meaning(token: u64) -> Option<Ready> {
    let uid = u32::try_from(token & u64::from(u32::MAX)).ok()?;
    Some(match token >> 32 {
        0 => Ready::Init,
        1 => Ready::Signal,
        2 => Ready::Worker,
        3 => Ready::Audit,
        7 => Ready::Router,
        8 => Ready::Desk,
        9 => Ready::Console,
        10 => Ready::Netd,
        11 => Ready::Attestd,
        12 => Ready::Updated,
        13 => Ready::Disk,
        14 => Ready::Debugger,
        4 => Ready::Out(uid),
        5 => Ready::Err(uid),
        6 => Ready::Notify(uid),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_back() {
        let all = [
            Ready::Init,
            Ready::Signal,
            Ready::Worker,
            Ready::Audit,
            Ready::Router,
            Ready::Desk,
            Ready::Netd,
            Ready::Attestd,
            Ready::Updated,
            Ready::Disk,
            Ready::Debugger,
            Ready::Console,
            Ready::Out(1),
            Ready::Err(u32::MAX),
            Ready::Notify(9),
        ];
        for ready in all {
            assert_eq!(meaning(token(ready)), Some(ready));
        }
        assert_eq!(meaning(99 << 32), None);
    }
}
