//! Asking the service, and telling it what became of updates.

use std::rc::Rc;

use bus::update_link::{App, FromUpdated, System};
use contact::http::CallError;
use service_api::updates::{APPS_MAX, Answer, Check, Followed, Outcome, Running};
use service_api::{Few, Text};
use tokio::time::{Duration, Instant, sleep};
use tuf::hex;

use super::{Driver, FOR_EVER, GATHER, chance};
use crate::connect;
use crate::retry::{Retry, portion};
use crate::road::base;
use crate::service;
use crate::state::State;

/// Between two checks whatever the service says, seconds.
const CHECK_LEAST_S: u32 = 60;
/// Kinds of refusals of a device that is not the service's any more.
const STRANGER: [&str; 5] = ["unauthenticated", "untrusted", "unclaimed", "revoked", "missing"];
/// Between two checks while a system is on trial that fail.
const TRIAL_RETRY_MS: u64 = 20_000;

impl Driver {
    pub(super) async fn check(&mut self, way: &connect::Way) {
        let told: Vec<Outcome> = self.state.kept.borrow().outcomes.clone();
        if !std::mem::replace(&mut self.looked_at_orders, true) {
            self.state.look_at_begun();
        }
        let followed = self.state.kept.borrow().orders.to_tell();
        let Some(what) = self.what(told.clone(), followed.clone()) else {
            self.say_once("the system's version is none that the service could be told");
            self.check_at = Instant::now() + FOR_EVER;
            return self.state.checked(Some(self.said.clone()));
        };
        let failure = match service::check(way, &what).await {
            Ok(answer) => {
                self.reached = true;
                self.checks.went_on();
                self.state.keep(|kept| {
                    kept.told(&told);
                    if let Some(followed) = &followed {
                        kept.orders.acknowledged(followed);
                    }
                });
                self.reach(way, &answer);
                self.state.desk.tell(&FromUpdated::Permit(answer.permit.to_string()));
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
                // A service of before there were orders.
                if matches!(&e, CallError::Refused(refusal) if followed.is_some() && refusal.kind.as_str() == "malformed")
                {
                    self.state.keep(|kept| kept.orders.hush());
                }
                // Whoever is refused as a device has no permit either; attestd asks whether that is so.
                if matches!(&e, CallError::Refused(refusal) if STRANGER.contains(&refusal.kind.as_str())) {
                    self.state.desk.tell(&FromUpdated::Permit(String::new()));
                }
                let on_trial = self.state.facts.borrow().system.as_ref().is_some_and(|system| system.trial);
                let wait_ms =
                    self.checks.failed(chance()).min(if on_trial { TRIAL_RETRY_MS } else { u64::MAX });
                self.check_at = Instant::now() + Duration::from_millis(wait_ms);
                self.say_once(&format!("updates are not known: {e}"));
                Some(e.to_string())
            }
        };
        // What is known of it now comes before what its owner says.
        self.look_back();
        if failure.is_none() || self.state.facts.borrow().carried.is_some() {
            self.forgive();
        }
        *self.state.notices.failure.borrow_mut() = failure.clone();
        self.plan_after_check();
        self.show();
        if failure.is_none() {
            self.state
                .follow(self.answer.as_ref().and_then(|answer| answer.order.as_ref()), followed.as_ref());
        }
        self.state.checked(failure);
    }

    /// Whoever asks, where there is a disk alone, is answered by what is on it.
    pub(super) fn look_at_carried(&mut self) {
        if self.state.check_now.take() {
            self.forgive();
            self.plan_after_check();
            self.show();
            self.state.answer_checks(None);
        }
    }

    /// What failed is tried again, if the owner has said so.
    fn forgive(&mut self) {
        if self.state.forgives.take() {
            self.state.keep(|kept| kept.forgive());
            for job in self.os.iter_mut().chain(&mut self.apps) {
                job.at = Instant::now();
                job.refusals.went_on();
            }
        }
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

    fn what(&self, told: Vec<Outcome>, order: Option<Followed>) -> Option<Check> {
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
            order,
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

    /// The service hears of what was noted, soon.
    pub(super) fn report_soon(&mut self) {
        if self.checks.failures() == 0 {
            self.check_at = self.check_at.min(Instant::now() + GATHER);
        }
    }
}

/// Waits for the service to say that something changed, for ever.
pub(super) async fn waits(state: Rc<State>, generation: Rc<tokio::sync::watch::Sender<Option<u64>>>) {
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

/// As a manifest has it.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}/tcp") } else { format!("{host}:{port}/tcp") }
}
