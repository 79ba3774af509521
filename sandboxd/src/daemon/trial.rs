//! The trial of what was installed together: each app has to run for so long, or all of them go back.
//!
//! What counts against it: an end that is a failure, a launch that is refused, silence longer than the watchdog allows, a box
//! that can not be built, no `READY=1` of one that says it. An app that ends well, or that somebody has stopped, counts as well.
//! A device that goes down meanwhile begins the trial again, three times at most: it may go down because of what is on trial.

use std::collections::BTreeSet;
use std::io;

use bus::update_link::ToUpdated;

use super::Daemon;
use crate::app::State;
use crate::console::{problem, say};
use crate::packages::ledger::TRIES_MAX;

/// How long the launches may take, milliseconds: what they wait for is netd, attestd and the worker.
const LAUNCH_MS: u64 = 10 * 60 * 1000;
/// How soon a ledger that could not be written is tried again.
const AGAIN_MS: u64 = 5000;

/// A trial as sandboxd looks after it; the ledger has what lasts.
#[derive(Debug)]
pub(super) struct Trial {
    apps: BTreeSet<String>,
    seconds: u32,
    /// When it is over, once all were launched.
    over_ms: Option<u64>,
    /// When all have to be launched.
    latest_ms: u64,
    /// Why it failed.
    failed: Option<String>,
    /// The ledger could not be written: not before this time.
    again_ms: Option<u64>,
}

impl Trial {
    /// Of these apps, from now.
    pub(super) fn new(apps: impl Iterator<Item = String>, seconds: u32, now: u64) -> Self {
        let latest_ms = now + LAUNCH_MS;
        Self { apps: apps.collect(), seconds, over_ms: None, latest_ms, failed: None, again_ms: None }
    }

    /// Whether the app is on trial.
    pub(super) fn is_of(&self, id: &str) -> bool {
        self.apps.contains(id)
    }

    /// The next time there is something to do.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let due = if self.failed.is_some() { 0 } else { self.over_ms.unwrap_or(self.latest_ms) };
        Some(due.max(self.again_ms.unwrap_or_default()))
    }
}

/// Apps on their way back, once they have ended.
#[derive(Debug)]
pub(super) struct Back {
    uids: Vec<u32>,
    why: String,
}

impl Back {
    /// Their boxes.
    pub(super) fn uids(&self) -> &[u32] {
        &self.uids
    }

    /// Whether this box is one of them.
    pub(super) fn is_of(&self, uid: u32) -> bool {
        self.uids.contains(&uid)
    }
}

impl Daemon {
    /// At the start: a trial that was cut short is begun again, or has been too often.
    pub(super) fn trial_goes_on(&mut self) {
        let Some((ledger, trial)) = self.installs.ledger().and_then(|ledger| Some((ledger, ledger.trial()?)))
        else {
            return;
        };
        let begun = Trial::new(trial.before.keys().cloned(), trial.seconds, sys::process::now_ms());
        let (after, tries) = (ledger.begun_again(), trial.tries);
        let (after, again) = match after {
            Some(after) => (after, true),
            None => {
                let why = format!("the device or its manager went down in each of {TRIES_MAX} trials");
                (ledger.back(&Self::packages_say("taken-back", &why)), false)
            }
        };
        if let Err(e) = self.installs.change(after) {
            problem("device", &format!("the ledger of packages can not be written: {e}"), "check the disk");
        }
        if again || self.installs.ledger().is_some_and(|ledger| ledger.trial().is_some()) {
            say(format_args!("event trial-again tries={}", tries + 1));
            self.installs.trial = Some(begun);
        }
    }

    /// Something went wrong with a box. It counts if that is on trial.
    pub(super) fn trial_failed(&mut self, uid: u32, why: &str) {
        let Some(app) = self.apps.get(&uid) else { return };
        // What ends may be the one before, told late.
        if app.package.is_some() && app.package != self.package_number(&app.id) {
            return;
        }
        let why = format!("{}: {why}", app.id);
        let id = app.id.clone();
        if let Some(trial) = self.installs.trial.as_mut().filter(|trial| trial.is_of(&id)) {
            trial.failed.get_or_insert(why);
        }
    }

    /// The owner wants what this app was before.
    pub(super) fn trial_back_wanted(&mut self, id: &str) -> io::Result<()> {
        if !self.installs.trial.as_ref().is_some_and(|trial| trial.is_of(id)) {
            self.update_refuse("it is not on trial, and only until then is kept what it was before");
            return Ok(());
        }
        self.trial_back(&format!("{id}: it was told to go back"), sys::process::now_ms())?;
        match self.installs.trial {
            None => self.update_send(&ToUpdated::Installed, Vec::new()),
            Some(_) => {
                self.update_refuse("the ledger of packages can not be written; free space on the disk")
            }
        }
        Ok(())
    }

    /// Looks whether the trial is over, and goes on with what is on its way back.
    pub(super) fn trial_tick(&mut self, now: u64) -> io::Result<()> {
        if self
            .installs
            .back
            .as_ref()
            .is_some_and(|back| back.uids.iter().all(|uid| !self.installs.is_ending(*uid)))
        {
            self.trial_backs()?;
        }
        if self.installs.trial.as_ref().is_none_or(|trial| trial.again_ms.is_some_and(|at| now < at)) {
            return Ok(());
        }
        let verdict = self.trial_verdict(now);
        let Some(trial) = &mut self.installs.trial else { return Ok(()) };
        match trial.failed.clone().map(Err).or(verdict) {
            None => {}
            Some(Ok(())) => self.trial_good(now),
            Some(Err(why)) => self.trial_back(&why, now)?,
        }
        Ok(())
    }

    /// What the trial comes to, if it is over.
    fn trial_verdict(&mut self, now: u64) -> Option<Result<(), String>> {
        let trial = self.installs.trial.as_ref()?;
        let launched = |id: &String| {
            let app = self.uid_of(id).and_then(|uid| self.apps.get(&uid));
            app.is_some_and(|app| !matches!(app.state, State::Reading | State::Starting))
        };
        let over_ms = match trial.over_ms {
            Some(over_ms) => over_ms,
            // One that runs and is still to be built again does not count.
            None if trial.apps.iter().all(launched) && self.installs.none_again() => {
                let over_ms = now + u64::from(trial.seconds) * 1000;
                self.installs.trial.as_mut()?.over_ms = Some(over_ms);
                return None;
            }
            None if now < trial.latest_ms => return None,
            None => return Some(Err("not all of it could be launched".to_owned())),
        };
        if now < over_ms {
            return None;
        }
        let silent = trial.apps.iter().find(|id| {
            let app = self.uid_of(id).and_then(|uid| self.apps.get(&uid));
            app.is_some_and(|app| app.pid().is_some() && app.awaits_ready)
        });
        Some(match silent {
            Some(id) => Err(format!("{id}: it has not said READY=1 in {} s", trial.seconds)),
            None => Ok(()),
        })
    }

    fn trial_good(&mut self, now: u64) {
        let Some(after) = self.installs.ledger().map(|ledger| ledger.kept()) else { return };
        if self.trial_write(after, now) {
            self.installs.trial = None;
            say("event installed: the trial is over, what was installed stays");
            self.packages_clean();
            self.update_send(&ToUpdated::Settled(None), Vec::new());
        }
    }

    /// All of what is on trial goes back: one write, then what runs of it ends.
    fn trial_back(&mut self, why: &str, now: u64) -> io::Result<()> {
        let Some(after) = self.installs.ledger().map(|ledger| ledger.back(why)) else { return Ok(()) };
        if !self.trial_write(after, now) {
            return Ok(());
        }
        let Some(trial) = self.installs.trial.take() else { return Ok(()) };
        let why = Self::packages_say("taken-back", why);
        let uids: Vec<u32> = trial.apps.iter().filter_map(|id| self.uid_of(id)).collect();
        for uid in &uids {
            self.packages_end(*uid)?;
        }
        self.installs.back = Some(Back { uids, why });
        Ok(())
    }

    fn trial_write(&mut self, after: crate::packages::ledger::Ledger, now: u64) -> bool {
        let Err(e) = self.installs.change(after) else { return true };
        problem(
            "device",
            &format!("the ledger of packages can not be written: {e}"),
            "free space on the disk",
        );
        if let Some(trial) = &mut self.installs.trial {
            trial.again_ms = Some(now + AGAIN_MS);
        }
        false
    }

    /// Everything that was on trial has ended: what was before is built again.
    fn trial_backs(&mut self) -> io::Result<()> {
        let Some(Back { uids, why }) = self.installs.back.take() else { return Ok(()) };
        for uid in uids {
            let Some(app) = self.apps.get(&uid) else { continue };
            if self.app_dir(&app.id).symlink_metadata().is_ok() {
                self.build_again(uid);
            } else {
                // It was new. What it has stored stays until somebody wipes it or it is installed again.
                let id = app.id.clone();
                self.forget_app(uid)?;
                self.wipe_later(&id, uid);
            }
        }
        self.packages_clean();
        self.packages_changed();
        self.update_send(&ToUpdated::Settled(Some(why)), Vec::new());
        Ok(())
    }
}
