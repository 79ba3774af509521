//! Fetching what is planned, and looking once more at what has waited.

use service_api::updates::{Answer, Stage as Told};
use tokio::time::{Duration, Instant};

use super::{Driver, FOR_EVER, chance};
use crate::fetch::Way;
use crate::job::{Job, JobError};
use crate::link::AskError;
use crate::retry::Throttle;
use crate::road::{Repository, Road};
use crate::settings::Settings;

/// Failures in a row after which the service hears of them.
const FAILURES_TOLD: u32 = 3;
/// Failures in a row, an hour of them, after which it is told to have failed, though it is still tried.
const FAILURES_MANY: u32 = 12;
/// For how long is fetched at least before the service is asked besides: what is on its way then has to come once more.
const FETCH_LEAST: Duration = Duration::from_secs(3600);

impl Driver {
    /// The repository.
    pub(super) fn source(&mut self, road: &Road, settings: &Settings, answer: &Answer) -> Option<Repository> {
        let rate = settings.bytes_per_s.filter(|_| road.is_network());
        if self.throttle.rate() != rate {
            self.throttle = Throttle::new(rate);
        }
        road.repository(answer)
    }

    /// Looks once more at what has waited for long; gives when it is tried again, or nothing when it may be applied. What can
    /// not be looked at, as there is no network, was looked at when it was fetched.
    pub(super) async fn look_again(
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
    pub(super) async fn fetch(
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
        let ask_at = self.doubted.unwrap_or_else(|| self.check_at.max(Instant::now() + FETCH_LEAST));
        let fetched = tokio::select! {
            fetched = job.fetch(&self.state, &mut from) => fetched,
            () = self.state.interrupt.notified() => return Some(Instant::now()),
            () = tokio::time::sleep_until(ask_at) => return Some(Instant::now()),
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
}
