//! One connection of a server: bytes in, calls that its grant allows out, replies back. No socket, no clock.
//!
//! What holds, whatever the peer sends:
//! * A method is looked up in the grant before its parameters are looked at. One that the grant does not name never
//!   reaches the daemon.
//! * Calls are answered in the order they came in. While one waits for its reply, the next is not looked at.
//! * What is kept for the peer is at most its grant's `message_bytes` of input, [`OUTPUT_MAX`] of output and [`FDS_MAX`] descriptors.
//! * A message that is begun and not ended within [`HALF_SENT_MS`], and replies of which none is read for
//!   [`UNREAD_MS`], end the connection.
//!
//! ```text
//! bytes ──▶ Input ──message──▶ envelope ──▶ known? granted? more? ──Incoming──▶ the daemon
//!                                              │ no                              │ Answer
//!                                              ▼                                 ▼
//!                                            error ─────────▶ Output ◀──────── reply, or later
//! ```

mod granted;
mod service;

use std::os::fd::OwnedFd;

use serde::Serialize;
use sys::stream::FDS_MAX;

use crate::envelope;
use crate::input::{self, Input};
use crate::interface::{Method, MethodInfo, More};
use crate::interfaces::service::{Error as ServiceError, INTERFACE as SERVICE, dispatch as serve_service};
use crate::output::{OUTPUT_MAX, Output};
use crate::server::{Answer, CallId, Incoming, Outcome, Place};

pub use granted::{Caller, Granted, manifest_line};
pub use service::About;
use service::Service;

/// How long a peer may take over one message, milliseconds. A message is sent at once by every honest client; what is
/// bounded here is how long a hostile one may keep a buffer of ours.
pub const HALF_SENT_MS: u64 = 10_000;
/// How long a peer may leave replies unread, milliseconds.
pub const UNREAD_MS: u64 = 30_000;

/// Replies that are gathered before they are sent and further calls taken, bytes: what a peer that sends many calls and
/// reads no reply makes us keep, besides the last reply.
const OUTPUT_BATCH: usize = 8 * 1024;

/// For the record: what became of a call. Names are the interface's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Refused, because the grant does not name it.
    Refused(&'static str),
    /// Made.
    Called(&'static str),
}

/// Why a connection was ended: it broke the rules of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A message was no call.
    Malformed,
    /// A message was longer than the grant allows.
    TooLong,
    /// A message was begun and not ended.
    HalfSent,
    /// Replies piled up.
    SlowReader,
    /// Replies were not read at all.
    Unread,
    /// Descriptors came with a call that takes none, or more than [`FDS_MAX`] with one message.
    Descriptors,
    /// Our fault: a reply was longer than [`OUTPUT_MAX`] or not JSON.
    BadReply,
}

impl Dropped {
    /// The word for the record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too-long",
            Self::HalfSent => "half-sent",
            Self::SlowReader => "slow-reader",
            Self::Unread => "unread",
            Self::Descriptors => "descriptors",
            Self::BadReply => "bad-reply",
        }
    }
}

/// What a session needs of its surroundings while it takes calls.
pub struct Surroundings<'s> {
    /// Who answers.
    pub about: &'s About,
    /// Where replies that come later will find this session.
    pub place: Place,
    /// Where calls go that are granted.
    pub dispatch: &'s mut dyn FnMut(Incoming<'_>) -> Answer,
    /// Where the record goes.
    pub notes: &'s mut Vec<Note>,
}

/// A call that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    number: u32,
    more: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    granted: Granted,
    input: Input,
    /// Descriptors that came with the message that is not complete yet.
    fds: Vec<OwnedFd>,
    output: Output,
    waiting: Option<Waiting>,
    calls: u32,
    half_since: Option<u64>,
    unread_since: Option<u64>,
}

impl Session {
    /// A connection that was handed over.
    pub fn new(granted: Granted) -> Self {
        let input = Input::new(granted.message_bytes);
        Self {
            granted,
            input,
            fds: Vec::new(),
            output: Output::default(),
            waiting: None,
            calls: 0,
            half_since: None,
            unread_since: None,
        }
    }

    /// What it may do.
    pub fn granted(&self) -> &Granted {
        &self.granted
    }

    /// What is to be sent.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Whether anything is to be sent.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// How many bytes may be received now: 0 while a call waits for its reply, or replies for being read.
    pub fn room(&self) -> usize {
        if self.blocked() { 0 } else { self.input.room() }
    }

    /// The call that waits for its reply, by its number.
    pub fn waiting(&self) -> Option<u32> {
        self.waiting.map(|waiting| waiting.number)
    }

    fn blocked(&self) -> bool {
        self.waiting.is_some() || !self.output.is_empty()
    }

    /// Whether bytes are held that may be calls, and nothing is in their way.
    pub fn is_ready(&self) -> bool {
        !self.blocked() && self.input.has_news()
    }

    /// Takes bytes that were received, at most [`Session::room`] of them, with the descriptors that came along; these
    /// belong to the last message of the bytes.
    ///
    /// # Errors
    /// The connection has to be ended.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
        with: &mut Surroundings<'_>,
    ) -> Result<(), Dropped> {
        self.fds.extend(fds);
        // Each byte of a message that never ends may bring some.
        if self.fds.len() > FDS_MAX {
            return Err(Dropped::Descriptors);
        }
        if self.input.is_empty() {
            let (used, scanned) = self.messages(bytes, 0, with)?;
            self.input.keep_rest(bytes, used, scanned);
        } else {
            self.input.keep(bytes);
            self.resume(with)?;
        }
        if self.input.overlong() { Err(Dropped::TooLong) } else { Ok(()) }
    }

    /// Goes on with what was received before, once nothing is in the way any more.
    ///
    /// # Errors
    /// The connection has to be ended.
    pub fn resume(&mut self, with: &mut Surroundings<'_>) -> Result<(), Dropped> {
        let (bytes, scanned) = self.input.take();
        let (used, scanned) = self.messages(&bytes, scanned, with)?;
        self.input.put_back(bytes, used, scanned);
        Ok(())
    }

    /// Takes every message of `bytes` until one has to wait. Gives how many bytes were used, and how many of the others
    /// need not be looked at again.
    fn messages(
        &mut self,
        bytes: &[u8],
        scanned: usize,
        with: &mut Surroundings<'_>,
    ) -> Result<(usize, usize), Dropped> {
        let (mut used, mut scanned) = (0, scanned);
        while self.waiting.is_none() && self.output.len() < OUTPUT_BATCH {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some(message) = input::message(rest, scanned) else {
                return Ok((used, rest.len()));
            };
            used += message.len() + 1;
            scanned = 0;
            let last = used == bytes.len();
            let fds = if last { std::mem::take(&mut self.fds) } else { Vec::new() };
            self.message(message, fds, with)?;
        }
        Ok((used, 0))
    }

    fn message(
        &mut self,
        message: &[u8],
        fds: Vec<OwnedFd>,
        with: &mut Surroundings<'_>,
    ) -> Result<(), Dropped> {
        let call = envelope::call(message).ok_or(Dropped::Malformed)?;
        let found = self.find(&call.method);
        if !fds.is_empty() && !found.as_ref().is_ok_and(|index| self.info(*index).takes_descriptors) {
            return Err(Dropped::Descriptors);
        }
        match found.and_then(|index| self.check(index, &call, with.notes)) {
            Ok(index) => self.dispatch(index, &call, fds, with),
            Err(Refusal::Service) => self.service(&call, with.about),
            Err(Refusal::Error(error)) => self.fail(&call, &error),
        }
    }

    fn info(&self, index: usize) -> &'static MethodInfo {
        &self.granted.interface.methods[index]
    }

    /// The method's place in the granted interface.
    fn find(&self, method: &str) -> Result<usize, Refusal> {
        let (interface, name) = method.rsplit_once('.').unwrap_or(("", method));
        if interface == SERVICE.name {
            return Err(Refusal::Service);
        }
        if interface != self.granted.interface.name {
            return Err(ServiceError::InterfaceNotFound { interface: interface.to_owned() }.into());
        }
        let found = self.granted.interface.index(name);
        found.ok_or_else(|| ServiceError::MethodNotFound { method: method.to_owned() }.into())
    }

    /// Everything that is decided without the parameters.
    fn check(
        &self,
        index: usize,
        call: &envelope::Call<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<usize, Refusal> {
        let method = self.info(index);
        if !self.granted.allows(index) {
            notes.push(Note::Refused(method.name));
            let manifest_line = manifest_line(self.granted.interface.name, method.name);
            let method = call.method.to_string();
            return Err(ServiceError::PermissionDenied { method, manifest_line }.into());
        }
        if call.upgrade {
            return Err(ServiceError::InvalidParameter { parameter: "upgrade".to_owned() }.into());
        }
        if method.more == More::Requires && !call.more {
            return Err(ServiceError::ExpectedMore {}.into());
        }
        notes.push(Note::Called(method.name));
        Ok(index)
    }

    fn dispatch(
        &mut self,
        index: usize,
        call: &envelope::Call<'_>,
        fds: Vec<OwnedFd>,
        with: &mut Surroundings<'_>,
    ) -> Result<(), Dropped> {
        let streams = self.info(index).more != More::No;
        let waiting = Waiting { number: self.calls.wrapping_add(1), more: call.more && streams };
        let incoming = Incoming {
            index,
            method: &call.method,
            parameters: call.parameters,
            caller: &self.granted.caller,
            output: (!call.oneway).then_some(&mut self.output),
            more: waiting.more,
            id: CallId { place: with.place, number: waiting.number },
            fds,
            broken: false,
        };
        match (with.dispatch)(incoming).outcome() {
            Outcome::Done => {}
            Outcome::Later if call.oneway => {}
            Outcome::Later => {
                self.calls = waiting.number;
                self.waiting = Some(waiting);
            }
            Outcome::NotJson => return Err(Dropped::BadReply),
        }
        self.bound()
    }

    /// What a connection answers about itself.
    fn service(&mut self, call: &envelope::Call<'_>, about: &About) -> Result<(), Dropped> {
        let granted = self.granted.interface;
        let answer = |incoming: Incoming<'_>| serve_service(&mut Service { about, granted }, incoming);
        let name = call.method.rsplit_once('.').map(|(_, name)| name).unwrap_or_default();
        let Some(index) = SERVICE.index(name) else {
            return self.fail(call, &ServiceError::MethodNotFound { method: call.method.to_string() });
        };
        let incoming = Incoming {
            index,
            method: &call.method,
            parameters: call.parameters,
            caller: &self.granted.caller,
            output: (!call.oneway).then_some(&mut self.output),
            more: false,
            id: CallId { place: Place::default(), number: 0 },
            fds: Vec::new(),
            broken: false,
        };
        match answer(incoming).outcome() {
            Outcome::NotJson => Err(Dropped::BadReply),
            _ => self.bound(),
        }
    }

    fn fail(&mut self, call: &envelope::Call<'_>, error: &ServiceError) -> Result<(), Dropped> {
        if !call.oneway {
            self.output.error(error).map_err(|_| Dropped::BadReply)?;
        }
        self.bound()
    }

    fn bound(&self) -> Result<(), Dropped> {
        if self.output.len() > OUTPUT_MAX { Err(Dropped::BadReply) } else { Ok(()) }
    }

    /// Whether a call still waits for a reply.
    pub fn waits(&self, number: u32) -> bool {
        self.waiting.is_some_and(|waiting| waiting.number == number)
    }

    /// Adds a reply to a call that waits, with others to follow if the caller asked for more.
    ///
    /// # Errors
    /// The connection has to be ended.
    pub fn push<M: Method>(&mut self, reply: &M::Reply<'_>) -> Result<(), Dropped> {
        if self.waiting.is_some_and(|waiting| waiting.more) {
            self.output.reply(reply, true, Vec::new()).map_err(|_| Dropped::BadReply)?;
        }
        if self.output.len() > OUTPUT_MAX { Err(Dropped::SlowReader) } else { Ok(()) }
    }

    /// Adds the last reply to a call that waits.
    ///
    /// # Errors
    /// The connection has to be ended.
    pub fn finish<M: Method>(&mut self, reply: &M::Reply<'_>, fds: Vec<OwnedFd>) -> Result<(), Dropped> {
        if self.waiting.take().is_some() {
            self.output.reply(reply, false, fds).map_err(|_| Dropped::BadReply)?;
        }
        self.bound()
    }

    /// Adds an error, which ends a call that waits.
    ///
    /// # Errors
    /// The connection has to be ended.
    pub fn fail_waiting(&mut self, error: &impl Serialize) -> Result<(), Dropped> {
        if self.waiting.take().is_some() {
            self.output.error(error).map_err(|_| Dropped::BadReply)?;
        }
        self.bound()
    }

    /// Whether something is kept that time must not run out for.
    pub fn is_owed(&self) -> bool {
        !self.input.is_empty() || !self.output.is_empty()
    }

    /// So many bytes of output were sent: the peer reads.
    pub fn sent(&mut self, bytes: usize) {
        self.output.advance(bytes);
        self.unread_since = None;
    }

    /// Notes the time; gives when to look again.
    ///
    /// # Errors
    /// The peer's time has run out: the connection has to be ended.
    pub fn settle(&mut self, now_ms: u64) -> Result<Option<u64>, Dropped> {
        let half = !self.input.is_empty() && !self.blocked();
        if self.input.restarted() || !half {
            self.half_since = None;
        }
        if self.output.is_empty() {
            self.unread_since = None;
        }
        let half = half.then(|| *self.half_since.get_or_insert(now_ms) + HALF_SENT_MS);
        let unread = (!self.output.is_empty()).then(|| *self.unread_since.get_or_insert(now_ms) + UNREAD_MS);
        match (half, unread) {
            (Some(at), _) if at <= now_ms => Err(Dropped::HalfSent),
            (_, Some(at)) if at <= now_ms => Err(Dropped::Unread),
            (half, unread) => Ok(half.into_iter().chain(unread).min()),
        }
    }
}

/// Why a call does not reach the daemon.
enum Refusal {
    /// It is for `org.varlink.service`.
    Service,
    /// It gets this error.
    Error(ServiceError),
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self::Error(error)
    }
}
