//! The TPM's counts against those that were seen last. They only grow, unless somebody cleared the TPM or put its state back:
//! a copy of the TPM, or of the virtual machine with it, that runs beside the original shows itself here.

use super::Appraisal;
use super::vector::Claim;
use crate::tpm::Clock;

impl Appraisal {
    /// Holds what a checked quote says against the last one by the same key that counted.
    ///
    /// A clock may go back by itself after power was lost, to where the TPM had last kept it: that it never has, it says in
    /// `safe`. Between two resets it cannot.
    pub fn compare_clock(&mut self, last: &Clock, now: &Clock) {
        let starts = |clock: &Clock| (clock.resets, clock.restarts);
        let same = starts(last) == starts(now);
        let counts = starts(now) < starts(last);
        let clock = (same || now.safe) && now.clock_ms < last.clock_ms;
        self.measured(
            "TPM resets, restarts and clock",
            vec![format!("not before {}", shown(last))],
            shown(now),
            !(counts || clock),
        );
        if counts || clock {
            let what =
                if counts { "the TPM's count of resets went back" } else { "the TPM's clock went back" };
            let reason = format!(
                "{what}, from {} to {}: its state was put back, there are two of it, or it was cleared",
                shown(last),
                shown(now)
            );
            self.lower(Claim::InstanceIdentity, 96, reason);
        }
    }
}

fn shown(clock: &Clock) -> String {
    format!("{}.{} at {} ms", clock.resets, clock.restarts, clock.clock_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appraise::{Evidence, Policy, appraise};
    use std::collections::BTreeMap;

    fn went_back(last: (u32, u32, u64, bool), now: (u32, u32, u64, bool)) -> bool {
        let clock = |(resets, restarts, clock_ms, safe)| Clock { clock_ms, resets, restarts, safe };
        let shown = Evidence { values: &BTreeMap::new(), boot_log: &[], package_log: &[] };
        let mut verdict = appraise(shown, &[], &Policy::default());
        verdict.compare_clock(&clock(last), &clock(now));
        assert!(!verdict.passes(), "the evidence is empty");
        let reason = verdict.reasons.iter().any(|reason| reason.contains("went back"));
        assert_eq!(reason, verdict.vector.value(Claim::InstanceIdentity) == 96);
        reason
    }

    #[test]
    fn counts_that_grow_are_no_reason_and_that_go_back_are() {
        let last = (7, 2, 5000, true);
        for good in [last, (7, 2, 5001, true), (7, 3, 5000, true), (8, 0, 5000, true), (8, 0, 4000, false)] {
            assert!(!went_back(last, good), "{good:?}");
        }
        for bad in
            [(6, 9, 9999, true), (7, 1, 9999, true), (7, 2, 4999, false), (8, 0, 4999, true), (0, 0, 0, true)]
        {
            assert!(went_back(last, bad), "{bad:?}");
        }
    }
}
