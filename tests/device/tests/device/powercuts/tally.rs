//! Which of the disks that a cut may leave are looked at, and what was found.

use device_test::writes::{Event, count, cuts};
use std::collections::BTreeMap;
use std::fmt;

/// How many of the disks are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// For each flush, with other halves of what was not flushed.
    pub(crate) rounds: usize,
    /// Of all of them.
    pub(crate) most: usize,
}

impl Effort {
    /// So many, evenly; all of them, and `GABION_CUTS` for each flush, where that is set.
    pub(crate) fn at_most(most: usize) -> Self {
        match std::env::var("GABION_CUTS").ok().and_then(|text| text.parse().ok()) {
            Some(rounds) => Self { rounds, most: usize::MAX },
            None => Self { rounds: 4, most },
        }
    }

    /// Whether the one at `index` of `all` is among them.
    pub(crate) fn takes(self, index: usize, all: usize) -> bool {
        let most = self.most.min(all);
        // Their last, as soon as there is a whole step.
        index * most / all != (index + 1) * most / all
    }
}

/// What a cut must not do.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nothing that is whole, or nothing that starts.
    Brick(String),
    /// Parts of both.
    Mixed(String),
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    judged: usize,
    booted: usize,
    left: BTreeMap<String, usize>,
    bricks: Vec<String>,
    mixed: Vec<String>,
}

impl Tally {
    /// Judges disks that a cut may have left; gives what each of them has, in their order.
    pub(crate) fn judge(
        &mut self,
        (before, events): (&[u8], &[Event]),
        effort: Effort,
        matters: impl Fn(usize) -> bool,
        mut judge: impl FnMut(&[u8]) -> Result<String, Fault>,
    ) -> Vec<Option<String>> {
        let all = count(events, effort.rounds, &matters);
        let mut found = Vec::with_capacity(all);
        cuts(before, events, effort.rounds, matters, |disk| {
            let looked_at = effort.takes(found.len(), all);
            found.push(looked_at.then(|| judge(disk)).and_then(|verdict| {
                self.judged += 1;
                self.found(verdict)
            }));
        });
        found
    }

    /// Counts what a device makes of a disk that it was booted from.
    pub(crate) fn booted(&mut self, verdict: Result<String, Fault>) {
        self.booted += 1;
        if let Err(fault) = verdict {
            self.found(Err(fault));
        }
    }

    fn found(&mut self, verdict: Result<String, Fault>) -> Option<String> {
        match verdict {
            Ok(version) => {
                *self.left.entry(version.clone()).or_default() += 1;
                return Some(version);
            }
            Err(Fault::Brick(why)) => {
                println!("brick: {why}");
                self.bricks.push(why);
            }
            Err(Fault::Mixed(why)) => {
                println!("mixed: {why}");
                self.mixed.push(why);
            }
        }
        None
    }

    /// How many have this.
    pub(crate) fn left(&self, version: &str) -> usize {
        self.left.get(version).copied().unwrap_or_default()
    }

    /// Prints the figures. Panics unless every one of them has something whole.
    #[track_caller]
    pub(crate) fn all_whole(&self) {
        println!("{self}");
        assert!(self.bricks.is_empty() && self.mixed.is_empty(), "{:#?}{:#?}", self.bricks, self.mixed);
    }

    /// Whether something was found that must not be.
    pub(crate) fn has_faults(&self) -> bool {
        !self.bricks.is_empty() || !self.mixed.is_empty()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { judged, booted, left, bricks, mixed } = self;
        let (bricks, mixed) = (bricks.len(), mixed.len());
        write!(f, "cuts: {judged} judged, {booted} booted, {bricks} bricks, {mixed} mixed; they have ")?;
        f.debug_map().entries(left).finish()
    }
}
