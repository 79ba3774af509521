//! Going back to what ran before, by the owner's word: the system, or an app that is on trial.
//!
//! sandboxd decides whether there is one, and the device's floor whether it may run. A system that runs counts as failed from before it
//! is asked: a power cut in between leaves it running, and not taken anew when it is gone. Of apps sandboxd says how the trial ended.

use std::rc::Rc;

use bus::interfaces::update::{Error, Rollback};
use bus::server::Pending;
use bus::update_link::FromUpdated;
use service_api::updates::Stage;
use tokio::time::{Duration, timeout};

use crate::state::State;

/// What the service and people hear.
const WHY: &str = "its owner went back";
/// sandboxd says at once if it does not do it; if it does, the device boots, and it says nothing.
const REFUSAL: Duration = Duration::from_secs(10);

impl State {
    /// Has the device boot into the system before, and answers.
    pub(crate) async fn roll_back(self: Rc<Self>, asker: Pending<Rollback>) {
        let release = self.running_release();
        let now_s = self.now_s();
        if let Some(release) = &release {
            self.keep(|kept| {
                kept.note(release, Stage::RolledBack, WHY, now_s);
                kept.fail(release, WHY);
            });
        }
        let refused = match timeout(REFUSAL, self.desk.ask_at_once(&FromUpdated::Fail(WHY.to_owned()))).await
        {
            Ok(Err(e)) => Some(e.to_string()),
            Ok(Ok(_)) | Err(_) => None,
        };
        if let (Some(release), Some(_)) = (&release, &refused) {
            self.keep(|kept| {
                kept.failed.remove(release);
                kept.outcomes.retain(|outcome| outcome.release.as_str() != release);
            });
        }
        self.answer(asker, refused);
    }

    /// Has an app go back, and answers.
    pub(crate) async fn roll_back_app(self: Rc<Self>, app: String, asker: Pending<Rollback>) {
        let answer = self.desk.ask_at_once(&FromUpdated::Back(app)).await;
        self.answer(asker, answer.err().map(|e| e.to_string()));
    }

    fn answer(&self, asker: Pending<Rollback>, refused: Option<String>) {
        self.notices.with(Box::new(move |server| match refused {
            Some(reason) => server.fail(asker, &Error::NothingBefore { reason }),
            None => server.finish(asker, &bus::interface::Empty {}),
        }));
    }

    /// The target of the system that runs, as it is if it came by an update.
    pub(crate) fn running_release(&self) -> Option<String> {
        let facts = self.facts.borrow();
        let (system, settings) = (facts.system.as_ref()?, facts.settings.as_ref()?);
        Some(format!("os/{}/{}.json", settings.product, system.version))
    }
}
