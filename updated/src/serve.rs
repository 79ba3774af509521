//! `os.gabion.Update`. Who calls is known by where the connection came in: an app is told of the system's update and of its own.
//!
//! What an attacker controls: how often he calls, and for how long he puts an update off, which has an end that does not move.

use std::cell::Cell;
use std::rc::Rc;

use bus::interfaces::update::{State as Stage, *};
use bus::server::{Answer, Call, CallId, Server};
use bus::session::{About, Caller};
use tokio::task::spawn_local;

use crate::back::BY_OWNER;
use crate::deferral::NotPutOff;
use crate::notices::{Coming, MOST, Target as Which, Who};
use crate::state::State;

/// Between two checks that somebody asks for, seconds.
const CHECKS_S: u64 = 10;

/// The handler of all calls.
pub struct Serve {
    state: Rc<State>,
    /// When that was, milliseconds since the boot: a clock that is set does not change it.
    asked_ms: Cell<Option<u64>>,
}

/// A server without connections.
///
/// # Errors
/// The kernel has no more descriptors.
pub fn server() -> std::io::Result<Server<Serve>> {
    Server::new(About { vendor: "Gabion", product: "updated", version: env!("CARGO_PKG_VERSION"), url: "" })
}

/// Serves for ever, on this server.
///
/// # Errors
/// The server's descriptors fail.
pub async fn run(state: Rc<State>, server: Server<Serve>) -> std::io::Result<()> {
    let (done, answers) = bus_tokio::answers();
    *state.notices.answers.borrow_mut() = Some(done);
    let ended = {
        let state = state.clone();
        move |call: CallId| state.gone(call)
    };
    bus_tokio::run_until(server, Serve { state, asked_ms: Cell::new(None) }, answers, ended).await
}

impl State {
    /// Whoever made this call is gone.
    fn gone(&self, call: CallId) {
        self.notices.watchers.borrow_mut().retain(|(_, pending)| pending.id() != call);
        self.notices.checks.borrow_mut().retain(|(_, pending)| pending.id() != call);
    }

    /// The state of updates, as far as they are somebody's business.
    pub fn updates(&self, who: &Who) -> Vec<Status<'static>> {
        let coming = self.notices.coming.borrow();
        let mut targets = vec![Which::Os];
        match who.owner {
            false => targets.push(Which::App(who.app.clone())),
            true => {
                targets.extend(coming.iter().map(|one| one.target.clone()).filter(|one| *one != Which::Os))
            }
        }
        targets
            .iter()
            .map(|target| self.status(who, target, coming.iter().find(|one| one.target == *target)))
            .collect()
    }

    fn status(&self, who: &Who, target: &Which, coming: Option<&Coming>) -> Status<'static> {
        let facts = self.facts.borrow();
        let running = match target {
            Which::Os => facts.system.as_ref().map(|system| system.version.clone()),
            Which::App(id) => facts.apps.get(id).map(|app| app.version.clone()),
        };
        let learnt = coming.and_then(|coming| self.kept.borrow().learnt.get(&coming.release).copied());
        let until_s = learnt.and_then(|learnt| learnt.until_s).filter(|until_s| *until_s > self.now_s());
        let (kind, app) = shown(target);
        let stage = match coming.map(|coming| coming.stage) {
            Some(Stage::Pending) if until_s.is_some() => Stage::Deferred,
            Some(stage) => stage,
            None => Stage::None,
        };
        Status {
            target: kind,
            app: app.filter(|_| who.owner).map(|app| app.to_owned().into()),
            running_version: running.unwrap_or_default().into(),
            coming_version: coming.map(|coming| coming.version.clone().into()),
            state: stage,
            deferred_until_us: until_s.map(micros),
            checked_us: self.notices.checked_s.get().map(micros),
            failure: self.notices.failure.borrow().clone().map(Into::into),
        }
    }
}

impl Handler for Serve {
    fn get_status(&mut self, call: Call<'_, GetStatus>) -> Answer {
        let updates = self.state.updates(&who(call.caller()));
        call.reply(&GetStatusReply { updates })
    }

    fn check_now(&mut self, call: Call<'_, CheckNow>) -> Answer {
        let who = who(call.caller());
        let now_ms = (self.state.clock.boot_ms)();
        let since_ms = self.asked_ms.get().map_or(u64::MAX, |asked_ms| now_ms.saturating_sub(asked_ms));
        let wait_s = CHECKS_S.saturating_sub(since_ms / 1000);
        let full = self.state.notices.checks.borrow().len() >= MOST;
        if wait_s > 0 || full {
            return call.fail(&Error::TooOften { wait_s: i64::try_from(wait_s.max(1)).unwrap_or(1) });
        }
        let is_carried = who.owner && self.state.facts.borrow().carried.is_some();
        if self.state.way().is_none() && !is_carried {
            return call.fail(&Error::CheckFailed { reason: self.state.why_no_way() });
        }
        self.asked_ms.set(Some(now_ms));
        if who.owner {
            self.state.insists.set(true);
            self.state.forgives.set(true);
        }
        let (pending, answer) = call.later();
        self.state.notices.checks.borrow_mut().push((who, pending));
        self.state.check_is_due();
        answer
    }

    fn defer(&mut self, call: Call<'_, Defer>, parameters: DeferParameters<'_>) -> Answer {
        let Some(which) = which(call.caller(), parameters.target, parameters.app.as_deref()) else {
            return call.invalid("app");
        };
        let Ok(minutes) = u64::try_from(parameters.minutes) else { return call.invalid("minutes") };
        match self.state.put_off(&which, minutes) {
            Err(NotPutOff::NothingPending) => call.fail(&Error::NothingPending {}),
            Err(NotPutOff::TooLate) => call.fail(&Error::TooLate {}),
            Err(NotPutOff::TooLong(limit)) => {
                let limit_minutes = i64::try_from(limit).unwrap_or(i64::MAX);
                call.fail(&Error::TooLong { limit_minutes })
            }
            Ok(until_s) => call.reply(&DeferReply { until_us: micros(until_s) }),
        }
    }

    fn resume(&mut self, call: Call<'_, Resume>, parameters: ResumeParameters<'_>) -> Answer {
        let Some(which) = which(call.caller(), parameters.target, parameters.app.as_deref()) else {
            return call.invalid("app");
        };
        self.state.resume(&which);
        call.reply(&bus::interface::Empty {})
    }

    fn rollback(&mut self, call: Call<'_, Rollback>, parameters: RollbackParameters<'_>) -> Answer {
        if let Some(reason) = self.state.nothing_before(parameters.app.as_deref()) {
            return call.fail(&Error::NothingBefore { reason: reason.to_owned() });
        }
        let (asker, answer) = call.later();
        let (state, app) = (self.state.clone(), parameters.app.map(std::borrow::Cow::into_owned));
        spawn_local(async move {
            let done = state.clone().roll_back(app, BY_OWNER).await;
            state.notices.with(Box::new(move |server| match done {
                Err(reason) => server.fail(asker, &Error::NothingBefore { reason }),
                Ok(()) => server.finish(asker, &bus::interface::Empty {}),
            }));
        });
        answer
    }

    fn watch(&mut self, call: Call<'_, Watch>) -> Answer {
        if !call.more() {
            return call.invalid("more");
        }
        let mut watchers = self.state.notices.watchers.borrow_mut();
        if watchers.len() >= MOST {
            return call.not_implemented();
        }
        let who = who(call.caller());
        let (pending, answer) = call.later();
        watchers.push((who, pending));
        answer
    }
}

impl State {
    /// Why the service can not be asked, for people.
    pub fn why_no_way(&self) -> String {
        let facts = self.facts.borrow();
        let why = match () {
            () if facts.service.is_none() => "the device belongs to no service: it has no service.toml",
            () if facts.settings.is_none() => "the device has no update.toml, or it has a fault",
            () if !facts.clock => "the clock is not set yet",
            () => "the system is starting",
        };
        why.to_owned()
    }
}

fn who(caller: &Caller) -> Who {
    Who { app: caller.app.clone(), owner: caller.system }
}

/// Which update is meant; none if it is not the caller's.
fn which(caller: &Caller, target: Target, app: Option<&str>) -> Option<Which> {
    let who = who(caller);
    match (target, app) {
        (Target::Os, None) => Some(Which::Os),
        (Target::App, None) if !who.owner => Some(Which::App(who.app)),
        (Target::App, Some(id)) if who.owner || who.app == id => Some(Which::App(id.to_owned())),
        _ => None,
    }
}

/// As the interface has it.
pub fn shown(target: &Which) -> (Target, Option<&str>) {
    match target {
        Which::Os => (Target::Os, None),
        Which::App(id) => (Target::App, Some(id)),
    }
}

/// Seconds as the interface has them.
pub fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}
