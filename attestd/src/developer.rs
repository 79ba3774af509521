//! Developer mode: the permit in force, if there is one. `os.gabion.Permit`, what the service offers, and what sandboxd is told.
//!
//! What is a permit, and what becomes of one, is the crate [`permit`]'s; here are its clock and its store. The time is the later
//! of what the wall clock shows and of what it showed plus the time that has passed since, so that a clock that is set back while
//! the device runs prolongs nothing either.
//!
//! sandboxd is told who may put apps onto the device, or that nobody may, and nothing while that is not known: until the state
//! is whole, and until the clock is set, if a permit is held whose time it is to say.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bus::attest_link::{Developer, FromAttestd};
use bus::interfaces::permit::{
    Error, GetStatus, GetStatusReply, Handler, Leave, Permit as Shown, Take, TakeParameters, TakeReply,
};
use bus::server::{Answer, Call};
use permit::{Ground, Refusal, Taken, Terms, Way};
use sys::process::now_ms;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::catalog;
use crate::identity::DEVICE;
use crate::serve::Serve;
use crate::state::{State, now_s};

/// While a permit is held it is looked at this often, and the time kept.
const LOOK: Duration = Duration::from_secs(3600);

/// What is known besides what is kept.
#[derive(Default)]
pub struct Mode {
    /// sandboxd has told its state.
    whole: Cell<bool>,
    clock_set: Cell<bool>,
    /// The time that was known last, and when that was: milliseconds of the monotonic clock.
    known: Cell<Option<(u64, u64)>>,
    /// The latest time that is kept.
    kept_s: Cell<u64>,
    /// What sandboxd was told last.
    told: RefCell<Option<Option<Developer>>>,
    /// The permit that the service was last said to have, by its id.
    heard: RefCell<Option<String>>,
    /// Why the service's last offer was refused.
    refused: RefCell<Option<Refusal>>,
    changed: Notify,
}

impl State {
    /// sandboxd tells its state anew.
    pub fn developer_anew(&self) {
        self.mode.whole.set(false);
        *self.mode.told.borrow_mut() = None;
    }

    /// The state is whole.
    pub fn developer_known(&self) {
        self.mode.whole.set(true);
        self.mode.changed.notify_one();
    }

    /// The clock is set.
    pub fn developer_clock(&self) {
        self.mode.clock_set.set(true);
        self.mode.changed.notify_one();
    }

    /// Looks at the permit whenever it may have changed, and when it ends; for ever.
    pub async fn developer(self: Rc<Self>) {
        loop {
            let wait = self.look();
            tokio::select! {
                () = async { match wait { Some(wait) => sleep(wait).await, None => std::future::pending().await } } => {}
                () = self.mode.changed.notified() => {}
            }
        }
    }

    /// The service is said to have this permit for us, or none if it is empty: a reason for a round if we have another, once.
    pub fn permit_told(&self, id: String) {
        let held = self.kept.borrow().permits.is_held();
        let ours = if held { self.in_force().map(|terms| terms.id) } else { None };
        if id != ours.unwrap_or_default() && self.mode.heard.borrow().as_ref() != Some(&id) {
            self.round_is_due();
        }
        *self.mode.heard.borrow_mut() = Some(id);
    }

    /// The service does not know us as anybody's device any more.
    pub fn permit_refused(&self) {
        self.permit_ended("the service has given this device up");
    }

    fn permit_ended(&self, why: &str) {
        if self.kept.borrow_mut().permits.end() {
            self.say(&format!("developer mode has ended: {why}"));
            self.permit_changed();
        }
    }

    /// The service offered this at a round that went well.
    pub fn permit_offered(&self, offered: Option<&str>) {
        let Some(text) = offered else { return self.permit_ended("the service has ended the permit") };
        match self.take_permit(text, Way::Service) {
            Ok(_) => *self.mode.refused.borrow_mut() = None,
            Err(refusal) => {
                // It offers the same again at each round.
                if self.mode.refused.borrow().as_ref() != Some(&refusal) {
                    self.refuse(&refusal);
                }
                *self.mode.refused.borrow_mut() = Some(refusal);
            }
        }
    }

    fn refuse(&self, refusal: &Refusal) {
        self.say(&format!("a permit is refused: {refusal}"));
    }

    fn take_permit(&self, text: &str, way: Way) -> Result<Terms, Refusal> {
        let (device, catalog, authority) = self.ground().ok_or(Refusal::NoCatalog)?;
        if way == Way::Hand && !self.mode.clock_set.get() {
            return Err(Refusal::NoClock);
        }
        let ground = Ground { device: &device, catalog: &catalog, authority: &authority };
        let time_s = if way == Way::Service { now_s() } else { self.time_s() };
        let taken = self.kept.borrow_mut().permits.take(text, ground, way, time_s)?;
        if way == Way::Service {
            // The service knows the time: it would not offer what has ended, or is yet to come.
            self.mode.clock_set.set(true);
            self.mode.known.set(Some((now_ms(), time_s)));
        }
        let held = self.kept.borrow_mut().permits.in_force(Some(ground), time_s);
        let terms = held.ok_or(Refusal::Expired)?.terms().clone();
        if taken == Taken::New {
            let (id, developer) = (&terms.id, terms.developer.fingerprint());
            self.say(&format!("developer mode is on permit={id} developer={developer}"));
            self.permit_changed();
        }
        Ok(terms)
    }

    fn permit_changed(&self) {
        self.keep();
        self.mode.kept_s.set(self.kept.borrow().permits.seen_s());
        self.mode.changed.notify_one();
    }

    /// Tells sandboxd what holds now; when to look again.
    fn look(&self) -> Option<Duration> {
        if !self.mode.whole.get() {
            return None;
        }
        let is_held = self.kept.borrow().permits.is_held();
        if is_held && !self.mode.clock_set.get() {
            return None;
        }
        let terms = if is_held { self.in_force() } else { None };
        if is_held && terms.is_none() {
            self.say("developer mode has ended: the permit has");
            self.permit_changed();
        }
        let seen_s = self.kept.borrow().permits.seen_s();
        if is_held && seen_s.saturating_sub(self.mode.kept_s.get()) >= LOOK.as_secs() {
            self.keep();
            self.mode.kept_s.set(seen_s);
        }
        self.tell(terms.as_ref().map(told));
        terms.map(|terms| LOOK.min(Duration::from_secs(terms.expires_s.saturating_sub(seen_s).max(1))))
    }

    fn tell(&self, developer: Option<Developer>) {
        let mut last = self.mode.told.borrow_mut();
        if last.as_ref() != Some(&developer) {
            self.link.send(&FromAttestd::Developer(developer.clone()));
            *last = Some(developer);
        }
    }

    fn in_force(&self) -> Option<Terms> {
        let known = self.ground();
        let ground = known.as_ref().map(|(device, catalog, authority)| Ground { device, catalog, authority });
        let time_s = self.time_s();
        Some(self.kept.borrow_mut().permits.in_force(ground, time_s)?.terms().clone())
    }

    /// Who we are, whose, and by which key that is signed.
    fn ground(&self) -> Option<(String, String, [u8; 65])> {
        let kept = self.kept.borrow();
        let held = kept.certificates.iter().find(|held| held.subject.as_str() == DEVICE)?;
        let authority = permit::developer::point_of(held.chain.get(1)?.as_slice())?;
        Some((kept.device.as_ref()?.to_string(), catalog::of(&held.chain)?.to_string(), authority))
    }

    /// The time, which never goes back while we run.
    fn time_s(&self) -> u64 {
        let passed = |(at_ms, time_s): (u64, u64)| time_s + now_ms().saturating_sub(at_ms) / 1000;
        let time_s = self.mode.known.get().map_or(0, passed).max(now_s());
        self.mode.known.set(Some((now_ms(), time_s)));
        time_s
    }
}

fn told(terms: &Terms) -> Developer {
    let point = &terms.developer.point;
    let (mut x, mut y) = ([0; 32], [0; 32]);
    x.copy_from_slice(&point[1..33]);
    y.copy_from_slice(&point[33..]);
    Developer { certificate: terms.developer.certificate, x, y }
}

fn shown(terms: &Terms) -> Shown<'static> {
    let us = |time_s: u64| i64::try_from(time_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    Shown {
        id: terms.id.clone().into(),
        developer: terms.developer.fingerprint().into(),
        issued_us: us(terms.issued_s),
        expires_us: us(terms.expires_s),
    }
}

impl Handler for Serve {
    fn get_status(&mut self, call: Call<'_, GetStatus>) -> Answer {
        let state = self.state();
        let permit = state.mode.clock_set.get().then(|| state.in_force()).flatten();
        let (device, catalog) = {
            let kept = state.kept.borrow();
            let catalog = kept.certificates.first().and_then(|held| catalog::of(&held.chain));
            (kept.device.clone(), catalog)
        };
        call.reply(&GetStatusReply {
            device: device.map(|device| device.to_string().into()),
            catalog: catalog.map(|catalog| catalog.to_string().into()),
            permit: permit.as_ref().map(shown),
        })
    }

    fn take(&mut self, call: Call<'_, Take>, parameters: TakeParameters<'_>) -> Answer {
        match self.state().take_permit(&parameters.permit, Way::Hand) {
            Ok(terms) => call.reply(&TakeReply { permit: shown(&terms) }),
            Err(refusal) => {
                self.state().refuse(&refusal);
                call.fail(&Error::Refused { reason: refusal.to_string() })
            }
        }
    }

    fn leave(&mut self, call: Call<'_, Leave>) -> Answer {
        let state = self.state();
        state.permit_ended("it was left");
        call.reply(&Default::default())
    }
}
