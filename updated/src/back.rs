//! Going back to what ran before, by the owner's word or an operator's: the system, or an app that is on trial.
//!
//! sandboxd decides whether there is one, and the device's floor whether it may run. A system that runs counts as failed from before it
//! is asked: a power cut in between leaves it running, and not taken anew when it is gone. Of apps sandboxd says how the trial ended.

use std::rc::Rc;

use bus::update_link::FromUpdated;
use service_api::updates::Stage;
use tokio::time::{Duration, timeout};

use crate::state::State;

/// What the service and people hear.
pub(crate) const BY_OWNER: &str = "its owner went back";
pub(crate) const BY_OPERATOR: &str = "an operator had it go back";
/// sandboxd says at once if it does not do it; if it does, the device boots, and it says nothing.
const REFUSAL: Duration = Duration::from_secs(10);

impl State {
    /// Why there is nothing to go back to, as far as that can be told without sandboxd.
    pub(crate) fn nothing_before(&self, app: Option<&str>) -> Option<&'static str> {
        let facts = self.facts.borrow();
        match (facts.synced, &facts.system, app) {
            (false, ..) => Some("the system is starting"),
            (true, None, None) => Some("this device's disk has no second slot"),
            (true, _, Some(app)) if !facts.apps.contains_key(app) => Some("there is no such app"),
            _ => None,
        }
    }

    /// Has the device go back to what ran before: an app, or the system, into which it boots.
    ///
    /// # Errors
    /// It does not, for this reason.
    pub(crate) async fn roll_back(self: Rc<Self>, app: Option<String>, why: &str) -> Result<(), String> {
        match app {
            Some(app) => {
                self.desk.ask_at_once(&FromUpdated::Back(app)).await.map(drop).map_err(|e| e.to_string())
            }
            None => self.roll_back_system(why).await,
        }
    }

    async fn roll_back_system(&self, why: &str) -> Result<(), String> {
        let release = self.running_release();
        let now_s = self.now_s();
        // Somebody else may be about to have it go back.
        let was = release.as_ref().is_some_and(|release| self.kept.borrow().failed.contains_key(release));
        if let Some(release) = &release {
            self.keep(|kept| {
                kept.note(release, Stage::RolledBack, why, now_s);
                kept.fail(release, why);
            });
        }
        let refused = match timeout(REFUSAL, self.desk.ask_at_once(&FromUpdated::Fail(why.to_owned()))).await
        {
            Ok(Err(e)) => Err(e.to_string()),
            Ok(Ok(_)) | Err(_) => Ok(()),
        };
        if let (Some(release), Err(_), false) = (&release, &refused, was) {
            self.keep(|kept| {
                kept.failed.remove(release);
                kept.outcomes.retain(|outcome| outcome.release.as_str() != release);
            });
        }
        refused
    }

    /// The target of the system that runs, as it is if it came by an update.
    pub(crate) fn running_release(&self) -> Option<String> {
        let facts = self.facts.borrow();
        let (system, settings) = (facts.system.as_ref()?, facts.settings.as_ref()?);
        Some(format!("os/{}/{}.json", settings.product, system.version))
    }
}
