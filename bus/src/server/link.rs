//! The socket to the router: `/run/serve/INTERFACE`, where connections are handed over.
//!
//! The router may be away. Its listening socket is kept, so connecting works all the same and what is handed over
//! comes when the next router is there; connections that were handed over before go on.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use sys::stream::{self, Wait};

use super::{Answer, Incoming};
use crate::handover::{HANDOVER_MAX, Report, ReportKind};
use crate::interface::Interface;

/// Pause after a connect that failed, milliseconds: doubled each time, up to the second number. The next router gives a
/// server ten seconds to be back.
const RETRY_MS: (u64, u64) = (20, 1000);

const NO_FDS: &[OwnedFd] = &[];

/// An interface that is served.
#[derive(Debug)]
pub(super) struct Link<H> {
    pub(super) interface: &'static Interface,
    pub(super) dispatch: fn(&mut H, Incoming<'_>) -> Answer,
    /// `None` where there is no router, in tests.
    path: Option<PathBuf>,
    socket: Option<OwnedFd>,
    retry: Option<(u64, u64)>,
    /// The router wants to hear of every call.
    pub(super) monitored: bool,
}

/// What came from the router.
#[derive(Debug)]
pub(super) enum Handed {
    /// A message and its descriptor.
    Message(Vec<u8>, Vec<OwnedFd>),
    /// Nothing more for now.
    Nothing,
    /// It is gone.
    End,
}

impl<H> Link<H> {
    pub(super) fn new(
        interface: &'static Interface,
        dispatch: fn(&mut H, Incoming<'_>) -> Answer,
        path: Option<PathBuf>,
    ) -> Self {
        Self { interface, dispatch, path, socket: None, retry: None, monitored: false }
    }

    /// Tries to connect. The new socket, to be watched; `None` when it has to be tried again, see [`Link::retry_at`].
    pub(super) fn connect(&mut self, now_ms: u64) -> Option<&OwnedFd> {
        let path = self.path.as_ref()?;
        match connected(path) {
            Ok(socket) => {
                self.retry = None;
                self.monitored = false;
                Some(self.socket.insert(socket))
            }
            Err(_) => {
                let pause = self.retry.map_or(RETRY_MS.0, |(_, pause)| (pause * 2).min(RETRY_MS.1));
                self.retry = Some((now_ms + pause, pause));
                None
            }
        }
    }

    /// When to try again.
    pub(super) fn retry_at(&self) -> Option<u64> {
        self.retry.map(|(at, _)| at)
    }

    /// The next message of the router.
    pub(super) fn receive(&mut self) -> Handed {
        let Some(socket) = &self.socket else { return Handed::End };
        let (mut message, mut fds) = (vec![0; HANDOVER_MAX], Vec::new());
        match stream::receive_with(socket, &mut message, &mut fds, Wait::No) {
            Ok(got) if got.bytes > 0 => {
                message.truncate(if got.cut { 0 } else { got.bytes });
                Handed::Message(message, fds)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Handed::Nothing
            }
            _ => Handed::End,
        }
    }

    /// The router is gone.
    pub(super) fn close(&mut self) -> Option<OwnedFd> {
        self.monitored = false;
        self.socket.take()
    }

    /// Reports to the router. A report that does not fit is lost: they are for the record, and nobody waits for one.
    pub(super) fn report(&self, kind: ReportKind, serial: u64, word: &str) {
        if let Some(socket) = &self.socket {
            let line = Report { kind, serial, word }.encode();
            let _ = stream::send(socket, line.as_bytes(), NO_FDS, Wait::No);
        }
    }
}

fn connected(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}
