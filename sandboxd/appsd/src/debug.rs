//! `os.gabion.Developer.Debug`: bytes between a caller and a debugger's server in an app's box.
//!
//! The socket to the server is ours alone: sandboxd ends the debugging when it is closed, be it that the caller is gone or that
//! we are. What the server writes is read while the caller reads it: one who does not is dropped as any slow reader, and by
//! that the session ends. What the caller writes goes at once or not at all.

use std::os::fd::OwnedFd;

use bus::desk::{self, Answer as Told, Ask};
use bus::interface::Empty;
use bus::interfaces::developer::*;
use bus::server::{Answer, Call, CallId, Interest, Pending, Server};
use sys::stream::{self, Wait};

use crate::DEBUGGED;
use crate::appsd::Appsd;
use crate::waiting::Waiting;

/// Read at once, bytes; each may become six in a reply.
const CHUNK: usize = 8 << 10;

/// The app that is debugged.
#[derive(Debug)]
pub(crate) struct Debugged {
    app: String,
    pending: Pending<Debug>,
    socket: OwnedFd,
}

impl Appsd {
    pub(crate) fn debug_asked(&mut self, call: Call<'_, Debug>, parameters: DebugParameters<'_>) -> Answer {
        let (app, server) = (parameters.app.into_owned(), parameters.server.into_owned());
        let command = parameters.command.into_iter().map(Into::into).collect();
        let (pending, answer) = call.later();
        let ask = desk::Debug { app: app.clone(), server: server.clone(), command };
        self.ask(Ask::Debug(ask), Waiting::Debug(pending, app, server));
        answer
    }

    pub(crate) fn debug_begins(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<Debug>,
        (app, by): (String, String),
        answer: Told,
        socket: Option<OwnedFd>,
    ) {
        let error = match (answer, socket) {
            (Told::Done, Some(socket)) => {
                if let Err(e) = server.watch(&socket, DEBUGGED, Interest { read: true, write: false }) {
                    return server.fail(pending, &Error::Refused { reason: e.to_string() });
                }
                server.push(&pending, &DebugReply { output: "".into() });
                let before = self.debugged.replace(Debugged { app, pending, socket });
                Self::debug_over(server, before);
                return;
            }
            (Told::NoApp, _) => Error::AppNotFound { app },
            (Told::NoServer, _) => Error::NotInstalled { app: by },
            (Told::Busy, _) => Error::Busy {},
            (Told::SystemApp, _) => Error::Refused { reason: format!("{app} is a part of the system") },
            (Told::Refused(reason), _) => Error::Refused { reason },
            (other, _) => Error::Refused { reason: format!("unexpected answer {other:?}") },
        };
        server.fail(pending, &error);
    }

    /// The server has written something, or is gone.
    pub(crate) fn debug_output(&mut self, server: &mut Server<Self>) {
        let Some(debugged) = &self.debugged else { return };
        let mut bytes = [0; CHUNK];
        match stream::receive(&debugged.socket, &mut bytes, Wait::No) {
            Ok(received) if received.bytes > 0 => {
                let bytes = bytes.get(..received.bytes).unwrap_or_default();
                let output: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                server.push(&debugged.pending, &DebugReply { output: output.into() });
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            _ => {
                let over = self.debugged.take();
                Self::debug_over(server, over);
            }
        }
    }

    fn debug_over(server: &mut Server<Self>, over: Option<Debugged>) {
        if let Some(Debugged { pending, socket, .. }) = over {
            server.forget(&socket);
            server.finish(pending, &DebugReply { output: "".into() });
        }
    }

    pub(crate) fn debug_written(
        &self,
        call: Call<'_, DebugInput>,
        parameters: &DebugInputParameters<'_>,
    ) -> Answer {
        let Some(debugged) = self.debugged.as_ref().filter(|debugged| debugged.app == parameters.app) else {
            return call.fail(&Error::NotDebugged { app: parameters.app.to_string() });
        };
        let bytes: Result<Vec<u8>, _> = parameters.input.chars().map(u8::try_from).collect();
        let Ok(bytes) = bytes else { return call.invalid("input") };
        let none: [OwnedFd; 0] = [];
        match stream::send(&debugged.socket, &bytes, &none, Wait::No) {
            Ok(sent) if sent == bytes.len() => call.reply(&Empty {}),
            Ok(_) => call.fail(&Error::Refused { reason: "the debugger's server does not read".to_owned() }),
            Err(e) => call.fail(&Error::Refused { reason: e.to_string() }),
        }
    }

    /// A caller is gone.
    pub(crate) fn debug_gone(&mut self, call: CallId) {
        // Closing it takes it out of the loop, too: nobody has a duplicate.
        self.debugged.take_if(|debugged| debugged.pending.id() == call);
    }
}
