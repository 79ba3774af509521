//! One connection's socket around its [`Session`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use std::os::fd::AsRawFd;
use sys::stream::{self, Wait};

use super::Interest;
use crate::session::{Dropped, Session, Surroundings};

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its peer closed it, or the router ended it.
    Closed,
    /// It broke the rules.
    Dropped(Dropped),
}

impl From<Dropped> for End {
    fn from(why: Dropped) -> Self {
        Self::Dropped(why)
    }
}

/// Buffers that all connections share, so that an idle one has none.
#[derive(Debug)]
pub(super) struct Buffers {
    pub(super) receive: Vec<u8>,
    pub(super) spare: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) session: Session,
    /// The interface it came for, by its place in the list.
    pub(super) link: usize,
    /// What epoll was told.
    pub(super) interest: Interest,
    /// Something came while nothing could be taken: reading waits until it can.
    paused: bool,
    pub(super) deadline: Option<u64>,
}

impl Connection {
    /// Replies that nobody reads wait in the kernel, in memory that is charged to us. So the socket holds twice of what
    /// the peer may have us keep (the kernel doubles the number), not the kernel's usual 208 KiB.
    pub(super) fn new(socket: OwnedFd, session: Session, link: usize) -> Self {
        // It can not fail for a socket; with the usual buffer a connection still is one.
        let _ = setsockopt(&socket, sockopt::SndBuf, &session.granted().message_bytes());
        let interest = Interest { read: true, write: false };
        Self { socket, session, link, interest, paused: false, deadline: None }
    }

    /// Does what epoll says can be done.
    pub(super) fn ready(
        &mut self,
        flags: EpollFlags,
        buffers: &mut Buffers,
        with: &mut Surroundings<'_>,
    ) -> Result<(), End> {
        if flags.contains(EpollFlags::EPOLLOUT) {
            self.go_on(buffers, with)?;
        }
        let gone = flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        if flags.contains(EpollFlags::EPOLLIN) && self.session.room() > 0 {
            self.read(buffers, with)
        } else if gone {
            // Nobody is left to read a reply.
            Err(End::Closed)
        } else {
            self.paused = flags.contains(EpollFlags::EPOLLIN);
            Ok(())
        }
    }

    fn read(&mut self, buffers: &mut Buffers, with: &mut Surroundings<'_>) -> Result<(), End> {
        let room = self.session.room().min(buffers.receive.len());
        let buffer = buffers.receive.get_mut(..room).unwrap_or_default();
        let mut fds = Vec::new();
        let got = if self.session.granted().interface.takes_descriptors() {
            stream::receive_with(&self.socket, buffer, &mut fds, Wait::No)
        } else {
            stream::receive(&self.socket, buffer, Wait::No)
        };
        let got = match got {
            Ok(got) if got.surplus => return Err(Dropped::Descriptors.into()),
            Ok(got) if got.bytes > 0 => got,
            Err(error) if is_later(&error) => return Ok(()),
            _ => return Err(End::Closed),
        };
        self.session.output().lend(&mut buffers.spare);
        let received = buffer.get(..got.bytes).unwrap_or_default();
        self.session.receive(received, fds, with)?;
        self.go_on(buffers, with)
    }

    /// Sends what is there to be sent, and takes calls that waited for that, until one of them has to wait.
    pub(super) fn go_on(&mut self, buffers: &mut Buffers, with: &mut Surroundings<'_>) -> Result<(), End> {
        loop {
            self.flush(buffers)?;
            if !self.session.is_ready() {
                return Ok(());
            }
            self.session.output().lend(&mut buffers.spare);
            self.session.resume(with)?;
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn flush(&mut self, buffers: &mut Buffers) -> Result<(), End> {
        while self.session.has_output() {
            let (bytes, fds) = self.session.output().next();
            match stream::send(&self.socket, bytes, fds, Wait::No) {
                Ok(sent) => self.session.sent(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_later(&error) => return Ok(()),
                Err(_) => return Err(End::Closed),
            }
        }
        self.session.output().give_back(&mut buffers.spare);
        Ok(())
    }

    /// What epoll should be told now.
    pub(super) fn wanted(&mut self) -> Interest {
        self.paused &= self.session.room() == 0;
        Interest { read: !self.paused, write: self.session.has_output() }
    }

    /// Ends it for whoever has a duplicate.
    pub(super) fn shut(&self) {
        // It fails only when the peer was first.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
