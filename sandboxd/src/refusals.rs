//! What is told of one box's refused calls: each kind once, then its count; and nothing for a while when there are so
//! many that reading them is work. Pure; the caller says what time it is.

use std::collections::VecDeque;

use crate::rate::Bucket;

/// Kinds that are told apart; the one that was not seen for longest is forgotten first.
const KINDS_MAX: usize = 16;
/// Refusals that are told: so many at once, then one a second.
const TOLD_BURST: u32 = 40;
/// Refusals that are read: so many at once, and a second. A program that probes stays below; one that makes refused
/// calls in a loop makes a hundred thousand.
const READ_BURST: u32 = 400;
const READ_PER_SECOND: u32 = 50;
/// How long a box that is over this is not recorded.
pub const SILENCE_MS: u64 = 10_000;

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Tell it, with how many of its kind there were.
    Tell {
        /// From 1.
        count: u64,
        /// Refusals that were not told since the last one that was, other than repetitions.
        suppressed: u32,
    },
    /// Counted only.
    Count,
    /// Have the kernel record none of this box until then.
    Silence {
        /// When, in milliseconds.
        until_ms: u64,
    },
}

/// The refusals of one box.
#[derive(Debug)]
pub struct Refusals {
    kinds: VecDeque<(String, u64)>,
    told: Bucket,
    read: Bucket,
    suppressed: u32,
    silent_until_ms: Option<u64>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            kinds: VecDeque::new(),
            told: Bucket::new(1, TOLD_BURST),
            read: Bucket::new(READ_PER_SECOND, READ_BURST),
            suppressed: 0,
            silent_until_ms: None,
        }
    }
}

impl Refusals {
    /// Takes a refusal, described by `kind`.
    pub fn add(&mut self, kind: &str, now_ms: u64) -> Verdict {
        if self.silent_until_ms.is_some() {
            // Queued before the kernel was told.
            return Verdict::Count;
        }
        if !self.read.take(1, now_ms) {
            let until_ms = now_ms + SILENCE_MS;
            self.silent_until_ms = Some(until_ms);
            return Verdict::Silence { until_ms };
        }
        self.add_many(kind, 1, now_ms)
    }

    /// Takes so many alike, of which whoever counted them has bounded how often it says so: for these nobody is silenced.
    pub fn add_many(&mut self, kind: &str, many: u32, now_ms: u64) -> Verdict {
        let count = self.count(kind, many.into());
        if !passes_round(count - u64::from(many), count) {
            return Verdict::Count;
        }
        if !self.told.take(1, now_ms) {
            self.suppressed = self.suppressed.saturating_add(1);
            return Verdict::Count;
        }
        Verdict::Tell { count, suppressed: std::mem::take(&mut self.suppressed) }
    }

    /// When the kernel is to record this box again.
    pub fn silent_until_ms(&self) -> Option<u64> {
        self.silent_until_ms
    }

    /// It does.
    pub fn heard_again(&mut self) {
        self.silent_until_ms = None;
    }

    /// How many of this kind there were, these included.
    fn count(&mut self, kind: &str, many: u64) -> u64 {
        let known = self.kinds.iter().position(|(known, _)| known == kind);
        let (kind, count) =
            known.and_then(|at| self.kinds.remove(at)).unwrap_or_else(|| (kind.to_owned(), 0));
        if self.kinds.len() >= KINDS_MAX {
            self.kinds.pop_front();
        }
        self.kinds.push_back((kind, count + many));
        count + many
    }
}

/// Whether 1, 10, 100, … lies above the first and not above the second.
fn passes_round(before: u64, now: u64) -> bool {
    let mut round = 1_u64;
    while round <= before {
        round = round.saturating_mul(10);
    }
    round <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_once_then_by_tens() {
        let mut refusals = Refusals::default();
        let told = |verdict| if let Verdict::Tell { count, .. } = verdict { Some(count) } else { None };
        let all: Vec<_> = (0..120).filter_map(|_| told(refusals.add("a", 0))).collect();
        assert_eq!(all, [1, 10, 100]);
        assert_eq!(refusals.add("b", 0), Verdict::Tell { count: 1, suppressed: 0 });
    }

    #[test]
    fn refusals_that_come_many_at_once_are_told_with_their_count() {
        let mut refusals = Refusals::default();
        for (many, told) in [(3, Some(3)), (6, None), (1, Some(10)), (500, Some(510))] {
            let verdict = refusals.add_many("a", many, 0);
            assert_eq!(if let Verdict::Tell { count, .. } = verdict { Some(count) } else { None }, told);
        }
    }

    #[test]
    fn refusals_of_ever_new_kinds_are_bounded_and_counted() {
        let mut refusals = Refusals::default();
        let told =
            (0..300).filter(|n| matches!(refusals.add(&n.to_string(), 0), Verdict::Tell { .. })).count();
        assert_eq!((told, refusals.kinds.len()), (TOLD_BURST as usize, KINDS_MAX));
        let suppressed = 300 - TOLD_BURST;
        assert_eq!(refusals.add("x", 1000), Verdict::Tell { count: 1, suppressed });
    }

    #[test]
    fn refusals_in_a_loop_silence_their_box_for_a_while() {
        let mut refusals = Refusals::default();
        let verdicts: Vec<_> = (0..1000).map(|_| refusals.add("a", 5)).collect();
        let silenced = verdicts.iter().filter(|v| matches!(v, Verdict::Silence { .. })).count();
        assert_eq!((silenced, refusals.silent_until_ms()), (1, Some(5 + SILENCE_MS)));
        refusals.heard_again();
        assert_ne!(refusals.add("b", 5 + SILENCE_MS), Verdict::Count);
    }
}
