//! What is to be done: by which road, what of it has its turn, and what is given up.

use std::collections::BTreeSet;

use bus::update_link::{App, Came, FromUpdated, TOGETHER_MAX};
use service_api::updates::{Answer, Stage as Told};
use tokio::time::{Duration, Instant};

use super::{Driver, FOR_EVER};
use crate::connect;
use crate::job::{Job, tidy};
use crate::road::Road;
use crate::settings::Settings;
use crate::want::{Runs, Wanted, wanted};

/// How long after the device booted every manifest was read that can be.
const MANIFESTS_MS: u64 = 120_000;

impl Driver {
    /// Where releases come from, and which: from what was carried here as long as there is something in it for this device, else
    /// from the service.
    pub(super) fn road(&self, way: Option<connect::Way>, settings: &Settings) -> Option<(Road, Answer)> {
        if let Some(carried) = self.state.facts.borrow().carried.clone() {
            let answer = carried.answer();
            let wanted = self.wanted(&answer, settings);
            if wanted.os.is_some() || !wanted.apps.is_empty() || way.is_none() {
                return Some((Road::Carried(carried.archive), answer));
            }
        }
        Some((Road::Service(Box::new(way?)), self.answer.clone()?))
    }

    /// A disk that somebody forgot, or damaged, or that brings nothing but what is refused, does not keep out what the service has.
    pub(super) fn carried_fails(&self) -> bool {
        let fails = |job: &Job| job.by_network == Some(false) && (job.retry.failures() > 0 || job.rests());
        let jobs = || self.os.iter().chain(&self.apps);
        self.answer.is_some()
            && jobs().any(fails)
            && jobs().all(|job| job.by_network == Some(true) || fails(job))
    }

    /// Gives up what was carried here.
    pub(super) fn carried_ends(&mut self) {
        for job in [&mut self.os, &mut self.apps] {
            // What it was refused or failed for says nothing of what comes another way.
            job.take_if(|job| job.by_network == Some(false));
        }
        let carried = self.state.facts.borrow_mut().carried.take();
        if carried.is_some_and(|carried| carried.came == Came::Developer) {
            // Its bytes would lie there until the device boots.
            self.state.say("nothing more is wanted of what a developer has sent");
            self.state.desk.tell(&FromUpdated::CarriedEnd);
        }
    }

    /// What of the answer is to be done: begins it, and gives up what is not wanted any more.
    pub(super) fn plan(&mut self, answer: &Answer, settings: &Settings) {
        let mut wanted = self.wanted_at_all(answer, settings);
        let now_s = self.state.now_s();
        // Told once, and again when we were started anew.
        let refused: Vec<_> =
            wanted.refused.iter().filter(|one| !self.refused.contains(one)).cloned().collect();
        self.refused.clone_from(&wanted.refused);
        // What has its turn later, or is the service's while a disk is there, is not forgotten for that.
        if let Some(carried) = &self.state.facts.borrow().carried {
            self.carried = Some(carried.answer());
        }
        let others = [self.answer.as_ref(), self.carried.as_ref()].into_iter().flatten();
        let later = others.filter(|other| *other != answer).map(|other| self.wanted_at_all(other, settings));
        let later: Vec<Wanted> = later.collect();
        let all = later.iter().chain([&wanted]).flat_map(|wanted| wanted.os.iter().chain(&wanted.apps));
        let all: BTreeSet<&str> = all.map(|target| target.path.as_str()).collect();
        // Before the service has answered nobody knows what it means: what was begun for it is not forgotten for a disk.
        let all_known = self.answer.is_some() || self.state.facts.borrow().service.is_none();
        let is_new = {
            let kept = self.state.kept.borrow();
            (all_known && kept.has_others(&all)) || all.iter().any(|path| !kept.learnt.contains_key(*path))
        };
        if is_new || !refused.is_empty() {
            self.state.keep(|kept| {
                if all_known {
                    kept.forget_others(&all);
                }
                kept.learn(&all, now_s);
                for (path, why) in &refused {
                    kept.note(path, Told::Failed, why, now_s);
                }
            });
            tidy(&self.state);
        }
        if !refused.is_empty() {
            self.report_soon();
        }
        // Neither that one again, nor the next: with its slot goes what is known of the one before.
        if self.doubted.is_some() {
            wanted.os = None;
        }
        if self.waits_for_apps() {
            wanted.apps.clear();
        } else if all_known {
            self.tell_images(later.iter().chain([&wanted]));
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

    /// Has the place of images made by others go.
    pub(super) fn tell_images<'a>(&mut self, all: impl Iterator<Item = &'a Wanted>) {
        let apps = all.flat_map(|wanted| &wanted.apps);
        let images: BTreeSet<(String, String)> =
            apps.map(|app| (app.of.clone(), app.version.clone())).collect();
        if self.images.as_ref() != Some(&images) && images.len() <= TOGETHER_MAX {
            self.state.desk.tell(&FromUpdated::Wanted(images.iter().cloned().collect()));
            self.images = Some(images);
        }
    }

    /// What has its turn now.
    pub(super) fn wanted(&self, answer: &Answer, settings: &Settings) -> Wanted {
        let mut wanted = self.wanted_at_all(answer, settings);
        if self.waits_for_apps() {
            wanted.apps.clear();
        }
        wanted
    }

    pub(super) fn wanted_at_all(&self, answer: &Answer, settings: &Settings) -> Wanted {
        let (facts, kept) = (self.state.facts.borrow(), self.state.kept.borrow());
        let apps: Vec<App> = facts.apps.values().cloned().collect();
        let now_s = self.state.now_s();
        let failed = |path: &str| kept.is_out(path, now_s);
        let os = facts.system.as_ref().map(|system| system.version.as_str());
        wanted(answer, Runs { os, apps: &apps, failed: &failed }, settings)
    }

    /// One transaction after the other; and what an app's version is, is known once its manifest was read.
    pub(super) fn waits_for_apps(&self) -> bool {
        !self.state.kept.borrow().on_trial.is_empty() || self.manifests_ms().is_some()
    }

    /// For how long manifests that were not read yet are waited for, if there are any.
    pub(super) fn manifests_ms(&self) -> Option<u64> {
        let left = MANIFESTS_MS.checked_sub((self.state.clock.boot_ms)()).filter(|left| *left > 0);
        left.filter(|_| self.state.facts.borrow().apps.values().any(|app| app.version.is_empty()))
    }

    /// When something is due that nobody says a word of: manifests that were waited for, a release that is tried again.
    pub(super) fn silent(&self) -> Instant {
        let now_s = self.state.now_s();
        let later = self
            .state
            .kept
            .borrow()
            .later
            .values()
            .map(|later| later.at_s)
            .filter(|at_s| *at_s > now_s)
            .min();
        let later = later.map(|at_s| Duration::from_secs(at_s - now_s));
        let manifests = self.manifests_ms().map(Duration::from_millis);
        Instant::now() + later.into_iter().chain(manifests).min().unwrap_or(FOR_EVER)
    }
}
