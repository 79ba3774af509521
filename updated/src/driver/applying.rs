//! Applying what is ready, and watching over a system that was started by it.

use bus::interfaces::update::{Happening, State as Stage};
use bus::update_link::{FromUpdated, System};
use service_api::release::Role;
use service_api::updates::Stage as Told;
use tokio::time::{Duration, Instant, sleep};

use super::{Driver, FOR_EVER, SETTLES_S, chance, which};
use crate::job::{Job, tidy, verity};
use crate::kept::Armed;
use crate::link::AskError;
use crate::settings::Settings;
use crate::trial::{Seen, Trial, Verdict};

/// How long before it happens who watches is told for the last time.
const FINAL: Duration = Duration::from_secs(10);
/// How long a boot that was asked for may take to begin.
const REBOOT: Duration = Duration::from_secs(120);
/// How often a system is armed that never runs then, so that a boot loader which does not take it costs no more boots.
const ARMED_MAX: u32 = 10;
const NEVER_RAN: &str = "it was armed ten times, and the device never ran it";

impl Driver {
    /// Applies what is ready, which nobody puts off any more; gives when it is tried again.
    pub(super) async fn apply(&mut self, job: &mut Job, settings: &Settings) -> Option<Instant> {
        self.show_with(job, Stage::Applying);
        let watched =
            job.targets.iter().any(|target| self.state.notices.is_watched(&which(job.os, &target.of)));
        if watched {
            let at_s = self.state.now_s() + FINAL.as_secs();
            for target in &job.targets {
                self.state.happens(&which(job.os, &target.of), Happening::Final, &target.version, Some(at_s));
            }
            sleep(FINAL).await;
        }
        let applied = if job.os { self.arm(job).await } else { self.install(job, settings).await };
        let Err(error) = applied else { return None };
        if error == AskError::Anew {
            job.forget();
            return Some(Instant::now());
        }
        let (why, now_s) = (error.to_string(), self.state.now_s());
        let wait_ms = job.refusals.failed(chance());
        let why = if job.rests() {
            format!("{why}; not tried again until the device starts, or its owner asks")
        } else {
            why
        };
        self.state.keep(|kept| {
            for target in &job.targets {
                // What is not tried again here the service should not offer again.
                let is_over = kept.failed.contains_key(&target.path);
                kept.note(&target.path, if is_over { Told::RolledBack } else { Told::Failed }, &why, now_s);
                // What was refused is not believed to be what it was: it is made again.
                if job.os {
                    kept.unmade(&target.path);
                }
            }
        });
        tidy(&self.state);
        self.state.say(&format!("not applied: {why}"));
        *self.state.notices.failure.borrow_mut() = Some(why);
        self.report_soon();
        job.forget();
        job.at = Instant::now() + if job.rests() { FOR_EVER } else { Duration::from_millis(wait_ms) };
        Some(job.at)
    }

    async fn arm(&mut self, job: &Job) -> Result<(), AskError> {
        let (Some(loaded), Some(target)) = (job.loaded(), job.targets.first()) else {
            return Err(AskError::Anew);
        };
        let Some(release) = loaded.releases.first() else { return Err(AskError::Anew) };
        let kernel = loaded.kernel().map_err(|e| AskError::Refused(format!("the kernel image: {e}")))?;
        let running = self.running();
        // Before it is armed: from then on a power cut is enough to start it.
        let often = self.state.keep(|kept| {
            let learnt = kept.learnt.get_mut(&target.path);
            let often = learnt.map_or(0, |learnt| {
                learnt.armed = learnt.armed.saturating_add(1);
                learnt.armed
            });
            if often > ARMED_MAX {
                kept.fail(&target.path, NEVER_RAN);
            }
            often
        });
        if often > ARMED_MAX {
            return Err(AskError::Refused(NEVER_RAN.to_owned()));
        }
        let armed = Armed {
            release: target.path.clone(),
            version: target.version.clone(),
            apps: running,
            service: self.reached,
            unreached: false,
        };
        self.state
            .keep_surely(|kept| kept.armed = Some(armed))
            .map_err(|e| AskError::Refused(format!("what it has to show could not be kept: {e}")))?;
        let arm = FromUpdated::Arm(target.version.clone(), verity(release, Role::Root), release.floor);
        if let Err(e) = self.state.desk.ask(&arm, vec![kernel]).await {
            // Nobody knows whether one that was started anew did it first: it is disarmed by asking for the slot.
            if e != AskError::Anew {
                self.state.keep(|kept| {
                    kept.armed = None;
                    // It was not.
                    let learnt = kept.learnt.get_mut(&target.path);
                    learnt.into_iter().for_each(|learnt| learnt.armed = learnt.armed.saturating_sub(1));
                });
            }
            return Err(e);
        }
        if let Some(system) = &mut self.state.facts.borrow_mut().system {
            // How it ended the last time, if this is not the first.
            system.failed = None;
        }
        self.state.say(&format!("the device boots into version={}", target.version));
        self.state.desk.tell(&FromUpdated::Reboot);
        sleep(REBOOT).await;
        // It did not boot: whoever should have done that was started anew.
        Err(AskError::Anew)
    }

    async fn install(&mut self, job: &mut Job, settings: &Settings) -> Result<(), AskError> {
        let Some(loaded) = job.loaded() else { return Err(AskError::Anew) };
        let packages = loaded.packages(&job.targets);
        let manifests: Result<Vec<_>, _> = loaded.manifests.iter().map(|fd| fd.try_clone()).collect();
        let manifests = manifests.map_err(|e| AskError::Refused(e.to_string()))?;
        let paths: Vec<String> = job.targets.iter().map(|target| target.path.clone()).collect();
        let now_s = self.state.now_s();
        // Before they are switched: whatever comes then is about them.
        let kept = self.state.keep_surely(|kept| {
            kept.on_trial.clone_from(&paths);
            kept.switched = false;
        });
        kept.map_err(|e| AskError::Refused(format!("what they have to show could not be kept: {e}")))?;
        let asked = self.state.desk.ask(&FromUpdated::Install(packages, settings.trial_s), manifests).await;
        if let Err(e) = asked {
            if matches!(e, AskError::Refused(_)) {
                self.state.keep(|kept| kept.on_trial.clear());
            }
            return Err(e);
        }
        self.state.keep(|kept| {
            kept.switched = true;
            for path in &paths {
                kept.note(path, Told::Trial, "", now_s);
                kept.unmade(path);
            }
        });
        tidy(&self.state);
        self.settles_at = Some(Instant::now() + Duration::from_secs((settings.trial_s + SETTLES_S).into()));
        self.report_soon();
        Ok(())
    }

    /// Watches over a system that was started by an update.
    pub(super) async fn trial(&mut self, system: &System) -> Instant {
        let armed = self.armed(system);
        let health_s = self.state.facts.borrow().settings.as_ref().map_or(600, |settings| settings.health_s);
        if self.trial.is_none() {
            let needs = armed.needs();
            self.trial = Some(Trial::new(needs, u64::from(health_s) * 1000));
            self.state.say(&format!("on trial version={}", system.version));
            let now_s = self.state.now_s();
            self.state.keep(|kept| {
                kept.note(&armed.release, Told::Trial, "", now_s);
                kept.armed = Some(armed);
            });
        }
        let running = self.running();
        let attested = self.state.facts.borrow().attested;
        let now_ms = (self.state.clock.boot_ms)();
        let Some(trial) = &mut self.trial else { return Instant::now() + FOR_EVER };
        match trial.judge(Seen { running: &running, reached: self.reached, attested }, now_ms) {
            Verdict::Wait(at_ms) => Instant::now() + Duration::from_millis(at_ms - now_ms),
            Verdict::Bad { why, unreached } => {
                self.state.keep(|kept| kept.armed.iter_mut().for_each(|armed| armed.unreached = unreached));
                self.give_up(&why)
            }
            Verdict::Good => match self.state.desk.ask(&FromUpdated::Bless, Vec::new()).await {
                Ok(_) => {
                    if let Some(system) = &mut self.state.facts.borrow_mut().system {
                        system.trial = false;
                    }
                    self.trial = None;
                    Instant::now()
                }
                Err(AskError::Refused(why)) if trial.is_over(now_ms) => self.give_up(&why),
                Err(e) => {
                    self.say_once(&format!("the system is not taken for good yet: {e}"));
                    Instant::now() + Duration::from_secs(10)
                }
            },
        }
    }

    /// Has the device go back to the system before; gives when that should have happened.
    fn give_up(&self, why: &str) -> Instant {
        self.state.say(&format!("the system is not well: {why}"));
        self.state.desk.tell(&FromUpdated::Fail(why.chars().take(300).collect()));
        Instant::now() + REBOOT
    }

    /// What was kept of the system that is on trial; of one that nobody kept anything of, what is known of it.
    fn armed(&self, system: &System) -> Armed {
        let kept = self.state.kept.borrow().armed.clone().filter(|armed| armed.version == system.version);
        kept.unwrap_or_else(|| {
            let release = self.state.running_release().unwrap_or_default();
            let service = self.state.facts.borrow().service.is_some();
            Armed { release, version: system.version.clone(), apps: Vec::new(), service, unreached: false }
        })
    }

    fn running(&self) -> Vec<String> {
        let facts = self.state.facts.borrow();
        facts.apps.values().filter(|app| app.running).map(|app| app.id.clone()).collect()
    }
}
