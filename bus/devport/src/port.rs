//! One port: frames from the host, the connection that it opened, frames back.
//!
//! That nobody has the port open on the host comes by another way than bytes do: the kernel may tell that the former
//! host has gone when the first bytes of the next one have been read already. So a host counts as gone, and its
//! connection is ended, only when the port stays closed for [`GONE_MS`]; one that comes sooner ends it by its `Open`.
//!
//! What holds: at most one frame waits for the host (and the answers to what it opens, up to [`OUT_MAX`]); while it
//! does, nothing is read from the bus, so that a host that does not read is a slow reader for the server, which has
//! bounds of its own for that.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use bus::devport::{Frame, Frames, PAYLOAD_MAX};

use crate::connection::Connection;

/// Beyond so many bytes for the host nothing is read from it. An answer is shorter than one frame.
const OUT_MAX: usize = 4 * PAYLOAD_MAX;
/// How long a port must be closed on the host before its connection is ended, milliseconds: longer than the kernel
/// takes to tell of one host's end and the next one's beginning.
pub const GONE_MS: u64 = 500;
/// Steps of one port before others have their turn.
const STEPS: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Port<S = File> {
    stream: S,
    bus: PathBuf,
    withheld: &'static [&'static str],
    frames: Frames,
    out: Vec<u8>,
    connection: Option<Connection>,
    /// Whether `connection` was opened since somebody looked.
    fresh: bool,
    /// Since when nobody has it open on the host, while there is something to be ended.
    closed_since_ms: Option<u64>,
}

impl<S: Read + Write> Port<S> {
    /// A port, opened non-blocking, whose host connects to the sockets in the folder `bus`.
    pub fn new(stream: S, bus: PathBuf) -> Self {
        let mut out = Vec::new();
        // For a host that was connected to a devport before this one. Any other passes over it.
        Frame::Closed.encode(&mut out);
        Self {
            stream,
            bus,
            withheld: &[],
            frames: Frames::default(),
            out,
            connection: None,
            fresh: false,
            closed_since_ms: None,
        }
    }

    /// The connection's socket, once after it was opened: it has to be watched, too.
    pub fn opened(&mut self) -> Option<BorrowedFd<'_>> {
        let fresh = std::mem::take(&mut self.fresh);
        self.connection.as_ref().filter(|_| fresh).map(AsFd::as_fd)
    }

    /// Without these interfaces, which its box has for its own part.
    #[must_use]
    pub fn without(self, withheld: &'static [&'static str]) -> Self {
        Self { withheld, ..self }
    }

    /// What it is.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// When it wants a turn even if nothing happens.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.closed_since_ms.map(|since| since + GONE_MS)
    }

    /// Does what can be done now; whether there is more.
    pub fn turn(&mut self, now_ms: u64) -> bool {
        for _ in 0..STEPS {
            // Each has to be tried: an event tells of the port or the socket, and only once.
            let steps = [self.read_host(now_ms), self.write_bus(), self.read_bus(), self.write_host()];
            if !steps.contains(&true) {
                return false;
            }
        }
        true
    }

    fn read_host(&mut self, now_ms: u64) -> bool {
        if self.out.len() > OUT_MAX {
            return false;
        }
        let mut buffer = [0; PAYLOAD_MAX];
        match self.stream.read(&mut buffer) {
            Ok(0) => {
                self.closed(now_ms);
                false
            }
            Ok(length) => {
                self.closed_since_ms = None;
                self.frames(buffer.get(..length).unwrap_or_default());
                true
            }
            Err(e) => {
                self.closed_since_ms = None;
                e.kind() == ErrorKind::Interrupted
            }
        }
    }

    /// Nobody has the port open at this moment.
    fn closed(&mut self, now_ms: u64) {
        if self.connection.is_none() && self.out.is_empty() {
            self.closed_since_ms = None;
            return;
        }
        let since = *self.closed_since_ms.get_or_insert(now_ms);
        if now_ms >= since + GONE_MS {
            self.connection = None;
            self.out.clear();
            self.closed_since_ms = None;
        }
    }

    fn frames(&mut self, bytes: &[u8]) {
        let mut frames = std::mem::take(&mut self.frames);
        frames.take(bytes, |frame| self.frame(frame));
        self.frames = frames;
    }

    fn frame(&mut self, frame: Frame<'_>) {
        match frame {
            Frame::Open(token, interface) => {
                // The one before is over, also when there will be no other.
                self.connection = None;
                let opened = match self.withheld.contains(&interface) {
                    true => Err("it is not for whoever comes this way".to_owned()),
                    false => Connection::open(&self.bus, interface),
                };
                match opened {
                    Ok(connection) => {
                        self.connection = Some(connection);
                        self.fresh = true;
                        Frame::Opened(token).encode(&mut self.out);
                    }
                    Err(why) => Frame::Refused(token, &why).encode(&mut self.out),
                }
            }
            Frame::Data(bytes) => self.with_connection(|connection| connection.push(bytes)),
            Frame::File(bytes) => self.with_connection(|connection| connection.push_file(bytes)),
            Frame::FileEnd("") => self.with_connection(Connection::end_file),
            // Not for us.
            _ => {}
        }
    }

    /// Does something with the connection, if there is one, and ends it if that can not be.
    fn with_connection(&mut self, act: impl FnOnce(&mut Connection) -> bool) {
        if self.connection.as_mut().is_some_and(|connection| !act(connection)) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.connection = None;
        Frame::Closed.encode(&mut self.out);
    }

    fn write_bus(&mut self) -> bool {
        self.connection.as_mut().is_some_and(Connection::write)
    }

    fn read_bus(&mut self) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|_| self.out.is_empty()) else { return false };
        connection.read(&mut self.out).unwrap_or_else(|| {
            self.close();
            true
        })
    }

    fn write_host(&mut self) -> bool {
        if self.out.is_empty() {
            return false;
        }
        match self.stream.write(&self.out) {
            Ok(sent) => {
                self.out.drain(..sent);
                sent > 0
            }
            // No room, or nobody there; the latter is noticed when reading.
            Err(e) => e.kind() == ErrorKind::Interrupted,
        }
    }
}

impl<S: AsFd> AsFd for Port<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
