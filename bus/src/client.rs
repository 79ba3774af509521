//! The client: blocking, one call at a time, replies borrowed from the connection's buffer.
//!
//! What is made from an interface file has a `Client` with a function for each method; this is what they share. A box
//! has a socket for each interface that its manifest names, [`Connection::granted`]. The server is not believed: the
//! length of a reply is bounded, and what is no reply ends the call.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sys::stream::{self, Wait};

use crate::envelope::{self, Request};
use crate::input;
use crate::interface::{Interface, Method, show_error};
use crate::interfaces::service::Error as ServiceError;
use crate::json;

/// Where a box has its sockets.
const BUS: &str = "/run/bus";
/// Longest reply that is read, bytes.
pub const REPLY_MAX: usize = 1024 * 1024;
/// A buffer begins with this and doubles.
const BUFFER_MIN: usize = 8 * 1024;

/// A reply, and the descriptors that came with it.
pub type WithDescriptors<'r, M> = (<M as Method>::Reply<'r>, Vec<OwnedFd>);

/// Why a call failed. `E` are the errors of the interface.
#[derive(Debug)]
pub enum CallError<E> {
    /// One that the interface defines.
    Interface(E),
    /// One that every interface has: not granted, not known, wrong parameters.
    Service(ServiceError),
    /// One that neither defines: the server is newer, or wrong.
    Unknown(String, Value),
    /// The server ended the connection before it answered.
    Closed,
    /// A call before this one was given up while its reply was still to come: connect anew.
    OutOfStep,
    /// The server sent what is no reply.
    NotAReply,
    /// The socket failed; `WouldBlock` and `TimedOut` when the time set by [`Connection::set_timeout`] is over.
    Io(io::Error),
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(error) => error.fmt(f),
            Self::Service(error) => show_error(error, f),
            Self::Unknown(name, parameters) => write!(f, "{name} {parameters}"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::OutOfStep => f.write_str("a reply to an earlier call is still to come"),
            Self::NotAReply => f.write_str("the server sent what is no reply"),
            Self::Io(_) => f.write_str("the connection failed"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl<E> From<io::Error> for CallError<E> {
    fn from(error: io::Error) -> Self {
        if is_end(&error) { Self::Closed } else { Self::Io(error) }
    }
}

/// Whether an error of a connection says that the other side has ended it.
pub fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    /// Received: `buffer[start..end]`. Its length is what there is room for.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    send: Vec<u8>,
    fds: Vec<OwnedFd>,
    /// A reply is still to come that nobody waits for any more.
    out_of_step: bool,
}

impl Connection {
    /// To who serves `interface`, by the socket in this box. Waits while the router is away.
    ///
    /// # Errors
    /// Those of `connect(2)`: `NotFound` when the manifest does not name the interface.
    pub fn granted(interface: &Interface) -> io::Result<Self> {
        Self::at(&Path::new(BUS).join(interface.name))
    }

    /// To the socket at a path.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub fn at(path: &Path) -> io::Result<Self> {
        UnixStream::connect(path).map(Self::over)
    }

    /// Over a socket that is connected.
    pub fn over(socket: UnixStream) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            send: Vec::new(),
            fds: Vec::new(),
            out_of_step: false,
        }
    }

    /// How long a call may take; `None`, which is the default: as long as it takes. After a call that took too long
    /// the connection is of no use any more.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn set_timeout(&self, most: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(most)?;
        self.socket.set_write_timeout(most)
    }

    /// Calls a method and waits for its reply.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call<M: Method>(
        &mut self,
        parameters: &M::Parameters<'_>,
    ) -> Result<M::Reply<'_>, CallError<M::Error>> {
        self.request::<M>(parameters, false, false, &[])?;
        self.fds.clear();
        let (start, end) = self.message(false)?;
        self.out_of_step = false;
        self.read::<M>(start, end).map(|(reply, _)| reply)
    }

    /// Calls a method with descriptors, and gives those that came with the reply.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call_with_descriptors<M: Method>(
        &mut self,
        parameters: &M::Parameters<'_>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<WithDescriptors<'_, M>, CallError<M::Error>> {
        self.request::<M>(parameters, false, false, descriptors)?;
        self.fds.clear();
        let (start, end) = self.message(true)?;
        self.out_of_step = false;
        let fds = std::mem::take(&mut self.fds);
        self.read::<M>(start, end).map(|(reply, _)| (reply, fds))
    }

    /// Calls a method and does not wait: there is no reply, and no error either.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn oneway<M: Method>(&mut self, parameters: &M::Parameters<'_>) -> Result<(), CallError<M::Error>> {
        self.request::<M>(parameters, true, false, &[])
    }

    /// Calls a method that answers by a stream.
    ///
    /// # Errors
    /// Those of the socket; the others come with [`Replies::next_reply`].
    pub fn more<M: Method>(
        &mut self,
        parameters: &M::Parameters<'_>,
    ) -> Result<Replies<'_, M>, CallError<M::Error>> {
        self.request::<M>(parameters, false, true, &[])?;
        Ok(Replies { connection: self, over: false, complete: false, method: PhantomData })
    }

    fn request<M: Method>(
        &mut self,
        parameters: &M::Parameters<'_>,
        oneway: bool,
        more: bool,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), CallError<M::Error>> {
        if self.out_of_step {
            return Err(CallError::OutOfStep);
        }
        self.send.clear();
        let request = Request { method: M::CALL, parameters, oneway, more };
        json::write(&mut self.send, &request)
            .map_err(|error| CallError::Io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        self.send.push(0);
        self.out_of_step = !oneway;
        let mut fds = fds;
        let mut rest = self.send.as_slice();
        while !rest.is_empty() {
            match stream::send(&self.socket, rest, fds, Wait::Yes) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    fds = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for the next message: where it is in the buffer, without its NUL.
    fn message(&mut self, with_fds: bool) -> io::Result<(usize, usize)> {
        let mut scanned = 0;
        loop {
            let held = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(message) = input::message(held, scanned) {
                let (start, end) = (self.start, self.start + message.len());
                self.start = end + 1;
                return Ok((start, end));
            }
            scanned = held.len();
            self.make_room()?;
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            let got = if with_fds {
                stream::receive_with(&self.socket, room, &mut self.fds, Wait::Yes)
            } else {
                stream::receive(&self.socket, room, Wait::Yes)
            };
            match got {
                Ok(got) if got.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if self.fds.len() > stream::FDS_MAX => {
                    let why = "more descriptors came than a message may have";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                Ok(got) => self.end += got.bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes room behind what is held.
    fn make_room(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end < self.buffer.len() {
            return Ok(());
        }
        if self.buffer.len() >= REPLY_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a reply is longer than a client reads"));
        }
        self.buffer.resize((self.buffer.len() * 2).clamp(BUFFER_MIN, REPLY_MAX), 0);
        Ok(())
    }

    fn read<M: Method>(&self, start: usize, end: usize) -> Result<(M::Reply<'_>, bool), CallError<M::Error>> {
        let message = self.buffer.get(start..end).unwrap_or_default();
        if let Some(read) = envelope::typed_reply(message) {
            return Ok(read);
        }
        let reply = envelope::reply(message).ok_or(CallError::NotAReply)?;
        if let Some(name) = &reply.error {
            return Err(error(name, reply.parameters));
        }
        let parameters = reply.parameters.map_or("{}", |json| json.get());
        let read = serde_json::from_str(parameters).map_err(|_| CallError::NotAReply)?;
        Ok((read, reply.continues.unwrap_or(false)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What an error reply means. A server may leave parameters out where there are none.
fn error<E: for<'de> Deserialize<'de>>(name: &str, parameters: Option<&RawValue>) -> CallError<E> {
    let parameters = parameters.and_then(|json| serde_json::from_str::<Value>(json.get()).ok());
    let parameters = parameters.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let whole = serde_json::json!({ "error": name, "parameters": parameters });
    if let Ok(error) = E::deserialize(&whole) {
        return CallError::Interface(error);
    }
    match ServiceError::deserialize(&whole) {
        Ok(error) => CallError::Service(error),
        Err(_) => CallError::Unknown(name.to_owned(), parameters),
    }
}

/// The replies to a call with `more`. When it is dropped before the last one, no other call can be made on the
/// connection.
#[derive(Debug)]
pub struct Replies<'c, M: Method> {
    connection: &'c mut Connection,
    over: bool,
    /// The last one was read.
    complete: bool,
    method: PhantomData<fn() -> M>,
}

impl<M: Method> Replies<'_, M> {
    /// Waits for the next reply; `None` after the last one. An error is the last one.
    pub fn next_reply(&mut self) -> Option<Result<M::Reply<'_>, CallError<M::Error>>> {
        if self.over {
            return None;
        }
        // Until it is known that another one follows.
        self.over = true;
        let (start, end) = match self.connection.message(false) {
            Ok(found) => found,
            Err(error) => return Some(Err(error.into())),
        };
        match self.connection.read::<M>(start, end) {
            Ok((reply, continues)) => {
                (self.over, self.complete) = (!continues, !continues);
                Some(Ok(reply))
            }
            Err(error) => {
                self.complete = !matches!(error, CallError::NotAReply);
                Some(Err(error))
            }
        }
    }
}

impl<M: Method> Drop for Replies<'_, M> {
    fn drop(&mut self) {
        self.connection.out_of_step = !self.complete;
    }
}
