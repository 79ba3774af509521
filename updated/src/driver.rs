//! What is done next: asking the service, fetching, waiting for the right moment, applying, watching over a trial.
//!
//! One task, which does one thing at a time and looks at everything anew after each. It may be killed at any point: what is
//! kept says where to go on, and what sandboxd tells at the beginning says what became of it.

use std::rc::Rc;

use bus::interfaces::update::{Happening, State as Stage};
use bus::update_link::{App, FromUpdated, System};
use service_api::release::Role;
use service_api::updates::{APPS_MAX, Answer, Check, Outcome, Running, Stage as Told, Window};
use service_api::{Few, Text};
use tokio::task::spawn_local;
use tokio::time::{Duration, Instant, sleep};
use tuf::hex;

use crate::connect;
use crate::fetch::Way;
use crate::job::{Job, JobError, clean, verity};
use crate::kept::Armed;
use crate::link::AskError;
use crate::notices::{Coming, Target as Which};
use crate::retry::{Retry, Throttle, portion};
use crate::road::{Repository, Road, base};
use crate::service;
use crate::settings::Settings;
use crate::state::State;
use crate::trial::{Seen, Trial, Verdict};
use crate::turn::Next;
use crate::want::{Runs, Wanted, wanted};

/// Nothing is due; a month, after which that is looked at again.
const FOR_EVER: Duration = Duration::from_secs(30 * 86_400);
/// Between two checks whatever the service says, seconds.
const CHECK_LEAST_S: u32 = 60;
/// How long what the service should hear is gathered.
const GATHER: Duration = Duration::from_secs(5);
/// Between two checks while a system is on trial that fail.
const TRIAL_RETRY_MS: u64 = 20_000;
/// How long before it happens who watches is told for the last time.
const FINAL: Duration = Duration::from_secs(10);
/// How long what is signed of an update may have been looked at before it is applied.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// How long a boot that was asked for may take to begin.
const REBOOT: Duration = Duration::from_secs(120);
/// How often a system may be armed, or apps be refused, without anything coming of it.
const TRIES_MAX: u32 = 3;
/// How often a system is armed that never runs then, so that a boot loader which does not take it costs no more boots.
const ARMED_MAX: u32 = 10;
const NEVER_RAN: &str = "it was armed ten times, and the device never ran it";
/// Failures in a row after which the service hears of them.
const FAILURES_TOLD: u32 = 3;
/// When what could not be removed is tried again.
const REMOVE_AGAIN: Duration = Duration::from_secs(900);
/// How long after the device booted every manifest was read that can be.
const MANIFESTS_MS: u64 = 120_000;
/// How long after the end of its trial an app's word is waited for, seconds.
const SETTLES_S: u32 = 120;

/// See the module.
pub struct Driver {
    state: Rc<State>,
    answer: Option<Answer>,
    check_at: Instant,
    checks: Retry,
    generation: Rc<tokio::sync::watch::Sender<Option<u64>>>,
    os: Option<Job>,
    apps: Option<Job>,
    trial: Option<Trial>,
    reached: bool,
    throttle: Throttle,
    began: Instant,
    /// When an app's trial has ended without a word.
    settles_at: Option<Instant>,
    /// What was said last that it waits for.
    said: String,
    /// Releases that are passed over, and why, as it was told.
    refused: Vec<(String, String)>,
    /// When what could not be removed is tried again.
    remove_at: Instant,
}

impl Driver {
    /// Begins.
    pub fn new(state: Rc<State>) -> Self {
        let now = Instant::now();
        Self {
            state,
            answer: None,
            check_at: now,
            checks: Retry::default(),
            generation: Rc::new(tokio::sync::watch::Sender::new(None)),
            os: None,
            apps: None,
            trial: None,
            reached: false,
            throttle: Throttle::new(None),
            began: now,
            settles_at: None,
            said: String::new(),
            refused: Vec::new(),
            remove_at: now,
        }
    }

    /// Goes on for ever.
    pub async fn run(mut self) {
        spawn_local(waits(self.state.clone(), self.generation.clone()));
        loop {
            let until = self.turn().await;
            self.show();
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.state.wake.notified() => {}
            }
        }
    }

    /// Does what is due; gives when something is again.
    async fn turn(&mut self) -> Instant {
        let far = Instant::now() + FOR_EVER;
        if !self.state.facts.borrow().synced {
            return far;
        }
        if self.state.anew.take() {
            self.os.iter_mut().chain(&mut self.apps).for_each(Job::forget);
        }
        self.look_back();
        let way = self.state.way();
        let carried = self.state.facts.borrow().carried.is_some();
        match &way {
            None if carried => {}
            None => self.say_once(&self.state.why_no_way()),
            Some(way) => {
                let asked = self.state.check_now.take();
                if asked || self.check_at <= Instant::now() {
                    self.check(way).await;
                }
            }
        }
        let check_at = if way.is_some() { self.check_at } else { far };
        let system = self.state.facts.borrow().system.clone();
        if let Some(system) = system.filter(|system| system.trial) {
            return self.trial(&system).await.min(check_at);
        }
        let settings = self.state.facts.borrow().settings.clone();
        let Some(settings) = settings else { return check_at };
        let Some((road, answer)) = self.road(way, &settings) else { return check_at };
        self.plan(&answer, &settings);
        self.work(&road, &settings, &answer).await.min(check_at)
    }

    /// Where releases come from, and which: from what was carried here as long as there is something in it for this device, else
    /// from the service.
    fn road(&self, way: Option<connect::Way>, settings: &Settings) -> Option<(Road, Answer)> {
        if let Some(carried) = self.state.facts.borrow().carried.clone() {
            let answer = carried.answer();
            let wanted = self.wanted(&answer, settings);
            if wanted.os.is_some() || !wanted.apps.is_empty() || way.is_none() {
                return Some((Road::Carried(carried.archive), answer));
            }
        }
        Some((Road::Service(Box::new(way?)), self.answer.clone()?))
    }

    fn say_once(&mut self, text: &str) {
        if self.said != text {
            self.state.say(text);
            self.said = text.to_owned();
        }
    }

    /// What became of what was applied before we were started.
    fn look_back(&mut self) {
        let system = self.state.facts.borrow().system.clone();
        let armed = self.state.kept.borrow().armed.clone();
        if let (Some(system), Some(armed)) = (system, armed)
            && !system.trial
        {
            let failed = system.failed.filter(|(version, _)| *version == armed.version);
            if let Some((_, why)) = failed {
                self.gone_back(&armed.release, &why);
            } else if system.version == armed.version {
                self.complete(&armed);
            }
            // Or it was armed and still is: until the slot is asked for again, a power cut starts it.
        }
        if std::mem::take(&mut self.state.facts.borrow_mut().on_trial)
            && !self.state.kept.borrow().on_trial.is_empty()
        {
            self.state.keep(|kept| kept.switched = true);
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
            kept.armed = None;
        });
        clean(&self.state);
        self.state.say(&format!("updated system version={}", armed.version));
        self.state.happens(&Which::Os, Happening::Complete, &armed.version, None);
        self.os = None;
        self.report_soon();
    }

    fn gone_back(&mut self, release: &str, why: &str) {
        let now_s = self.state.now_s();
        self.state.keep(|kept| {
            kept.note(release, Told::RolledBack, why, now_s);
            kept.fail(release, why);
            kept.armed = None;
        });
        clean(&self.state);
        self.state.say(&format!("the system went back from {release}: {why}"));
        self.os = None;
        self.report_soon();
    }

    /// The service hears of what was noted, soon.
    fn report_soon(&mut self) {
        if self.checks.failures() == 0 {
            self.check_at = self.check_at.min(Instant::now() + GATHER);
        }
    }

    async fn check(&mut self, way: &connect::Way) {
        let told: Vec<Outcome> = self.state.kept.borrow().outcomes.clone();
        let Some(what) = self.what(told.clone()) else {
            self.say_once("the system's version is none that the service could be told");
            self.check_at = Instant::now() + FOR_EVER;
            return self.state.checked(Some(self.said.clone()));
        };
        let failure = match service::check(way, &what).await {
            Ok(answer) => {
                self.reached = true;
                self.checks.went_on();
                self.state.keep(|kept| kept.told(&told));
                self.reach(way, &answer);
                let settings_s =
                    self.state.facts.borrow().settings.as_ref().map_or(u32::MAX, |settings| settings.check_s);
                let wait_ms =
                    u64::from(answer.check_after_s.clamp(CHECK_LEAST_S, settings_s.max(CHECK_LEAST_S)))
                        * 1000;
                let sooner_ms = portion(wait_ms / 10, chance());
                self.check_at = Instant::now() + Duration::from_millis(wait_ms - sooner_ms);
                self.generation.send_replace(Some(answer.generation));
                if self.answer.as_ref() != Some(&answer) {
                    self.remove_at = Instant::now();
                }
                self.answer = Some(answer);
                self.said.clear();
                None
            }
            Err(e) => {
                let on_trial = self.state.facts.borrow().system.as_ref().is_some_and(|system| system.trial);
                let wait_ms =
                    self.checks.failed(chance()).min(if on_trial { TRIAL_RETRY_MS } else { u64::MAX });
                self.check_at = Instant::now() + Duration::from_millis(wait_ms);
                self.say_once(&format!("updates are not known: {e}"));
                Some(e.to_string())
            }
        };
        if self.state.insists.get() && failure.is_none() {
            self.state.keep(|kept| kept.failed.clear());
            for job in self.os.iter_mut().chain(&mut self.apps) {
                job.at = Instant::now();
            }
        }
        *self.state.notices.failure.borrow_mut() = failure.clone();
        self.plan_after_check();
        self.show();
        self.state.checked(failure);
    }

    fn plan_after_check(&mut self) {
        let settings = self.state.facts.borrow().settings.clone();
        let on_trial = self.state.facts.borrow().system.as_ref().is_some_and(|system| system.trial);
        if let (Some(settings), false) = (settings, on_trial)
            && let Some((_, answer)) = self.road(self.state.way(), &settings)
        {
            self.plan(&answer, &settings);
        }
    }

    fn what(&self, told: Vec<Outcome>) -> Option<Check> {
        let facts = self.state.facts.borrow();
        let nothing = System::default();
        let system = facts.system.as_ref().unwrap_or(&nothing);
        let version = if system.version.is_empty() { "0" } else { &system.version };
        let running = |app: &App| Running { app: Text::shown(&app.id), version: Text::shown(&app.version) };
        // One whose manifest was not read yet has no version.
        let known = facts.apps.values().filter(|app| !app.version.is_empty());
        let apps: Vec<Running> = known.take(APPS_MAX).map(running).collect();
        Some(Check {
            os: version.parse().ok()?,
            root_hash: hex::encode(&system.root_hash).parse().ok()?,
            apps: Few::new(apps)?,
            outcomes: Few::new(told)?,
        })
    }

    /// Has the firewall let us go where the service sends us.
    fn reach(&self, way: &connect::Way, answer: &Answer) {
        let mut all = vec![way.service.address()];
        if let Some(base) = base(way, answer.repository.as_str()) {
            all.push(address(&base.host, base.port));
        }
        let facts = self.state.facts.borrow();
        let stores = facts.settings.iter().flat_map(|settings| &settings.stores);
        all.extend(stores.map(|(host, port)| address(host, *port)));
        all.dedup();
        self.state.desk.tell(&FromUpdated::Reach(all));
    }

    /// What of the answer is to be done: begins it, and gives up what is not wanted any more.
    fn plan(&mut self, answer: &Answer, settings: &Settings) {
        let wanted = self.wanted(answer, settings);
        let now_s = self.state.now_s();
        // Told once, and again when we were started anew.
        let refused: Vec<_> =
            wanted.refused.iter().filter(|one| !self.refused.contains(one)).cloned().collect();
        self.refused.clone_from(&wanted.refused);
        let all: Vec<&str> =
            wanted.os.iter().chain(&wanted.apps).map(|target| target.path.as_str()).collect();
        let is_new = {
            let kept = self.state.kept.borrow();
            all.len() != kept.learnt.len() || all.iter().any(|path| !kept.learnt.contains_key(*path))
        };
        if is_new || !refused.is_empty() {
            self.state.keep(|kept| {
                kept.learn(&all, now_s);
                for (path, why) in &refused {
                    kept.note(path, Told::Failed, why, now_s);
                }
            });
        }
        if !refused.is_empty() {
            self.report_soon();
        }
        if self.os.as_ref().map(|job| job.targets.as_slice()) != wanted.os.as_ref().map(std::slice::from_ref)
        {
            self.os = wanted.os.map(|target| Job::new(true, vec![target]));
        }
        if self.apps.as_ref().map_or(&[][..], |job| &job.targets) != wanted.apps {
            self.apps = Some(wanted.apps).filter(|apps| !apps.is_empty()).map(|apps| Job::new(false, apps));
        }
        if self.os.is_none() && self.apps.is_none() {
            self.state.insists.set(false);
        }
    }

    fn wanted(&self, answer: &Answer, settings: &Settings) -> Wanted {
        let (facts, kept) = (self.state.facts.borrow(), self.state.kept.borrow());
        let apps: Vec<App> = facts.apps.values().cloned().collect();
        let failed = |path: &str| kept.failed.contains_key(path);
        let os = facts.system.as_ref().map(|system| system.version.as_str());
        let mut wanted = wanted(answer, Runs { os, apps: &apps, failed: &failed }, settings);
        // One transaction after the other; and what an app's version is, is known once its manifest was read.
        let starting =
            (self.state.clock.boot_ms)() < MANIFESTS_MS && apps.iter().any(|app| app.version.is_empty());
        if !kept.on_trial.is_empty() || starting {
            wanted.apps.clear();
            wanted.remove.clear();
        }
        wanted
    }

    /// Fetches, waits, applies. Gives when something is due again.
    async fn work(&mut self, road: &Road, settings: &Settings, answer: &Answer) -> Instant {
        let mut next = self.settles_at.unwrap_or_else(|| Instant::now() + FOR_EVER);
        if self.remove_at <= Instant::now() {
            self.remove(answer, settings).await;
        }
        next = next.min(self.remove_at.max(Instant::now() + GATHER));
        for os in [true, false] {
            let slot = if os { &mut self.os } else { &mut self.apps };
            let Some(mut job) = slot.take() else { continue };
            let due = self.go_on(&mut job, road, settings, answer).await;
            match due {
                // What was applied is not there any more.
                None => next = Instant::now(),
                Some(at) => {
                    next = next.min(at);
                    *(if os { &mut self.os } else { &mut self.apps }) = Some(job);
                }
            }
        }
        next
    }

    /// Removes what is to go.
    async fn remove(&mut self, answer: &Answer, settings: &Settings) {
        self.remove_at = Instant::now() + FOR_EVER;
        for id in self.wanted(answer, settings).remove {
            match self.state.desk.ask(&FromUpdated::Remove(id.clone()), Vec::new()).await {
                Ok(_) => {
                    self.state.facts.borrow_mut().apps.remove(&id);
                    self.state.say(&format!("removed app={id}"));
                }
                Err(e) => {
                    self.say_once(&format!("{id} is not removed: {e}"));
                    self.remove_at = Instant::now() + REMOVE_AGAIN;
                }
            }
        }
    }

    /// Goes on with one update; gives when that is due again, or nothing when it is not wanted any more.
    async fn go_on(
        &mut self,
        job: &mut Job,
        road: &Road,
        settings: &Settings,
        answer: &Answer,
    ) -> Option<Instant> {
        if !job.ready {
            if job.at > Instant::now() {
                return Some(job.at);
            }
            if settings.metered && road.is_network() && !self.state.insists.get() {
                self.note_once(
                    job,
                    Told::Deferred,
                    "the network costs money; gabion update check fetches it all the same",
                );
                job.at = Instant::now() + FOR_EVER;
                return Some(job.at);
            }
            // Once: what fails and is tried again is told as failing.
            if job.told.borrow().is_none() {
                self.note_once(job, Told::Fetching, "");
            }
            self.show_with(job, Stage::Fetching);
            if let Some(at) = self.fetch(job, road, settings, answer).await {
                return Some(at);
            }
            let now_s = self.state.now_s();
            let paths: Vec<String> = job.targets.iter().map(|target| target.path.clone()).collect();
            self.state.keep(|kept| {
                for path in &paths {
                    if let Some(learnt) = kept.learnt.get_mut(path) {
                        learnt.ready_s = learnt.ready_s.or(Some(now_s));
                    }
                    kept.note(path, Told::Pending, "", now_s);
                }
            });
            self.report_soon();
            self.state.say(&format!(
                "ready {}",
                job.targets.iter().map(|target| target.path.as_str()).collect::<Vec<_>>().join(" ")
            ));
        }
        self.show_with(job, Stage::Pending);
        let now_s = self.state.now_s();
        let put_off =
            |path: &str| self.state.kept.borrow().learnt.get(path).and_then(|learnt| learnt.until_s);
        if job.targets.iter().any(|target| put_off(&target.path).is_some_and(|until_s| until_s > now_s)) {
            self.note_once(job, Told::Deferred, "somebody put it off");
        }
        match self.next(job, now_s, [settings.windows.as_slice(), &answer.windows]) {
            Next::Never => {
                self.note_once(job, Told::Deferred, "there is no hour in which it may be applied");
                Some(Instant::now() + FOR_EVER)
            }
            Next::Wait(at_s) => {
                if job.announced != Some(at_s) {
                    job.announced = Some(at_s);
                    for target in &job.targets {
                        self.state.happens(
                            &which(job.os, &target.of),
                            Happening::Pending,
                            &target.version,
                            Some(at_s),
                        );
                    }
                }
                Some(Instant::now() + Duration::from_secs(at_s - now_s))
            }
            Next::Now => {
                let since = job.ready_at.get_or_insert_with(Instant::now);
                if since.elapsed() > LOOK_AGAIN
                    && let Some(at) = self.look_again(job, road, settings, answer).await
                {
                    return Some(at);
                }
                self.apply(job, settings).await
            }
        }
    }

    /// The latest turn of all that belong together.
    fn next(&self, job: &Job, now_s: u64, windows: [&[Window]; 2]) -> Next {
        let turns = job.targets.iter().map(|target| {
            let coming = coming(job.os, target, Stage::Pending);
            let watched = self.state.notices.is_watched(&coming.target);
            self.state.turn(&coming).map_or(Next::Now, |turn| turn.next(now_s, windows, watched))
        });
        turns.fold(Next::Now, |one, other| match (one, other) {
            (Next::Never, _) | (_, Next::Never) => Next::Never,
            (Next::Wait(a), Next::Wait(b)) => Next::Wait(a.max(b)),
            (Next::Wait(at), Next::Now) | (Next::Now, Next::Wait(at)) => Next::Wait(at),
            (Next::Now, Next::Now) => Next::Now,
        })
    }

    /// The repository.
    fn source(&mut self, road: &Road, settings: &Settings, answer: &Answer) -> Option<Repository> {
        let rate = settings.bytes_per_s.filter(|_| road.is_network());
        if self.throttle.rate() != rate {
            self.throttle = Throttle::new(rate);
        }
        road.repository(answer)
    }

    /// Looks once more at what has waited for long; gives when it is tried again, or nothing when it may be applied. What can
    /// not be looked at, as there is no network, was looked at when it was fetched.
    async fn look_again(
        &mut self,
        job: &mut Job,
        road: &Road,
        settings: &Settings,
        answer: &Answer,
    ) -> Option<Instant> {
        let mut source = self.source(road, settings, answer)?;
        let mut from = Way { source: &mut source, throttle: &mut self.throttle, began: self.began };
        let why = match job.is_still_signed(&self.state, &mut from).await {
            Ok(true) | Err(JobError::Unreachable(_)) => return None,
            Ok(false) => "the release was signed anew".to_owned(),
            Err(e) => e.to_string(),
        };
        job.forget();
        job.at = Instant::now() + Duration::from_millis(job.retry.failed(chance()));
        self.note_once(job, Told::Failed, &why);
        self.say_once(&format!("not applied: {why}"));
        *self.state.notices.failure.borrow_mut() = Some(why);
        Some(job.at)
    }

    /// Fetches what is left; gives when it is tried again, or nothing once all of it is there.
    async fn fetch(
        &mut self,
        job: &mut Job,
        road: &Road,
        settings: &Settings,
        answer: &Answer,
    ) -> Option<Instant> {
        let Some(mut source) = self.source(road, settings, answer) else {
            self.note_once(job, Told::Failed, "the service names no repository");
            return Some(Instant::now() + FOR_EVER);
        };
        let before = job.fetched();
        let mut from = Way { source: &mut source, throttle: &mut self.throttle, began: self.began };
        let fetched = tokio::select! {
            fetched = job.fetch(&self.state, &mut from) => fetched,
            () = self.state.interrupt.notified() => return Some(Instant::now()),
        };
        let Err(error) = fetched else {
            job.retry.went_on();
            *self.state.notices.failure.borrow_mut() = None;
            return None;
        };
        if matches!(error, JobError::Sandboxd(AskError::Anew)) {
            job.forget();
            return Some(Instant::now());
        }
        if job.fetched() > before {
            job.retry.went_on();
        }
        let wait_ms = job.retry.failed(chance());
        job.at = Instant::now() + Duration::from_millis(wait_ms);
        let why = error.to_string();
        self.say_once(&format!("{}: {why}", job.targets.first().map_or("", |target| &target.path)));
        if job.retry.failures() >= FAILURES_TOLD {
            self.note_once(job, Told::Failed, &why);
        }
        *self.state.notices.failure.borrow_mut() = Some(why);
        Some(job.at)
    }

    /// Applies what is ready, which nobody puts off any more; gives when it is tried again.
    async fn apply(&mut self, job: &mut Job, settings: &Settings) -> Option<Instant> {
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
        let given_up = job.retry.failures() + 1 >= TRIES_MAX;
        self.state.keep(|kept| {
            for target in &job.targets {
                kept.note(&target.path, Told::Failed, &why, now_s);
                if given_up {
                    kept.fail(&target.path, &why);
                }
                // What was refused is not believed to be what it was: it is made again.
                if job.os {
                    kept.images.retain(|name, _| !name.starts_with(&format!("{}#", target.path)));
                }
            }
        });
        if job.os {
            clean(&self.state);
        }
        self.state.say(&format!("not applied: {why}"));
        *self.state.notices.failure.borrow_mut() = Some(why);
        self.report_soon();
        job.forget();
        let failures = job.retry.failures();
        let wait_ms = job.retry.failed(chance());
        job.at = Instant::now() + Duration::from_millis(wait_ms);
        (failures + 1 < TRIES_MAX).then_some(job.at)
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
        self.state.keep(|kept| {
            kept.armed = Some(Armed {
                release: target.path.clone(),
                version: target.version.clone(),
                apps: running,
                service: self.reached,
            });
        });
        let arm = FromUpdated::Arm(target.version.clone(), verity(release, Role::Root), release.floor);
        if let Err(e) = self.state.desk.ask(&arm, vec![kernel]).await {
            self.state.keep(|kept| kept.armed = None);
            return Err(e);
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
        self.state.keep(|kept| {
            kept.on_trial.clone_from(&paths);
            kept.switched = false;
        });
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
                kept.images.retain(|name, _| !name.starts_with(&format!("{path}#")));
            }
        });
        self.settles_at = Some(Instant::now() + Duration::from_secs((settings.trial_s + SETTLES_S).into()));
        self.report_soon();
        Ok(())
    }

    /// Watches over a system that was started by an update.
    async fn trial(&mut self, system: &System) -> Instant {
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
            Verdict::Bad(why) => {
                self.state.say(&format!("the system is not well {why}"));
                self.state.desk.tell(&FromUpdated::Fail(why.chars().take(300).collect()));
                Instant::now() + REBOOT
            }
            Verdict::Good => match self.state.desk.ask(&FromUpdated::Bless, Vec::new()).await {
                Ok(_) => {
                    if let Some(system) = &mut self.state.facts.borrow_mut().system {
                        system.trial = false;
                    }
                    self.trial = None;
                    Instant::now()
                }
                Err(e) => {
                    self.say_once(&format!("the system is well, which can not be written down: {e}"));
                    Instant::now() + Duration::from_secs(10)
                }
            },
        }
    }

    /// What was kept of the system that is on trial; of one that nobody kept anything of, what is known of it.
    fn armed(&self, system: &System) -> Armed {
        let kept = self.state.kept.borrow().armed.clone().filter(|armed| armed.version == system.version);
        kept.unwrap_or_else(|| {
            let release = self.state.running_release().unwrap_or_default();
            Armed { release, version: system.version.clone(), apps: Vec::new(), service: false }
        })
    }

    fn running(&self) -> Vec<String> {
        let facts = self.state.facts.borrow();
        facts.apps.values().filter(|app| app.running).map(|app| app.id.clone()).collect()
    }

    /// Takes note for the service, unless the last that it was told of the release says the same.
    fn note_once(&mut self, job: &Job, stage: Told, reason: &str) {
        let now_s = self.state.now_s();
        let reason = Text::<256>::shown(reason);
        let kept = self.state.kept.borrow();
        let same = |outcome: &Outcome, path: &str| {
            outcome.release.as_str() == path && outcome.stage == stage && outcome.reason == reason
        };
        let news = job.targets.iter().map(|target| target.path.clone());
        let news: Vec<String> =
            news.filter(|path| !kept.outcomes.iter().any(|outcome| same(outcome, path))).collect();
        drop(kept);
        if !news.is_empty()
            && job.told.replace(Some((stage, reason.clone()))) != Some((stage, reason.clone()))
        {
            self.state
                .keep(|kept| news.iter().for_each(|path| kept.note(path, stage, reason.as_str(), now_s)));
            self.report_soon();
        }
    }

    /// What is told on the bus.
    fn show(&self) {
        let all = self.os.iter().chain(&self.apps).flat_map(|job| {
            let stage = if job.ready { Stage::Pending } else { Stage::Fetching };
            job.targets.iter().map(move |target| coming(job.os, target, stage))
        });
        let mut all: Vec<Coming> = all.collect();
        let kept = self.state.kept.borrow();
        let on_trial = self.state.facts.borrow().system.as_ref().is_some_and(|system| system.trial);
        if let Some(armed) = kept.armed.as_ref().filter(|_| on_trial) {
            all.retain(|coming| coming.target != Which::Os);
            all.push(Coming {
                target: Which::Os,
                version: armed.version.clone(),
                release: armed.release.clone(),
                stage: Stage::Applying,
            });
        }
        *self.state.notices.coming.borrow_mut() = all;
    }

    /// The same of one that is in hand.
    fn show_with(&self, job: &Job, stage: Stage) {
        self.show();
        let mut all = self.state.notices.coming.borrow_mut();
        for target in &job.targets {
            let this = coming(job.os, target, stage);
            all.retain(|coming| coming.target != this.target);
            all.push(this);
        }
    }
}

/// Waits for the service to say that something changed, for ever.
async fn waits(state: Rc<State>, generation: Rc<tokio::sync::watch::Sender<Option<u64>>>) {
    let mut known = generation.subscribe();
    let mut retry = Retry::default();
    loop {
        let now = *known.borrow_and_update();
        let (Some(generation), Some(way)) = (now, state.way()) else {
            if known.changed().await.is_err() {
                return;
            }
            continue;
        };
        let waited = tokio::select! {
            waited = service::wait(&way, generation) => waited,
            _ = known.changed() => continue,
        };
        match waited {
            Ok(()) => {
                retry.went_on();
                state.check_is_due();
                // Which comes back with another generation, or with the same: then it is not asked all the time.
                let _ =
                    tokio::time::timeout(Duration::from_secs(CHECK_LEAST_S.into()), known.changed()).await;
            }
            // The connection is gone, or the service: it is no hurry, as there are checks besides.
            Err(_) => sleep(Duration::from_millis(retry.failed(chance()))).await,
        }
    }
}

fn coming(os: bool, target: &crate::want::Target, stage: Stage) -> Coming {
    Coming {
        target: which(os, &target.of),
        version: target.version.clone(),
        release: target.path.clone(),
        stage,
    }
}

fn which(os: bool, of: &str) -> Which {
    if os { Which::Os } else { Which::App(of.to_owned()) }
}

/// As a manifest has it.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}/tcp") } else { format!("{host}:{port}/tcp") }
}

/// A number by chance, of the kernel's.
fn chance() -> u32 {
    let mut bytes = [0; 4];
    // Without it everybody would come at once: that is all that hangs on it.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    u32::from_ne_bytes(bytes)
}
