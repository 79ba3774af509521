//! What an operator has this device do, by the service's answer: what its owner may do on the bus.
//!
//! Putting off and resuming are done and then told: done twice, they do no harm. Going back might: that it was begun is told first, and
//! it is done when the answer to that names the order still. So what is kept may be lost, or a system boot that knows nothing of
//! orders, and no device goes back twice by one order.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use service_api::Text;
use service_api::updates::{Act, Followed, How, Order};
use tokio::task::spawn_local;
use tokio::time::{Duration, sleep};

use crate::back::BY_OPERATOR;
use crate::deferral::NotPutOff;
use crate::driver::GATHER;
use crate::notices::Target;
use crate::state::State;

/// Orders that are remembered.
const MOST: usize = 16;
/// What became of one that the device did not live to see the end of.
const WENT_DOWN: &str = "the device or its update daemon went down, and does not know whether it was done";
const MOVED_ON: &str = "another system was started before it was done";
const NOT_MEANT: &str = "it was taken back, or came too late";
const STAYED: &str = "the device did not boot";
/// A device that boots has gone down by then.
const BOOTS: Duration = Duration::from_secs(120);

/// What is kept of orders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orders {
    /// How far the last one is.
    last: Option<Followed>,
    /// The service has acknowledged that.
    told: bool,
    /// The system that ran when it was begun, if it is to go back.
    from: Option<[u8; 32]>,
    /// Numbers of those before, the oldest first.
    before: Vec<u64>,
}

impl Orders {
    /// How far the last one is, if the service has not acknowledged it.
    pub fn to_tell(&self) -> Option<Followed> {
        self.last.clone().filter(|_| !self.told)
    }

    /// That need not be told again.
    pub fn acknowledged(&mut self, told: &Followed) {
        self.told |= self.last.as_ref() == Some(told);
    }

    /// The service takes nothing of the kind.
    pub fn hush(&mut self) {
        self.told = true;
    }

    fn is_last(&self, number: u64) -> bool {
        self.last.as_ref().is_some_and(|last| last.number == number)
    }

    /// A new one, which is as far as this.
    fn add(&mut self, number: u64, how: How, reason: &str, from: Option<[u8; 32]>) {
        self.before.extend(self.last.take().map(|last| last.number));
        let gone = self.before.len().saturating_sub(MOST);
        self.before.drain(..gone);
        self.from = from;
        self.put(number, how, reason);
    }

    /// How far the last one is now.
    fn put(&mut self, number: u64, how: How, reason: &str) {
        self.last = Some(Followed { number, how, reason: Text::shown(reason) });
        self.told = false;
    }
}

impl State {
    /// At the start: what became of an order that was begun.
    pub(crate) fn look_at_begun(&self) {
        let runs = self.runs();
        let orders = self.kept.borrow().orders.clone();
        let Some(last) = orders.last.filter(|last| last.how == How::Begun) else { return };
        let is_another = orders.from.is_some() && orders.from != runs;
        let (how, reason) = match (orders.told, is_another) {
            (true, true) => (How::Done, ""),
            (true, false) => (How::Refused, WENT_DOWN),
            // Nobody has let it be done.
            (false, true) => (How::Refused, MOVED_ON),
            (false, false) => return,
        };
        self.keep(|kept| kept.orders.put(last.number, how, reason));
    }

    /// The root hash of the system that runs.
    fn runs(&self) -> Option<[u8; 32]> {
        self.facts.borrow().system.as_ref().map(|system| system.root_hash)
    }

    /// Follows the order of an answer. `told`: what was said of the last one in the check that it answers.
    pub(crate) fn follow(self: &Rc<Self>, order: Option<&Order>, told: Option<&Followed>) {
        let begun =
            told.filter(|told| told.how == How::Begun && self.kept.borrow().orders.is_last(told.number));
        match (begun, order) {
            (Some(begun), Some(order)) if begun.number == order.number => self.go_back(order),
            (Some(begun), _) => self.conclude(begun.number, How::Refused, NOT_MEANT),
            (None, _) => {}
        }
        let Some(order) = order else { return };
        let known = {
            let orders = &self.kept.borrow().orders;
            orders.is_last(order.number) || orders.before.contains(&order.number)
        };
        if !known {
            self.begin(order);
        }
    }

    fn begin(self: &Rc<Self>, order: &Order) {
        let app = app(order);
        let target = app.clone().map_or(Target::Os, Target::App);
        let of = app.as_deref().unwrap_or("the system");
        self.say(&format!("an operator orders {} of {of}", order.act));
        let (how, reason) = match Act::from_word(order.act.as_str()) {
            Some(Act::Defer) => match self.put_off_at_most(&target, order.minutes.into()) {
                Ok(None) => (How::Done, String::new()),
                Ok(Some(limit)) => {
                    (How::Done, format!("for {limit} minutes, as it can not be put off for longer"))
                }
                Err(why) => (How::Refused, why.to_string()),
            },
            Some(Act::Resume) if self.resume(&target) => (How::Done, String::new()),
            Some(Act::Resume) => (How::Refused, NotPutOff::NothingPending.to_string()),
            Some(Act::Rollback) => match self.nothing_before(app.as_deref()) {
                Some(reason) => (How::Refused, reason.to_owned()),
                None => (How::Begun, String::new()),
            },
            None => (How::Refused, "this system does not know that order".to_owned()),
        };
        let runs = self.runs().filter(|_| app.is_none());
        self.keep(|kept| kept.orders.add(order.number, how, &reason, runs));
        self.tell(how, &reason);
    }

    /// Puts it off for so long, or as long as it may be; how many minutes that is if they are fewer.
    fn put_off_at_most(self: &Rc<Self>, target: &Target, minutes: u64) -> Result<Option<u64>, NotPutOff> {
        match self.put_off(target, minutes) {
            Err(NotPutOff::TooLong(limit)) if limit > 0 => self.put_off(target, limit).map(|_| Some(limit)),
            done => done.map(|_| None),
        }
    }

    fn go_back(self: &Rc<Self>, order: &Order) {
        let (state, app, number) = (self.clone(), app(order), order.number);
        spawn_local(async move {
            match state.clone().roll_back(app.clone(), BY_OPERATOR).await {
                Err(why) => state.conclude(number, How::Refused, &why),
                Ok(()) if app.is_some() => state.conclude(number, How::Done, ""),
                // What runs after the boot says that it was done.
                Ok(()) => {
                    sleep(BOOTS).await;
                    state.conclude(number, How::Refused, STAYED);
                }
            }
        });
    }

    /// How an order ended. One that came meanwhile stays the last.
    fn conclude(self: &Rc<Self>, number: u64, how: How, reason: &str) {
        if self.kept.borrow().orders.is_last(number) {
            self.keep(|kept| kept.orders.put(number, how, reason));
            self.tell(how, reason);
        }
    }

    /// The service hears soon how far the last order is.
    fn tell(self: &Rc<Self>, how: How, reason: &str) {
        if how == How::Refused {
            self.say(&format!("an operator's order is refused: {reason}"));
        }
        let state = self.clone();
        spawn_local(async move {
            sleep(GATHER).await;
            state.check_is_due();
        });
    }
}

/// Of which app's update it is, if not of the system's.
fn app(order: &Order) -> Option<String> {
    Some(order.app.to_string()).filter(|app| !app.is_empty())
}
