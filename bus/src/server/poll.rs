//! One epoll, and whose each event is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Place;

/// Events taken at once.
const BATCH: usize = 64;

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The daemon's own, under its number.
    Own(u32),
    /// The socket to the router, by its place in the list.
    Link(u32),
    /// A connection.
    Connection(Place),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Something to read, or the end.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

/// The epoll instance.
#[derive(Debug)]
pub(super) struct Poll {
    epoll: Epoll,
    events: [EpollEvent; BATCH],
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(Self { epoll, events: [EpollEvent::empty(); BATCH] })
    }

    pub(super) fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(flags(interest), encode(token)))?)
    }

    pub(super) fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(fd, &mut EpollEvent::new(flags(interest), encode(token)))?)
    }

    /// Others have duplicates, so closing ours would not be enough.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // It is not there only when it was never added.
        let _ = self.epoll.delete(fd);
    }

    /// Waits at most `ms` milliseconds (`None`: as long as it takes); gives how many events there are.
    pub(super) fn wait(&mut self, ms: Option<u64>) -> io::Result<usize> {
        let timeout = match ms {
            Some(ms) => EpollTimeout::try_from(ms.min(i32::MAX as u64)).unwrap_or(EpollTimeout::MAX),
            None => EpollTimeout::NONE,
        };
        match self.epoll.wait(&mut self.events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            other => Ok(other?),
        }
    }

    /// One of the events of the last [`Poll::wait`].
    pub(super) fn event(&self, n: usize) -> Option<(Token, EpollFlags)> {
        let event = self.events.get(n)?;
        Some((decode(event.data())?, event.events()))
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn flags(interest: Interest) -> EpollFlags {
    let mut flags = EpollFlags::empty();
    flags.set(EpollFlags::EPOLLIN, interest.read);
    flags.set(EpollFlags::EPOLLOUT, interest.write);
    flags
}

fn encode(token: Token) -> u64 {
    match token {
        Token::Own(number) => u64::from(number),
        Token::Link(number) => 1 << 62 | u64::from(number),
        Token::Connection(place) => 2 << 62 | u64::from(place.generation) << 32 | u64::from(place.slot),
    }
}

fn decode(data: u64) -> Option<Token> {
    let low = data as u32;
    Some(match data >> 62 {
        0 => Token::Own(low),
        1 => Token::Link(low),
        2 => Token::Connection(Place { slot: low, generation: (data >> 32) as u32 & super::GENERATION_MAX }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_back() {
        let place = Place { slot: u32::MAX, generation: super::super::GENERATION_MAX };
        for token in [Token::Own(u32::MAX), Token::Link(3), Token::Connection(place)] {
            assert_eq!(decode(encode(token)), Some(token));
        }
        assert_eq!(decode(u64::MAX), None);
    }
}
