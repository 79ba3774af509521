//! Putting an update off, by an app's word, its owner's or an operator's.

use std::fmt;
use std::rc::Rc;

use bus::interfaces::update::{Happening, State as Stage};

use crate::notices::{Coming, Target};
use crate::state::State;
use crate::turn::{APP_MAX_MIN, SYSTEM_MAX_MIN, Turn};

/// Why an update is not put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPutOff {
    /// None comes.
    NothingPending,
    /// It is being applied.
    TooLate,
    /// That would be longer than it may be; so many minutes are left.
    TooLong(u64),
}

impl fmt::Display for NotPutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingPending => f.write_str("no update is pending"),
            Self::TooLate => f.write_str("the update is being applied already"),
            Self::TooLong(limit) => write!(f, "it can be put off for {limit} minutes at most"),
        }
    }
}

impl State {
    /// Puts the update of this off for so many minutes; until when, seconds since 1970.
    ///
    /// # Errors
    /// See [`NotPutOff`].
    pub fn put_off(self: &Rc<Self>, target: &Target, minutes: u64) -> Result<u64, NotPutOff> {
        let coming = self.coming_to(target).ok_or(NotPutOff::NothingPending)?;
        if coming.stage == Stage::Applying {
            return Err(NotPutOff::TooLate);
        }
        let mut turn = self.turn(&coming).ok_or(NotPutOff::NothingPending)?;
        let until_s = turn.defer(minutes, self.now_s()).map_err(NotPutOff::TooLong)?;
        self.keep_until(&coming, Some(until_s));
        self.happens(target, Happening::Deferred, &coming.version, Some(until_s));
        Ok(until_s)
    }

    /// Has the update of this come as if nobody had put it off; whether one does.
    pub fn resume(&self, target: &Target) -> bool {
        let coming = self.coming_to(target);
        if let Some(coming) = &coming {
            self.keep_until(coming, None);
        }
        coming.is_some()
    }

    /// When an update that comes is applied.
    pub fn turn(&self, coming: &Coming) -> Option<Turn> {
        let learnt = self.kept.borrow().learnt.get(&coming.release).copied()?;
        let most_min = if coming.target == Target::Os { SYSTEM_MAX_MIN } else { APP_MAX_MIN };
        let ready_s = learnt.ready_s.unwrap_or(u64::MAX);
        Some(Turn { learnt_s: learnt.at_s, ready_s, most_min, until_s: learnt.until_s })
    }

    fn coming_to(&self, target: &Target) -> Option<Coming> {
        self.notices.coming.borrow().iter().find(|one| one.target == *target).cloned()
    }

    fn keep_until(&self, coming: &Coming, until_s: Option<u64>) {
        self.keep(|kept| {
            if let Some(learnt) = kept.learnt.get_mut(&coming.release) {
                learnt.until_s = until_s;
            }
        });
        self.wake.notify_one();
    }
}
