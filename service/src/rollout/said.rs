//! What a device said of a deployment's releases.
//!
//! A device says once how a release ended, and passes over in silence what did not last. So a deployment begins with what the device said
//! of its releases in earlier ones. What did not last there is kept apart from what did not last since: this deployment did not send the
//! device to it, so nothing is taken from the device for it.

use super::progress::{SYSTEM, runs, standing, subject};
use serde::{Deserialize, Serialize};
use service_api::Text;
use service_api::updates::{Check, Outcome, Stage};
use std::collections::BTreeMap;

/// What a device said of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Said {
    /// How far it is.
    Is(Stage),
    /// That it failed or went back, in an earlier deployment, and why; and nothing since.
    Before {
        /// Which of the two.
        before: Stage,
        /// Empty if that is not known any more.
        why: String,
    },
}

/// What a device said in a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Of each release that it said something about.
    pub said: BTreeMap<String, Said>,
    /// The release it last said something about.
    pub release: String,
    /// Why it is no further.
    pub reason: String,
    /// Bytes that it had fetched for that release.
    pub fetched: u64,
}

/// The account of an earlier deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// What the device said.
    pub account: Account,
    /// The deployment stopped: the device was taken off it.
    pub stopped: bool,
}

impl Account {
    /// What a device begins with that is told of these releases. `earlier` are its accounts before, the newest first.
    pub fn begin(releases: &[Text<256>], earlier: &[Earlier]) -> Self {
        let mut begun = Self::default();
        for target in releases.iter().map(Text::as_str) {
            let last = earlier.iter().find(|earlier| earlier.account.said.contains_key(target));
            if let Some(said) = last.and_then(|last| last.taken_over(target)) {
                begun.said.insert(target.to_owned(), said);
            }
        }
        let ours =
            |earlier: &&Earlier| releases.iter().any(|target| target.as_str() == earlier.account.release);
        if let Some(Earlier { account, .. }) = earlier.iter().find(ours) {
            begun.release.clone_from(&account.release);
            begun.fetched = account.fetched;
            if !matches!(begun.said.get(&begun.release), Some(Said::Before { .. })) {
                begun.reason.clone_from(&account.reason);
            }
        }
        begun.explain();
        begun
    }

    /// Takes down outcomes, the last one last. Whether there is one among them: what it had no answer to it says again.
    pub fn hear<'a>(&mut self, outcomes: impl DoubleEndedIterator<Item = &'a Outcome> + Clone) -> bool {
        let is_news = |outcome: &&Outcome| {
            let last = outcomes.clone().rfind(|last| last.release == outcome.release);
            last.is_some_and(|last| !self.repeats(last))
        };
        let news: Vec<&Outcome> = outcomes.clone().filter(is_news).collect();
        for outcome in &news {
            self.said.insert(outcome.release.as_str().to_owned(), Said::Is(outcome.stage));
            outcome.release.as_str().clone_into(&mut self.release);
            outcome.reason.as_str().clone_into(&mut self.reason);
            self.fetched = outcome.fetched;
        }
        self.explain();
        !news.is_empty()
    }

    fn repeats(&self, outcome: &Outcome) -> bool {
        let Some(Said::Before { before, why }) = self.said.get(outcome.release.as_str()) else {
            return false;
        };
        (outcome.stage, outcome.reason.as_str()) == (*before, why.as_str())
    }

    /// Without another reason there is the one for what it does not take.
    fn explain(&mut self) {
        let before = self.said.iter().find_map(|(target, said)| match said {
            Said::Before { before, why } => Some((target, before, why)),
            Said::Is(_) => None,
        });
        if let (true, Some((target, before, why))) = (self.reason.is_empty(), before) {
            let colon = if why.is_empty() { "" } else { ": " };
            self.reason = format!("{target} {} before{colon}{why}", before.as_str());
        }
    }

    /// How far the device is with each of these releases; the deployment is about `own` of them itself.
    ///
    /// What a device does not take since it did not last before has failed where the deployment is about it. Where it only took it over
    /// from the one before, it is done with: devices that could not take that one are no reason to stop or to hold up this one.
    pub fn standing(&self, check: &Check, releases: &[Text<256>], own: &[Text<256>]) -> Vec<Option<Stage>> {
        // A device takes all of a deployment's apps or none.
        let spoilt = releases.iter().any(|target| {
            let said = self.said.get(target.as_str());
            is_app(target) && !runs(check, target.as_str()) && said.is_some_and(Said::went_back_before)
        });
        let stage = |target: &Text<256>| {
            let said = self.said.get(target.as_str());
            let out = match said {
                Some(Said::Before { .. }) => true,
                Some(Said::Is(_)) => false,
                None => spoilt && is_app(target),
            };
            if out && !runs(check, target.as_str()) {
                return Some(if own.contains(target) { Stage::Failed } else { Stage::Complete });
            }
            let is = said.and_then(|said| match said {
                Said::Is(stage) => Some(*stage),
                Said::Before { .. } => None,
            });
            standing(check, target.as_str(), is)
        };
        releases.iter().map(stage).collect()
    }
}

impl Said {
    fn stage(&self) -> Stage {
        match self {
            Self::Is(stage) | Self::Before { before: stage, .. } => *stage,
        }
    }

    fn went_back_before(&self) -> bool {
        matches!(self, Self::Before { before: Stage::RolledBack, .. })
    }
}

impl Earlier {
    /// What it says of a release to whom the device is told of it again.
    fn taken_over(&self, target: &str) -> Option<Said> {
        let said = self.account.said.get(target)?;
        match said.stage() {
            // It begins anew, and says so.
            Stage::Fetching | Stage::Pending | Stage::Deferred | Stage::Failed if self.stopped => None,
            before @ (Stage::Failed | Stage::RolledBack) => {
                let why = match said {
                    Said::Before { why, .. } => why.clone(),
                    Said::Is(_) if self.account.release == target => self.account.reason.clone(),
                    Said::Is(_) => String::new(),
                };
                Some(Said::Before { before, why })
            }
            stage => Some(Said::Is(stage)),
        }
    }
}

fn is_app(target: &Text<256>) -> bool {
    subject(target.as_str()).0 != SYSTEM
}

#[cfg(test)]
mod tests;
