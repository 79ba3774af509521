//! What is done next: asking the service, fetching, waiting for the right moment, applying, watching over a trial.
//!
//! One task, which does one thing at a time and looks at everything anew after each. It may be killed at any point: what is
//! kept says where to go on, and what sandboxd tells at the beginning says what became of it.

mod aftermath;
mod applying;
mod asking;
mod fetching;
mod planning;

use std::collections::BTreeSet;
use std::rc::Rc;

use bus::interfaces::update::{Happening, State as Stage};
use bus::update_link::FromUpdated;
use service_api::Text;
use service_api::updates::{Answer, Outcome, Stage as Told, Window};
use tokio::task::spawn_local;
use tokio::time::{Duration, Instant};

use crate::job::{Job, tidy};
use crate::notices::{Coming, Target as Which};
use crate::retry::{Retry, Throttle};
use crate::road::Road;
use crate::settings::Settings;
use crate::state::State;
use crate::trial::Trial;
use crate::turn::Next;

/// Nothing is due; a month, after which that is looked at again.
const FOR_EVER: Duration = Duration::from_secs(30 * 86_400);
/// How long what the service should hear is gathered.
pub(crate) const GATHER: Duration = Duration::from_secs(5);
/// How long what is signed of an update may have been looked at before it is applied.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// When what could not be removed is tried again.
const REMOVE_AGAIN: Duration = Duration::from_secs(900);
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
    /// What became of an order that was begun before the start has been looked at.
    looked_at_orders: bool,
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
    /// Which images of apps sandboxd was told to keep the place of.
    images: Option<BTreeSet<(String, String)>>,
    /// What was carried here last, which may come back.
    carried: Option<Answer>,
    /// Until when nobody says whose fault it is that a system went back as the service was not reached.
    doubted: Option<Instant>,
}

impl Driver {
    /// Begins.
    pub fn new(state: Rc<State>) -> Self {
        let now = Instant::now();
        // Room, before anything has to be kept.
        tidy(&state);
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
            looked_at_orders: false,
            throttle: Throttle::new(None),
            began: now,
            settles_at: None,
            said: String::new(),
            refused: Vec::new(),
            remove_at: now,
            images: None,
            carried: None,
            doubted: None,
        }
    }

    /// Goes on for ever.
    pub async fn run(mut self) {
        spawn_local(asking::waits(self.state.clone(), self.generation.clone()));
        loop {
            let until = self.turn().await;
            let until = self.doubted.map_or(until, |ends| until.min(ends));
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
            None if carried => self.look_at_carried(),
            None => {
                let why = self.state.why_no_way();
                self.say_once(&why);
                self.state.answer_checks(Some(why));
            }
            Some(way) => {
                let asked = self.state.check_now.take();
                if asked || self.check_at <= Instant::now() {
                    self.check(way).await;
                }
            }
        }
        if self.carried_fails() {
            self.carried_ends();
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

    fn say_once(&mut self, text: &str) {
        if self.said != text {
            self.state.say(text);
            self.said = text.to_owned();
        }
    }

    /// Fetches, waits, applies. Gives when something is due again.
    async fn work(&mut self, road: &Road, settings: &Settings, answer: &Answer) -> Instant {
        let mut next = self.settles_at.unwrap_or_else(|| Instant::now() + FOR_EVER).min(self.silent());
        if !self.waits_for_apps() {
            if self.remove_at <= Instant::now() {
                self.remove(settings).await;
            }
            next = next.min(self.remove_at.max(Instant::now() + GATHER));
        }
        for os in [true, false] {
            // The service is asked before the next is fetched for hours.
            let is_due = self.state.way().is_some() && self.check_at <= Instant::now();
            if is_due || self.state.check_now.get() {
                next = Instant::now();
                break;
            }
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
        if self.carried_fails() { Instant::now() } else { next }
    }

    /// Removes what is to go by the service's word, wherever updates come from.
    async fn remove(&mut self, settings: &Settings) {
        self.remove_at = Instant::now() + FOR_EVER;
        let goes = self.answer.as_ref().map(|answer| self.wanted(answer, settings).remove);
        for id in goes.into_iter().flatten() {
            match self.state.desk.ask(&FromUpdated::Remove(id.clone()), Vec::new()).await {
                Ok(_) => {
                    self.state.facts.borrow_mut().apps.remove(&id);
                    self.state.say(&format!("removed app={id}"));
                    self.report_soon();
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
            if job.by_network.replace(road.is_network()) != Some(road.is_network()) {
                // What one road was waited for, the other may have.
                job.at = Instant::now();
                job.retry = Retry::default();
                job.told.take();
            }
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
