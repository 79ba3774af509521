//! What an operator has this device do, by the service's answer: what its owner may do on the bus.
//!
//! An order is followed once at most: its number is on the disk before anything is done. So a power cut may leave one undone, which
//! then counts as done; an operator sees by what the device runs.

use std::rc::Rc;

use service_api::Text;
use service_api::updates::{Act, Followed, Order};
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::back::BY_OPERATOR;
use crate::deferral::NotPutOff;
use crate::driver::GATHER;
use crate::notices::Target;
use crate::state::State;

impl State {
    /// Follows an order, if it has not been.
    pub(crate) fn follow(self: &Rc<Self>, order: &Order) {
        let number = order.number;
        if self.kept.borrow().followed.as_ref().is_some_and(|last| last.number == number) {
            return;
        }
        let done = Followed { number, refusal: Text::default() };
        if let Err(e) = self.keep_surely(|kept| kept.follow(done)) {
            return self.say(&format!("an operator's order is not followed, as it can not be kept: {e}"));
        }
        let app = Some(order.app.to_string()).filter(|app| !app.is_empty());
        let target = app.clone().map_or(Target::Os, Target::App);
        let of = app.as_deref().unwrap_or("the system");
        self.say(&format!("an operator orders {} of {of}", order.act));
        let done = match Act::from_word(order.act.as_str()) {
            // Before anything else is done, as applying it.
            Some(Act::Defer) => {
                Some(self.put_off(&target, order.minutes.into()).map(drop).map_err(|why| why.to_string()))
            }
            Some(Act::Resume) if self.resume(&target) => Some(Ok(())),
            Some(Act::Resume) => Some(Err(NotPutOff::NothingPending.to_string())),
            Some(Act::Rollback) => None,
            None => Some(Err("this system does not know that order".to_owned())),
        };
        let state = self.clone();
        spawn_local(async move {
            let done = match done {
                Some(done) => done,
                None => state.clone().roll_back(app, BY_OPERATOR).await,
            };
            if let Err(why) = done {
                state.say(&format!("an operator's order is refused: {why}"));
                state.keep(|kept| kept.follow(Followed { number, refusal: Text::shown(&why) }));
            }
            sleep(GATHER).await;
            state.check_is_due();
        });
    }
}
