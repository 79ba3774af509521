//! Stands in for whoever serves the bus on a device: takes every call, notes interface and method, and answers from a
//! file, or that the method is not implemented. Honest in that the program can tell it from a device; what the program
//! does after a real answer is only seen if the file has one.
//!
//! The program chooses every byte that is read here: messages and connections are bounded, and what is no call ends its
//! connection.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use sandboxd::endpoint::{Endpoint, Side};
use serde_json::{Value, json};

use crate::error::Error;
use crate::record::{Table, count};
use crate::task::Task;

/// Longest message, as on a device.
const MESSAGE_MAX: usize = 1 << 20;
/// Most connections at once.
const CONNECTIONS_MAX: usize = 64;
const LOOK_MS: u16 = 50;

/// What calls are answered with, by `interface.Method`.
#[derive(Debug, Clone, Default)]
pub struct Answers(BTreeMap<String, Value>);

impl Answers {
    /// Reads a file of answers: a JSON object from `interface.Method` to the parameters of the reply, or to
    /// `{"error": "…", "parameters": {…}}`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |why: String| Error::Answers(path.to_owned(), why);
        let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        let all: BTreeMap<String, Value> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        match all.iter().find(|(name, value)| !value.is_object() || !name.contains('.')) {
            Some((name, _)) => Err(wrong(format!("{name:?} is no interface.Method with an object"))),
            None => Ok(Self(all)),
        }
    }

    /// The reply to a call of `method`.
    fn reply(&self, method: &str) -> Value {
        match self.0.get(method) {
            Some(answer) if answer.get("error").is_some() => answer.clone(),
            Some(answer) => json!({ "parameters": answer }),
            None => json!({
                "error": "org.varlink.service.MethodNotImplemented",
                "parameters": { "method": method },
            }),
        }
    }
}

/// What was called, by interface and method.
pub(crate) type Methods = Table<(String, String)>;

/// One of the program's connections.
struct Connection {
    stream: UnixStream,
    by: String,
    input: Vec<u8>,
}

/// Serves `endpoints` until the box is `gone`.
pub(crate) fn serve(endpoints: Vec<Endpoint>, answers: &Answers, gone: impl Fn() -> bool) -> Methods {
    let uses = endpoints.into_iter().filter(|endpoint| endpoint.side == Side::Uses);
    let uses: Vec<UnixListener> = uses.map(|endpoint| UnixListener::from(endpoint.socket)).collect();
    let mut connections: Vec<Connection> = Vec::new();
    let (mut methods, mut dropped) = (Methods::new(), 0);
    while !gone() {
        let listening = uses.iter().map(AsFd::as_fd);
        let all = listening.chain(connections.iter().map(|c| c.stream.as_fd()));
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if poll(&mut fds, PollTimeout::from(LOOK_MS)).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or_default()).collect();
        let (listening, talking) = ready.split_at(uses.len());
        let mut talking = talking.iter();
        connections.retain_mut(|connection| {
            !talking.next().is_some_and(|ready| *ready)
                || connection.read(answers, |call, by| count(&mut methods, &mut dropped, call, by))
        });
        for (listener, _) in uses.iter().zip(listening).filter(|(_, ready)| **ready) {
            if connections.len() < CONNECTIONS_MAX {
                connections.extend(accept(listener));
            }
        }
    }
    methods
}

fn accept(listener: &UnixListener) -> Option<Connection> {
    let (stream, _) = listener.accept().ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok();
    let by = peer.and_then(|peer| u32::try_from(peer.pid()).ok()).map(|pid| Task(pid).name());
    Some(Connection { stream, by: by.unwrap_or_default(), input: Vec::new() })
}

impl Connection {
    /// Reads what there is and answers the calls in it; false when the connection is over.
    fn read(&mut self, answers: &Answers, mut note: impl FnMut((String, String), &str)) -> bool {
        let mut buffer = [0; 8192];
        let Ok(read @ 1..) = self.stream.read(&mut buffer) else { return false };
        self.input.extend_from_slice(buffer.get(..read).unwrap_or_default());
        while let Some(end) = self.input.iter().position(|byte| *byte == 0) {
            let message: Vec<u8> = self.input.drain(..=end).collect();
            let Some(call) = Called::read(message.get(..end).unwrap_or_default()) else { return false };
            note(call.name.clone(), &self.by);
            let Called { name: (interface, method), oneway } = call;
            let mut reply = answers.reply(&format!("{interface}.{method}")).to_string().into_bytes();
            reply.push(0);
            // A program that does not read is not waited for: one reply fits into the socket, or the connection ends.
            if !oneway && self.send(&reply).is_none() {
                return false;
            }
        }
        self.input.len() <= MESSAGE_MAX
    }

    fn send(&mut self, reply: &[u8]) -> Option<()> {
        self.stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
        self.stream.write_all(reply).ok()
    }
}

/// A method call.
struct Called {
    /// Interface and method.
    name: (String, String),
    oneway: bool,
}

impl Called {
    fn read(message: &[u8]) -> Option<Self> {
        let call: Value = serde_json::from_slice(message).ok()?;
        let (interface, method) = call.get("method")?.as_str()?.rsplit_once('.')?;
        let oneway = call.get("oneway").and_then(Value::as_bool).unwrap_or_default();
        Some(Self { name: (interface.to_owned(), method.to_owned()), oneway })
    }
}
