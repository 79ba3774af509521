//! What is done next: asking the service, fetching, waiting for the right moment, applying, watching over a trial.
//!
//! One task, which does one thing at a time and looks at everything anew after each. It may be killed at any point: what is
//! kept says where to go on, and what sandboxd tells at the beginning says what became of it.

mod aftermath;
mod applying;
mod asking;

use std::collections::BTreeSet;
use std::rc::Rc;

use bus::interfaces::update::{Happening, State as Stage};
use bus::update_link::{App, Came, FromUpdated};
use service_api::Text;
use service_api::updates::{Answer, Outcome, Stage as Told, Window};
use tokio::task::spawn_local;
use tokio::time::{Duration, Instant};

use crate::connect;
use crate::fetch::Way;
use crate::job::{Job, JobError};
use crate::link::AskError;
use crate::notices::{Coming, Target as Which};
use crate::retry::{Retry, Throttle};
use crate::road::{Repository, Road};
use crate::settings::Settings;
use crate::state::State;
use crate::trial::Trial;
use crate::turn::Next;
use crate::want::{Runs, Wanted, wanted};

/// Nothing is due; a month, after which that is looked at again.
const FOR_EVER: Duration = Duration::from_secs(30 * 86_400);
/// How long what the service should hear is gathered.
const GATHER: Duration = Duration::from_secs(5);
/// How long what is signed of an update may have been looked at before it is applied.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// Failures in a row after which the service hears of them.
const FAILURES_TOLD: u32 = 3;
/// Failures in a row, an hour of them, after which it is told to have failed, though it is still tried.
const FAILURES_MANY: u32 = 12;
/// When what could not be removed is tried again.
const REMOVE_AGAIN: Duration = Duration::from_secs(900);
/// How long after the device booted every manifest was read that can be.
const MANIFESTS_MS: u64 = 120_000;
/// How long after the end of its trial an app's word is waited for, seconds.
const SETTLES_S: u32 = 15 * 60;

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
        spawn_local(asking::waits(self.state.clone(), self.generation.clone()));
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

    /// Gives up what was carried here.
    fn carried_ends(&self) {
        let carried = self.state.facts.borrow_mut().carried.take();
        if carried.is_some_and(|carried| carried.came == Came::Developer) {
            // Its bytes would lie there until the device boots.
            self.state.say("nothing more is wanted of what a developer has sent");
            self.state.desk.tell(&FromUpdated::CarriedEnd);
        }
    }

    fn say_once(&mut self, text: &str) {
        if self.said != text {
            self.state.say(text);
            self.said = text.to_owned();
        }
    }

    /// What of the answer is to be done: begins it, and gives up what is not wanted any more.
    fn plan(&mut self, answer: &Answer, settings: &Settings) {
        let mut wanted = self.wanted_at_all(answer, settings);
        let now_s = self.state.now_s();
        // Told once, and again when we were started anew.
        let refused: Vec<_> =
            wanted.refused.iter().filter(|one| !self.refused.contains(one)).cloned().collect();
        self.refused.clone_from(&wanted.refused);
        // What has its turn later, or is the service's while a disk is there, is not forgotten for that.
        let service = self.answer.as_ref().filter(|service| *service != answer);
        let later = service.map(|service| self.wanted_at_all(service, settings)).unwrap_or_default();
        let all = [&wanted, &later].into_iter().flat_map(|wanted| wanted.os.iter().chain(&wanted.apps));
        let all: BTreeSet<&str> = all.map(|target| target.path.as_str()).collect();
        let all: Vec<&str> = all.into_iter().collect();
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
        if self.waits_for_apps() {
            wanted.apps.clear();
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
        // What a developer sends is sent once; a disk is there until somebody takes it out.
        let sent =
            self.state.facts.borrow().carried.as_ref().is_some_and(|carried| carried.came == Came::Developer);
        if sent && self.os.is_none() && self.apps.is_none() && !self.waits_for_apps() {
            self.carried_ends();
        }
    }

    /// What has its turn now.
    fn wanted(&self, answer: &Answer, settings: &Settings) -> Wanted {
        let mut wanted = self.wanted_at_all(answer, settings);
        if self.waits_for_apps() {
            wanted.apps.clear();
            wanted.remove.clear();
        }
        wanted
    }

    fn wanted_at_all(&self, answer: &Answer, settings: &Settings) -> Wanted {
        let (facts, kept) = (self.state.facts.borrow(), self.state.kept.borrow());
        let apps: Vec<App> = facts.apps.values().cloned().collect();
        let now_s = self.state.now_s();
        let failed = |path: &str| kept.is_out(path, now_s);
        let os = facts.system.as_ref().map(|system| system.version.as_str());
        wanted(answer, Runs { os, apps: &apps, failed: &failed }, settings)
    }

    /// One transaction after the other; and what an app's version is, is known once its manifest was read.
    fn waits_for_apps(&self) -> bool {
        let (facts, kept) = (self.state.facts.borrow(), self.state.kept.borrow());
        let starting = (self.state.clock.boot_ms)() < MANIFESTS_MS
            && facts.apps.values().any(|app| app.version.is_empty());
        !kept.on_trial.is_empty() || starting
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
        // A disk that somebody forgot, or damaged, does not keep out what the service has.
        if !road.is_network() && self.state.way().is_some() {
            self.carried_ends();
        }
        if job.went_further() {
            job.retry.went_on();
        }
        let wait_ms = job.retry.failed(chance());
        job.at = Instant::now() + Duration::from_millis(wait_ms);
        let why = error.to_string();
        self.say_once(&format!("{}: {why}", job.targets.first().map_or("", |target| &target.path)));
        // A network that comes and goes is no fault of the release, by which a roll-out would be stopped.
        let stage = if error.is_of_release() || job.retry.failures() >= FAILURES_MANY {
            Told::Failed
        } else {
            Told::Fetching
        };
        if job.retry.failures() >= FAILURES_TOLD {
            self.note_once(job, stage, &why);
        }
        *self.state.notices.failure.borrow_mut() = Some(why);
        Some(job.at)
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

/// A number by chance, of the kernel's.
fn chance() -> u32 {
    let mut bytes = [0; 4];
    // Without it everybody would come at once: that is all that hangs on it.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    u32::from_ne_bytes(bytes)
}
