//! A connection to the bus, made for the host.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bus::bulk;
use bus::devport::{FILE_MAX, Frame, PAYLOAD_MAX};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use sys::stream::{self, Wait};

/// Most bytes that wait for the server: twice the longest message that one reads. A host that sends calls faster than
/// they are answered is not one of ours.
const TO_BUS_MAX: usize = 128 * 1024;
/// Longest name of an interface, bytes.
const NAME_MAX: usize = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    to_bus: Vec<u8>,
    /// A file from the host as far as it came.
    coming: Vec<u8>,
    /// One that goes with the byte of `to_bus` at this place.
    goes: Option<(usize, OwnedFd)>,
    /// Files that came with the bytes in `held`, and are sent before them.
    files: VecDeque<Upload>,
    held: Vec<u8>,
}

#[derive(Debug)]
struct Upload {
    file: File,
    offset: u64,
}

impl Connection {
    /// Connects to an interface. The error is for people.
    pub(crate) fn open(bus: &Path, interface: &str) -> Result<Self, String> {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        if interface.len() > NAME_MAX || interface.starts_with('.') || !interface.bytes().all(name) {
            return Err("that is no name of an interface".to_owned());
        }
        match connected(&bus.join(interface)) {
            Ok(socket) => Ok(Self {
                socket,
                to_bus: Vec::new(),
                coming: Vec::new(),
                goes: None,
                files: VecDeque::new(),
                held: Vec::new(),
            }),
            Err(Errno::ENOENT) => Err("the developer port has no grant for this interface".to_owned()),
            // The socket is non-blocking: the backlog is full.
            Err(Errno::EAGAIN) => Err("the bus is busy; try again".to_owned()),
            Err(errno) => Err(errno.desc().to_owned()),
        }
    }

    /// Takes bytes for the server; `false` when more wait than may.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        self.to_bus.extend_from_slice(bytes);
        self.to_bus.len() <= TO_BUS_MAX
    }

    /// Takes bytes of a file for the server; `false` when it is longer than it may be.
    pub(crate) fn push_file(&mut self, bytes: &[u8]) -> bool {
        self.coming.extend_from_slice(bytes);
        self.coming.len() <= FILE_MAX
    }

    /// The file is complete: it goes with the next byte. `false` when the one before has not gone, or memory is short.
    pub(crate) fn end_file(&mut self) -> bool {
        let made = bulk::seal(c"from the host", &std::mem::take(&mut self.coming));
        match made {
            Ok(file) if self.goes.is_none() => {
                self.goes = Some((self.to_bus.len(), file));
                true
            }
            _ => false,
        }
    }

    /// Sends what waits for the server; whether anything went. Its end is noticed when reading.
    pub(crate) fn write(&mut self) -> bool {
        let (before, file) = match &self.goes {
            Some((0, file)) => (self.to_bus.len(), Some(file.as_fd())),
            Some((at, _)) => (*at, None),
            None => (self.to_bus.len(), None),
        };
        let Some(bytes) = self.to_bus.get(..before).filter(|bytes| !bytes.is_empty()) else { return false };
        match stream::send(&self.socket, bytes, file.as_slice(), Wait::No) {
            Ok(sent) => {
                self.to_bus.drain(..sent);
                self.goes = self.goes.take().and_then(|(at, file)| Some((at.checked_sub(sent)?, file)));
                sent > 0
            }
            Err(_) => false,
        }
    }

    /// Adds the next frame for the host, if there is one. `None` when the connection is over.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> Option<bool> {
        if self.held.is_empty() && !self.receive()? {
            return Some(false);
        }
        if let Some(upload) = self.files.front_mut() {
            if upload.next(out) {
                self.files.pop_front();
            }
        } else {
            Frame::Data(&self.held).encode(out);
            self.held.clear();
        }
        Some(true)
    }

    /// `None` at the end; else whether anything came.
    fn receive(&mut self) -> Option<bool> {
        let mut buffer = [0; PAYLOAD_MAX];
        let mut fds = Vec::new();
        match stream::receive_with(&self.socket, &mut buffer, &mut fds, Wait::No) {
            Ok(got) if got.bytes == 0 => None,
            Ok(got) => {
                self.held.extend_from_slice(buffer.get(..got.bytes).unwrap_or_default());
                self.files.extend(fds.into_iter().map(|fd| Upload { file: fd.into(), offset: 0 }));
                Some(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Some(false),
            Err(_) => None,
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Upload {
    /// Adds the next frame; whether it is the last one.
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let mut buffer = [0; PAYLOAD_MAX];
        match self.file.read_at(&mut buffer, self.offset) {
            Ok(0) => Frame::FileEnd("").encode(out),
            Ok(length) => {
                self.offset += length as u64;
                Frame::File(buffer.get(..length).unwrap_or_default()).encode(out);
                return false;
            }
            // What came is no file with a content: a socket or a pipe. Neither can be had from here.
            Err(e) => Frame::FileEnd(&what(&e)).encode(out),
        }
        true
    }
}

fn what(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |raw| Errno::from_raw(raw).desc().to_owned())
}

fn connected(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(made.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(made)
}
