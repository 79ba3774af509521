//! What is told on the bus: how far updates are, and what happens to them, to who watches.
//!
//! Bounded: each watcher has a connection of its own, which waits with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bus::interfaces::update::{CheckNow, CheckNowReply, Error, Happening, State as Stage, Watch, WatchReply};
use bus::server::Pending;
use bus_tokio::Done;
use tokio::sync::mpsc;

use crate::serve::Serve;
use crate::state::State;

/// Who may watch, or wait for a check, at once.
pub const MOST: usize = 64;

/// What an update replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The system.
    Os,
    /// An app, by its id.
    App(String),
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its id.
    pub app: String,
    /// One of the system's own boxes: the device's owner.
    pub owner: bool,
}

impl Who {
    /// Whether it is told of this.
    pub fn sees(&self, target: &Target) -> bool {
        match target {
            Target::Os => true,
            Target::App(id) => self.owner || self.app == *id,
        }
    }
}

/// An update that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    /// What it replaces.
    pub target: Target,
    /// Its version.
    pub version: String,
    /// The path of its release.
    pub release: String,
    /// How far it is.
    pub stage: Stage,
}

/// See the module.
#[derive(Default)]
pub struct Notices {
    /// Updates that come.
    pub coming: RefCell<Vec<Coming>>,
    /// When the last check ended, seconds since 1970.
    pub checked_s: Cell<Option<u64>>,
    /// What failed last.
    pub failure: RefCell<Option<String>>,
    /// Who watches.
    pub watchers: RefCell<Vec<(Who, Pending<Watch>)>>,
    /// Who waits for a check.
    pub checks: RefCell<Vec<(Who, Pending<CheckNow>)>>,
    /// The way to the bus's server.
    pub answers: RefCell<Option<mpsc::Sender<Done<Serve>>>>,
}

impl Notices {
    /// Whether somebody is told what happens to this.
    pub fn is_watched(&self, target: &Target) -> bool {
        self.watchers.borrow().iter().any(|(who, _)| who.sees(target))
    }

    /// What is called with the bus's server. Lost when far too many wait, as after a server that ended.
    pub(crate) fn with(&self, act: Done<Serve>) {
        if let Some(answers) = &*self.answers.borrow() {
            let _ = answers.try_send(act);
        }
    }
}

impl State {
    /// Tells who watches.
    pub fn happens(self: &Rc<Self>, target: &Target, happening: Happening, version: &str, at_s: Option<u64>) {
        if !self.notices.is_watched(target) {
            return;
        }
        let (state, target, version) = (self.clone(), target.clone(), version.to_owned());
        self.notices.with(Box::new(move |server| {
            let (kind, app) = crate::serve::shown(&target);
            let at_us = at_s.map(crate::serve::micros);
            for (who, pending) in state.notices.watchers.borrow().iter().filter(|(who, _)| who.sees(&target))
            {
                let app = app.filter(|_| who.owner).map(Into::into);
                let reply =
                    WatchReply { target: kind, app, happening, version: version.as_str().into(), at_us };
                server.push(pending, &reply);
            }
        }));
    }

    /// The service was asked.
    pub fn checked(self: &Rc<Self>, failure: Option<String>) {
        self.notices.checked_s.set(Some(self.now_s()));
        self.answer_checks(failure);
    }

    /// Answers who waits for a check.
    pub fn answer_checks(self: &Rc<Self>, failure: Option<String>) {
        if self.notices.checks.borrow().is_empty() {
            return;
        }
        let state = self.clone();
        self.notices.with(Box::new(move |server| {
            for (who, pending) in state.notices.checks.take() {
                match &failure {
                    None => server.finish(pending, &CheckNowReply { updates: state.updates(&who) }),
                    Some(reason) => server.fail(pending, &Error::CheckFailed { reason: reason.clone() }),
                }
            }
        }));
    }
}
