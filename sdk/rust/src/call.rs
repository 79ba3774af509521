//! Calls of any interface that the manifest names, on tokio.
//!
//! What holds: one call at a time is under way on a connection, so bytes that are there before it is made are not its
//! answer. A connection that is found closed, or was given up in the middle of a call, is made anew. One that ends during a
//! call fails it with [`CallError::Closed`]: nobody knows whether it was made. The server is not believed: the length of
//! a reply is bounded, and what is no reply ends the connection.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sys::stream::{self, Wait};
use tokio::io::Interest;
use tokio::net::UnixStream;

use bus::client::{REPLY_MAX, is_end};
use bus::{envelope, input};

/// A buffer begins with this and doubles.
const BUFFER_MIN: usize = 4 * 1024;
const DENIED: &str = "org.varlink.service.PermissionDenied";

/// Why a call failed.
#[derive(Debug)]
pub enum CallError {
    /// The manifest names no method of the interface below `[uses]`.
    NotGranted(String),
    /// The manifest does not name this method.
    Denied {
        /// The line that would grant it.
        manifest_line: String,
    },
    /// The other side answered with an error of its interface.
    Remote(Remote),
    /// The other side ended the connection before it answered.
    Closed,
    /// What came is no reply, or not of the form that was expected.
    NotAReply,
    /// The socket failed.
    Io(io::Error),
}

/// An error that the other side answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Remote {
    /// Its name, with the interface's.
    pub name: String,
    /// What it says besides: a JSON object.
    pub parameters: Value,
}

impl CallError {
    /// Whether it is the other side's error of this name, such as `os.gabion.Update.NothingPending`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// use gabion::update::{NOTHING_PENDING, Target, Update};
    ///
    /// match Update::of_app().defer(Target::App, 30).await {
    ///     Err(error) if error.is(NOTHING_PENDING) => {}
    ///     other => drop(other?),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is(&self, name: &str) -> bool {
        matches!(self, Self::Remote(remote) if remote.name == name)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted(interface) => {
                write!(f, "the manifest names no method of {interface} below [uses]")
            }
            Self::Denied { manifest_line } => write!(f, "the manifest lacks {manifest_line}"),
            Self::Remote(Remote { name, parameters }) => {
                match parameters.get("reason").and_then(Value::as_str) {
                    Some(reason) => write!(f, "{name}: {reason}"),
                    None => write!(f, "{name} {parameters}"),
                }
            }
            Self::Closed => f.write_str("the other side ended the connection"),
            Self::NotAReply => f.write_str("what came is no reply"),
            Self::Io(_) => f.write_str("the connection failed"),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        if is_end(&error) { Self::Closed } else { Self::Io(error) }
    }
}

/// A connection to who serves an interface. It is made at the first call.
///
/// ```no_run
/// # async fn f() -> Result<(), gabion::call::CallError> {
/// use gabion::call::Connection;
/// use serde_json::{Value, json};
///
/// let mut sensor = Connection::to("com.example.Temperature");
/// let reply: Value = sensor.call("Get", &json!({"room": "kitchen"})).await?;
/// println!("{}", reply["degrees"]);
/// # Ok(())
/// # }
/// ```
///
/// A call that is dropped, by `tokio::time::timeout` or `select!`, gives its connection up; the next one makes another.
#[derive(Debug)]
pub struct Connection {
    interface: String,
    path: PathBuf,
    socket: Option<UnixStream>,
    /// Received: `buffer[start..end]`. Its length is what there is room for.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    fds: Vec<OwnedFd>,
    /// A call is under way, or was given up.
    under_way: bool,
}

impl Connection {
    /// To who serves `interface`.
    pub fn to(interface: &str) -> Self {
        Self::at(interface, &crate::bus_folder().join(interface))
    }

    /// To who serves `interface` on the socket at `path`: for tests of an app.
    pub fn at(interface: &str, path: &Path) -> Self {
        Self {
            interface: interface.to_owned(),
            path: path.to_owned(),
            socket: None,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            fds: Vec::new(),
            under_way: false,
        }
    }

    /// Calls a method, without the interface's name, and waits for its reply. `()` is for one without parameters or without
    /// an answer: see [`Nothing`].
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
    ) -> Result<R, CallError> {
        self.call_with_descriptors(method, parameters).await.map(|(reply, _)| reply)
    }

    /// The same, with the descriptors that came with the reply.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call_with_descriptors<R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
    ) -> Result<(R, Vec<OwnedFd>), CallError> {
        self.send(method, parameters, false).await?;
        let (reply, continues) = self.reply().await?;
        if continues {
            self.socket = None;
            return Err(CallError::NotAReply);
        }
        Ok((reply, std::mem::take(&mut self.fds)))
    }

    /// Another connection to the same.
    pub(crate) fn another(&self) -> Self {
        Self::at(&self.interface, &self.path)
    }

    /// A call that does no harm when it is made twice: it is made once more where the connection ended under it.
    pub(crate) async fn call_again<R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
    ) -> Result<R, CallError> {
        match self.call(method, parameters).await {
            Err(CallError::Closed) => self.call(method, parameters).await,
            other => other,
        }
    }

    /// Calls a method that answers by a stream.
    pub fn more<P: Serialize, R: DeserializeOwned>(self, method: &str, parameters: P) -> Replies<P, R> {
        Replies {
            connection: self,
            method: method.to_owned(),
            parameters,
            begun: false,
            over: false,
            reply: PhantomData,
        }
    }

    async fn send(&mut self, method: &str, parameters: &impl Serialize, more: bool) -> Result<(), CallError> {
        self.connect().await?;
        let method = format!("{}.{method}", self.interface);
        let request = envelope::Request { method: &method, parameters, oneway: false, more };
        let mut bytes = serde_json::to_vec(&request)
            .map_err(|error| CallError::Io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        bytes.push(0);
        self.under_way = true;
        let socket = self.socket.as_ref().ok_or(CallError::Closed)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let none: &[OwnedFd] = &[];
            let sent =
                socket.async_io(Interest::WRITABLE, || stream::send(socket, rest, none, Wait::No)).await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes the connection, if there is none that can be used.
    async fn connect(&mut self) -> Result<(), CallError> {
        if !self.under_way && self.start == self.end && self.socket.as_ref().is_some_and(is_quiet) {
            return Ok(());
        }
        (self.start, self.end, self.under_way) = (0, 0, false);
        self.fds.clear();
        self.socket = None;
        match UnixStream::connect(&self.path).await {
            Ok(socket) => self.socket = Some(socket),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CallError::NotGranted(self.interface.clone()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The next reply, and whether others follow.
    async fn reply<R: DeserializeOwned>(&mut self) -> Result<(R, bool), CallError> {
        let read = match self.message().await {
            Ok((start, end)) => read(self.buffer.get(start..end).unwrap_or_default()),
            Err(error) => Err(error),
        };
        match &read {
            // Nobody knows what comes next.
            Err(CallError::Closed | CallError::NotAReply | CallError::Io(_)) => self.socket = None,
            Ok((_, true)) => {}
            Ok(_) | Err(_) => self.under_way = false,
        }
        read
    }

    /// Waits for the next message: where it is in the buffer, without its NUL.
    async fn message(&mut self) -> Result<(usize, usize), CallError> {
        let mut scanned = 0;
        loop {
            let held = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(message) = input::message(held, scanned) {
                let (start, end) = (self.start, self.start + message.len());
                self.start = end + 1;
                return Ok((start, end));
            }
            scanned = held.len();
            if held.is_empty() {
                // A message with descriptors is sent by itself: these are of one that was read.
                self.fds.clear();
            }
            self.make_room()?;
            let socket = self.socket.as_ref().ok_or(CallError::Closed)?;
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            let fds = &mut self.fds;
            let receive = || stream::receive_with(socket, room, fds, Wait::No);
            let got = socket.async_io(Interest::READABLE, receive).await?;
            if got.bytes == 0 {
                return Err(CallError::Closed);
            }
            self.end += got.bytes;
        }
    }

    /// Makes room behind what is held.
    fn make_room(&mut self) -> Result<(), CallError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end < self.buffer.len() {
            return Ok(());
        }
        if self.buffer.len() >= REPLY_MAX {
            return Err(CallError::NotAReply);
        }
        self.buffer.resize((self.buffer.len() * 2).clamp(BUFFER_MIN, REPLY_MAX), 0);
        Ok(())
    }
}

/// Whether nothing came while nobody asked. The runtime may not have heard of an end yet, so the kernel is asked.
fn is_quiet(socket: &UnixStream) -> bool {
    let got = stream::receive(socket, &mut [0], Wait::No);
    got.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn read<R: DeserializeOwned>(message: &[u8]) -> Result<(R, bool), CallError> {
    let reply = envelope::reply(message).ok_or(CallError::NotAReply)?;
    let parameters = reply.parameters.map_or("{}", |json| json.get());
    let Some(name) = reply.error else {
        let read = serde_json::from_str(parameters).map_err(|_| CallError::NotAReply)?;
        return Ok((read, reply.continues.unwrap_or(false)));
    };
    let parameters: Value = serde_json::from_str(parameters).map_err(|_| CallError::NotAReply)?;
    match parameters.get("manifest_line").and_then(Value::as_str) {
        Some(line) if name == DENIED => Err(CallError::Denied { manifest_line: line.to_owned() }),
        _ => Err(CallError::Remote(Remote { name: name.into_owned(), parameters })),
    }
}

/// For a method that takes or answers nothing: an empty JSON object.
///
/// ```no_run
/// # async fn f() -> Result<(), gabion::call::CallError> {
/// use gabion::call::{Connection, Nothing};
///
/// let Nothing {} = Connection::to("com.example.Heater").call("Stop", &Nothing {}).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Nothing {}

/// The replies to a call that answers by a stream.
///
/// ```no_run
/// # async fn f() -> Result<(), gabion::call::CallError> {
/// use gabion::call::{Connection, Nothing};
/// use serde_json::Value;
///
/// let mut replies = Connection::to("com.example.Temperature").more::<_, Value>("Watch", Nothing {});
/// while let Some(reply) = replies.next().await? {
///     println!("{}", reply["degrees"]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Replies<P, R> {
    connection: Connection,
    method: String,
    parameters: P,
    begun: bool,
    over: bool,
    reply: PhantomData<fn() -> R>,
}

impl<P: Serialize, R: DeserializeOwned> Replies<P, R> {
    /// Waits for the next reply; `None` after the last one. What is dropped while it waits loses nothing, so it may stand in
    /// `select!`. After an error the call is made anew when this is next asked.
    ///
    /// # Errors
    /// See [`CallError`]. What came between the error and the next call is not told.
    pub async fn next(&mut self) -> Result<Option<R>, CallError> {
        if self.over {
            return Ok(None);
        }
        if !self.begun {
            self.connection.send(&self.method, &self.parameters, true).await?;
            self.begun = true;
        }
        match self.connection.reply().await {
            Ok((reply, continues)) => {
                self.over = !continues;
                Ok(Some(reply))
            }
            Err(error) => {
                self.begun = false;
                Err(error)
            }
        }
    }
}
