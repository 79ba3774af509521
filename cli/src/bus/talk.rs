//! Several calls over one connection, for who does more than ask once.

use std::time::Duration;

use serde_json::Value;

use super::error::Error;
use super::session::{Files, Reply, Session};
use super::{Device, hint};

/// A connection to one interface of a device.
pub(crate) struct Talk {
    session: Session,
    interface: &'static str,
    patience: Duration,
}

/// What comes next of a stream.
pub(crate) enum Next {
    /// A reply.
    Reply(Value),
    /// Nothing for a while.
    Nothing,
    /// It is over.
    Over,
}

impl Device {
    /// Connects to an interface for several calls.
    pub(crate) fn talk(&self, interface: &'static str) -> anyhow::Result<Talk> {
        let mut session = Session::new(self.place.claim(self.patience)?, self.patience, Files::default())?;
        match session.open(interface) {
            Err(Error::Refused(why)) => anyhow::bail!(hint::no_interface(interface, &why)),
            other => other?,
        }
        Ok(Talk { session, interface, patience: self.patience })
    }
}

impl Talk {
    /// Goes on with another interface.
    pub(crate) fn turn_to(&mut self, interface: &'static str) -> anyhow::Result<()> {
        match self.session.open(interface) {
            Err(Error::Refused(why)) => anyhow::bail!(hint::no_interface(interface, &why)),
            other => other?,
        }
        self.interface = interface;
        Ok(())
    }

    /// Calls a method; the inner error is an error reply: its name without the interface's, and its parameters.
    pub(crate) fn call(
        &mut self,
        method: &str,
        parameters: &Value,
    ) -> anyhow::Result<Result<Value, (String, Value)>> {
        self.ask(method, parameters, false)?;
        self.answer(method)
    }

    /// The same for a stream: its first reply. [`next`](Self::next) has the others.
    pub(crate) fn begin(
        &mut self,
        method: &str,
        parameters: &Value,
    ) -> anyhow::Result<Result<Value, (String, Value)>> {
        self.ask(method, parameters, true)?;
        self.answer(method)
    }

    fn answer(&mut self, method: &str) -> anyhow::Result<Result<Value, (String, Value)>> {
        match self.session.reply()? {
            Reply::Parameters(parameters, _) => Ok(Ok(parameters)),
            Reply::Error(name, parameters) => {
                let own = name.strip_prefix(self.interface).and_then(|rest| rest.strip_prefix('.'));
                match own {
                    Some(own) => Ok(Err((own.to_owned(), parameters))),
                    None => anyhow::bail!(hint::error(&name, &parameters, self.interface, method)),
                }
            }
        }
    }

    /// Sends what is in a descriptor of the next call.
    pub(crate) fn file(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.session.file(bytes)?)
    }

    /// Asks for a stream, of which [`next`](Self::next) has the replies.
    pub(crate) fn follow(&mut self, method: &str, parameters: &Value) -> anyhow::Result<()> {
        self.ask(method, parameters, true)
    }

    /// The next reply of a stream, waited for no longer than this.
    pub(crate) fn next(&mut self, patience: Duration) -> anyhow::Result<Next> {
        self.session.wait_for(patience)?;
        let next = match self.session.reply() {
            Ok(Reply::Parameters(parameters, true)) => Next::Reply(parameters),
            Ok(Reply::Parameters(..)) | Err(Error::Closed) => Next::Over,
            Ok(Reply::Error(name, parameters)) => {
                anyhow::bail!(hint::error(&name, &parameters, self.interface, ""))
            }
            Err(Error::Silent) => Next::Nothing,
            Err(error) => return Err(error.into()),
        };
        self.session.wait_for(self.patience)?;
        Ok(next)
    }

    fn ask(&mut self, method: &str, parameters: &Value, more: bool) -> anyhow::Result<()> {
        let method = format!("{}.{method}", self.interface);
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        Ok(self.session.ask(&method, &parameters, more)?)
    }
}
