//! What became of what was applied, as sandboxd tells it.

use bus::interfaces::update::Happening;
use service_api::updates::Stage as Told;
use tokio::time::{Duration, Instant};

use super::{Driver, GATHER, SETTLES_S};
use crate::job::tidy;
use crate::kept::Armed;
use crate::notices::Target as Which;

/// How long after a boot the service is reached if it is there.
const DOUBT_MS: u64 = 300_000;

impl Driver {
    /// What became of what was applied before we were started.
    pub(super) fn look_back(&mut self) {
        let system = self.state.facts.borrow().system.clone();
        let armed = self.state.kept.borrow().armed.clone();
        if armed.is_none() {
            self.doubted = None;
        }
        if let (Some(system), Some(armed)) = (system, armed)
            && !system.trial
        {
            let gone = system.version != armed.version;
            let failed = system.failed.filter(|(version, _)| gone && *version == armed.version);
            if let Some((_, why)) = failed {
                self.gone_back(&armed, &why);
            } else if system.version == armed.version {
                self.complete(&armed);
            }
            // Or it was armed and still is: until the slot is asked for again, a power cut starts it.
        }
        if std::mem::take(&mut self.state.facts.borrow_mut().on_trial)
            && !self.state.kept.borrow().on_trial.is_empty()
        {
            self.state.keep(|kept| kept.switched = true);
            // It begins, or begins again.
            self.settles_at = None;
        }
        let settled = std::mem::take(&mut self.state.facts.borrow_mut().settled);
        for settled in settled {
            self.settled(settled);
        }
        if self.settles_at.is_some_and(|at| at <= Instant::now()) {
            let (there, switched) = (self.trial_apps_are_there(), self.state.kept.borrow().switched);
            if there || switched {
                self.settled((!there).then(|| "the version before runs again".to_owned()));
            } else {
                // Nobody heard that they were to be installed.
                self.settles_at = None;
                self.state.keep(|kept| kept.on_trial.clear());
            }
        }
        let waits = !self.state.kept.borrow().on_trial.is_empty();
        if waits && self.settles_at.is_none() {
            let trial_s = self.state.facts.borrow().settings.as_ref().map_or(0, |settings| settings.trial_s);
            self.settles_at = Some(Instant::now() + Duration::from_secs((trial_s + SETTLES_S).into()));
        }
    }

    fn trial_apps_are_there(&self) -> bool {
        let (facts, kept) = (self.state.facts.borrow(), self.state.kept.borrow());
        kept.on_trial.iter().all(|path| {
            let parts: Vec<&str> = path.split('/').collect();
            let [_, _, id, file] = parts.as_slice() else { return false };
            facts.apps.get(*id).is_some_and(|app| format!("{}.json", app.version) == *file)
        })
    }

    /// The trial of apps has ended. How the one before did is told again until new ones are asked for, and nobody waits for it.
    fn settled(&mut self, why: Option<String>) {
        self.settles_at = None;
        let now_s = self.state.now_s();
        let paths = self.state.keep(|kept| {
            let paths = std::mem::take(&mut kept.on_trial);
            kept.switched = false;
            for path in &paths {
                match &why {
                    None => kept.note(path, Told::Complete, "", now_s),
                    Some(why) => {
                        kept.note(path, Told::RolledBack, why, now_s);
                        kept.fail(path, why);
                    }
                }
            }
            paths
        });
        for path in &paths {
            let parts: Vec<&str> = path.split('/').collect();
            let [_, _, id, file] = parts.as_slice() else { continue };
            let version = file.trim_end_matches(".json");
            match &why {
                None => {
                    self.state.say(&format!("updated app={id} version={version}"));
                    let target = Which::App((*id).to_owned());
                    self.state.happens(&target, Happening::Complete, version, None);
                }
                Some(why) => self.state.say(&format!("went back app={id} version={version}: {why}")),
            }
        }
        if !paths.is_empty() {
            self.apps = None;
            self.report_soon();
        }
    }

    fn complete(&mut self, armed: &Armed) {
        let now_s = self.state.now_s();
        self.state.keep(|kept| {
            kept.note(&armed.release, Told::Complete, "", now_s);
            kept.later.remove(&armed.release);
            kept.unmade(&armed.release);
            kept.armed = None;
        });
        tidy(&self.state);
        self.state.say(&format!("updated system version={}", armed.version));
        self.state.happens(&Which::Os, Happening::Complete, &armed.version, None);
        self.os = None;
        self.report_soon();
    }

    fn gone_back(&mut self, armed: &Armed, why: &str) {
        let (release, now_s) = (&armed.release, self.state.now_s());
        // A service that the system before reaches at once was there for the other one too.
        let is_away = armed.unreached && !self.reached;
        let left_ms = DOUBT_MS.saturating_sub((self.state.clock.boot_ms)());
        let is_asked = self.state.way().is_none() || self.checks.failures() > 0;
        if is_away && (left_ms > 0 || !is_asked) {
            self.doubted = Some(Instant::now() + Duration::from_millis(left_ms).max(GATHER));
            return;
        }
        self.doubted = None;
        self.state.keep(|kept| {
            // Who rolled back is offered it no more, and a roll-out stops for it.
            if is_away && kept.put_off(release, now_s) {
                kept.note(release, Told::Deferred, &format!("{why}; it is tried again later"), now_s);
            } else {
                kept.fail(release, why);
                kept.note(release, Told::RolledBack, why, now_s);
            }
            kept.unmade(release);
            kept.armed = None;
        });
        tidy(&self.state);
        self.state.say(&format!("the system went back from {release}: {why}"));
        self.os = None;
        self.report_soon();
    }
}
