//! A call that was granted, in the hands of a daemon: it is answered once, or kept to be answered later.
//!
//! An [`Answer`] can only be had by using up the [`Call`], so a handler that compiles has dealt with it.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;

use crate::envelope::is_object;
use crate::interface::{Method, Parameters, culprit};
use crate::interfaces::service::Error as ServiceError;
use crate::json::NotJson;
use crate::output::Output;
use crate::session::Caller;

/// A call before its parameters are read. Made by a session, used by `dispatch`.
#[derive(Debug)]
pub struct Incoming<'c> {
    pub(crate) index: usize,
    pub(crate) method: &'c str,
    pub(crate) parameters: Option<&'c str>,
    pub(crate) caller: &'c Caller,
    /// `None` when the caller wants no reply.
    pub(crate) output: Option<&'c mut Output>,
    pub(crate) more: bool,
    pub(crate) id: CallId,
    pub(crate) fds: Vec<OwnedFd>,
    /// A reply of a stream was not JSON.
    pub(crate) broken: bool,
}

/// What a handler gives back. Only a call makes one.
#[derive(Debug)]
#[must_use = "a call is answered by giving this back"]
pub struct Answer(Outcome);

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Later,
    NotJson,
}

impl Answer {
    pub(crate) fn outcome(self) -> Outcome {
        self.0
    }
}

impl<'c> Incoming<'c> {
    /// The method's place in its interface.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Reads the parameters and passes the call on; answers `InvalidParameter` when they cannot be read.
    pub fn read<M: Method>(self, handle: impl FnOnce(Call<'c, M>, M::Parameters<'c>) -> Answer) -> Answer {
        let json = self.parameters.unwrap_or("{}");
        if is_object(json.as_bytes())
            && let Ok(parameters) = serde_json::from_str::<M::Parameters<'c>>(json)
        {
            return handle(Call { incoming: self, method: PhantomData }, parameters);
        }
        let parameter = culprit(json, M::Parameters::<'c>::FIELDS);
        self.error(&ServiceError::InvalidParameter { parameter })
    }

    /// The interface has the method, the daemon does not.
    pub fn not_implemented(self) -> Answer {
        let method = self.method.to_owned();
        self.error(&ServiceError::MethodNotImplemented { method })
    }

    fn error(self, error: &impl serde::Serialize) -> Answer {
        self.write(|output| output.error(error))
    }

    fn write(self, write: impl FnOnce(&mut Output) -> Result<(), NotJson>) -> Answer {
        match self.output {
            _ if self.broken => Answer(Outcome::NotJson),
            Some(output) => Answer(if write(output).is_ok() { Outcome::Done } else { Outcome::NotJson }),
            None => Answer(Outcome::Done),
        }
    }
}

/// A call of a method, to be answered.
#[derive(Debug)]
pub struct Call<'c, M> {
    incoming: Incoming<'c>,
    method: PhantomData<fn() -> M>,
}

impl<M: Method> Call<'_, M> {
    /// Who calls.
    pub fn caller(&self) -> &Caller {
        self.incoming.caller
    }

    /// Whether the caller takes a stream of replies.
    pub fn more(&self) -> bool {
        self.incoming.more
    }

    /// Whether the caller takes no reply at all.
    pub fn oneway(&self) -> bool {
        self.incoming.output.is_none()
    }

    /// The descriptors that came with the call.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.incoming.fds)
    }

    /// Answers.
    pub fn reply(self, reply: &M::Reply<'_>) -> Answer {
        self.reply_with(reply, Vec::new())
    }

    /// Answers with descriptors, to which the reply refers by their places.
    pub fn reply_with(self, reply: &M::Reply<'_>, fds: Vec<OwnedFd>) -> Answer {
        self.incoming.write(|output| output.reply(reply, false, fds))
    }

    /// Answers by an error of the interface.
    pub fn fail(self, error: &M::Error) -> Answer {
        self.incoming.error(error)
    }

    /// Answers that a parameter is out of its range.
    pub fn invalid(self, parameter: &str) -> Answer {
        self.incoming.error(&ServiceError::InvalidParameter { parameter: parameter.to_owned() })
    }

    /// Answers that the daemon does not do this.
    pub fn not_implemented(self) -> Answer {
        self.incoming.not_implemented()
    }

    /// Sends one reply of a stream, and keeps the call for the others. Nothing is sent to a caller that did not ask
    /// for more.
    pub fn push(&mut self, reply: &M::Reply<'_>) {
        if let Some(output) = self.incoming.output.as_deref_mut().filter(|_| self.incoming.more) {
            self.incoming.broken |= output.reply(reply, true, Vec::new()).is_err();
        }
    }

    /// Keeps the call, to be answered by [`Server::finish`](super::Server::finish) and its kind. The next call of this
    /// connection waits until then.
    pub fn later(self) -> (Pending<M>, Answer) {
        let outcome = if self.incoming.broken { Outcome::NotJson } else { Outcome::Later };
        (Pending { id: self.incoming.id, method: PhantomData }, Answer(outcome))
    }
}

/// Which call: of which connection, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    pub(crate) place: super::Place,
    pub(crate) number: u32,
}

/// A call that is to be answered later. When its caller goes away first, [`Event::Ended`](super::Event::Ended) says so.
#[derive(Debug)]
pub struct Pending<M> {
    id: CallId,
    method: PhantomData<fn() -> M>,
}

impl<M> Pending<M> {
    /// Which call.
    pub fn id(&self) -> CallId {
        self.id
    }
}
