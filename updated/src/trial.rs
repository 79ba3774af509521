//! Whether a system that was started by an update is well. Pure: what there is to see is given.

/// How long it has to stay well, milliseconds: an app that crashes again and again runs in between.
const HOLD_MS: u64 = 10_000;

/// What it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Apps that ran before.
    pub apps: Vec<String>,
    /// The service was reached before.
    pub service: bool,
}

/// What there is to see.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Apps that run.
    pub running: &'a [String],
    /// The service answered since the device booted.
    pub reached: bool,
    /// And has been shown what booted.
    pub attested: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again then, milliseconds of the clock that began when the device booted, or when something changes.
    Wait(u64),
    /// It is well.
    Good,
    /// It is not.
    Bad {
        /// Why.
        why: String,
        /// All that is wrong is that the service was not reached, which may be the service's doing, or the network's.
        unreached: bool,
    },
}

/// A trial.
#[derive(Clone, Debug)]
pub struct Trial {
    needs: Needs,
    deadline_ms: u64,
    well_since_ms: Option<u64>,
}

impl Trial {
    /// Until `deadline_ms` after the device booted.
    pub fn new(needs: Needs, deadline_ms: u64) -> Self {
        Self { needs, deadline_ms, well_since_ms: None }
    }

    /// What follows from this.
    pub fn judge(&mut self, seen: Seen<'_>, now_ms: u64) -> Verdict {
        let missing = self.missing(seen);
        if missing.is_empty() {
            let since_ms = *self.well_since_ms.get_or_insert(now_ms);
            let held_ms = since_ms + HOLD_MS;
            return if now_ms >= held_ms { Verdict::Good } else { Verdict::Wait(held_ms) };
        }
        self.well_since_ms = None;
        if now_ms < self.deadline_ms {
            return Verdict::Wait(self.deadline_ms);
        }
        let apps_run = self.needs.apps.iter().all(|id| seen.running.contains(id));
        let why = format!("{} s after it booted: {}", self.deadline_ms / 1000, missing.join("; "));
        Verdict::Bad { why, unreached: apps_run && !seen.reached }
    }

    /// Whether it had all the time that there is.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.deadline_ms
    }

    fn missing(&self, seen: Seen<'_>) -> Vec<String> {
        let away = self.needs.apps.iter().filter(|id| !seen.running.contains(id));
        let mut missing: Vec<String> = away.map(|id| format!("{id} ran before and does not")).collect();
        if self.needs.service && !seen.reached {
            missing.push("the service is not reached".to_owned());
        }
        if self.needs.service && !seen.attested {
            missing.push("the service has not been shown what booted, or does not accept it".to_owned());
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needs() -> Needs {
        Needs { apps: vec!["a".to_owned(), "b".to_owned()], service: true }
    }

    #[test]
    fn system_is_well_once_everything_stays_as_it_was() {
        let mut trial = Trial::new(needs(), 600_000);
        let all = needs().apps;
        let seen = Seen { running: &all, reached: true, attested: true };
        assert_eq!(trial.judge(seen, 20_000), Verdict::Wait(30_000));
        // An app crashes in between.
        assert_eq!(trial.judge(Seen { running: &all[..1], ..seen }, 25_000), Verdict::Wait(600_000));
        assert_eq!(trial.judge(seen, 26_000), Verdict::Wait(36_000));
        assert_eq!(trial.judge(seen, 36_000), Verdict::Good);
    }

    #[test]
    fn system_that_is_not_well_in_time_says_what_is_missing() {
        let mut trial = Trial::new(needs(), 600_000);
        let seen = Seen { running: &["b".to_owned()], reached: false, attested: false };
        let Verdict::Bad { why, unreached: false } = trial.judge(seen, 600_000) else { panic!("it is bad") };
        assert!(
            why.contains("a ran before") && why.contains("not reached") && !why.contains("b ran"),
            "{why}"
        );
        // Without a service nothing is asked of it.
        let mut trial = Trial::new(Needs::default(), 600_000);
        assert_eq!(trial.judge(seen, 1000), Verdict::Wait(11_000));
        assert_eq!(trial.judge(seen, 11_000), Verdict::Good);
    }

    proptest! {
        #[test]
        fn trial_of_any_history_ends_by_its_deadline_and_a_hold(steps in proptest::collection::vec((1_u64..60_000, any::<bool>()), 0..60)) {
            let mut trial = Trial::new(needs(), 600_000);
            let all = needs().apps;
            let mut now_ms = 0;
            let mut ended = false;
            for (later_ms, well) in steps {
                now_ms += later_ms;
                let seen = Seen { running: if well { &all } else { &[] }, reached: true, attested: true };
                match trial.judge(seen, now_ms) {
                    Verdict::Wait(at_ms) => prop_assert!(at_ms > now_ms && at_ms <= 600_000_u64.max(now_ms + HOLD_MS)),
                    Verdict::Good => { prop_assert!(well); ended = true; break }
                    Verdict::Bad { .. } => { prop_assert!(!well && now_ms >= 600_000); ended = true; break }
                }
            }
            prop_assert!(ended || now_ms < 600_000 + 2 * 60_000 + HOLD_MS || trial.well_since_ms.is_some());
        }
    }
}
