//! When the next round with the service is due, and how many signatures an app may ask for. Pure: time and chance are
//! arguments.

/// First wait after a round that failed, and the longest, milliseconds.
const RETRY_FIRST_MS: u64 = 5_000;
const RETRY_LONGEST_MS: u64 = 15 * 60 * 1000;
/// Between rounds while nobody has claimed the device, milliseconds, and how many there are before they become rarer: for
/// ten minutes somebody may stand beside it.
const CLAIM_MS: u64 = 10_000;
const CLAIM_ROUNDS: u32 = 60;
/// Between two rounds whatever the service says, milliseconds.
const LEAST_MS: u64 = 60_000;
/// The longest, milliseconds: a certificate lasts a day.
const MOST_MS: u64 = 20 * 3600 * 1000;

/// When rounds are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    failures: u32,
    /// Rounds while nobody had claimed the device.
    unclaimed: u32,
}

impl Pace {
    /// A round succeeded and the service says when to come again, seconds from now. How long to wait: up to a tenth sooner,
    /// so that a fleet that was switched on at once does not come at once for ever.
    pub fn succeeded(&mut self, renew_after_s: u32, chance: u32) -> u64 {
        *self = Self::default();
        let wait = (u64::from(renew_after_s) * 1000).clamp(LEAST_MS, MOST_MS);
        wait - portion(wait / 10, chance)
    }

    /// A round failed. How long to wait: twice as long each time, and anything from half of that to all of it.
    pub fn failed(&mut self, chance: u32) -> u64 {
        let wait = RETRY_FIRST_MS.saturating_mul(1 << self.failures.min(20)).min(RETRY_LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        wait / 2 + portion(wait / 2, chance)
    }

    /// Nobody has claimed the device yet. How long to wait.
    pub fn unclaimed(&mut self, chance: u32) -> u64 {
        self.unclaimed = self.unclaimed.saturating_add(1);
        if self.unclaimed > CLAIM_ROUNDS {
            return self.failed(chance);
        }
        // Once it is claimed, what fails then fails for the first time.
        self.failures = 0;
        CLAIM_MS - portion(CLAIM_MS / 2, chance)
    }

    /// Something changed that may have been the reason: the next failure counts as the first.
    pub fn begin_anew(&mut self) {
        self.failures = 0;
    }
}

/// `chance` out of all that it may be, of `of`.
fn portion(of: u64, chance: u32) -> u64 {
    ((u128::from(of) * u128::from(chance)) >> 32) as u64
}

/// A bucket of what one app may ask of the TPM, which does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    left: u32,
    since_ms: u64,
}

/// What an app may ask for at once, and how soon it gets one more, milliseconds.
const BURST: u32 = 16;
const REFILL_MS: u64 = 250;

impl Bucket {
    /// Full.
    pub fn new(now_ms: u64) -> Self {
        Self { left: BURST, since_ms: now_ms }
    }

    /// Whether it may have one now.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let more = now_ms.saturating_sub(self.since_ms) / REFILL_MS;
        self.left = u64::from(self.left).saturating_add(more).min(BURST.into()) as u32;
        self.since_ms += more * REFILL_MS;
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_fail_are_further_and_further_apart_and_never_stop() {
        let mut pace = Pace::default();
        assert_eq!((pace.failed(0), pace.failed(u32::MAX)), (2500, 9999));
        for _ in 0..10_000 {
            let wait = pace.failed(u32::MAX / 2);
            assert!((RETRY_FIRST_MS..=RETRY_LONGEST_MS).contains(&wait), "{wait}");
        }
        pace.begin_anew();
        assert!(pace.failed(u32::MAX) <= RETRY_FIRST_MS);
    }

    #[test]
    fn device_that_waits_for_its_owner_asks_often_at_first() {
        let mut pace = Pace::default();
        let waits: Vec<u64> = (0..CLAIM_ROUNDS).map(|_| pace.unclaimed(0)).collect();
        assert!(waits.iter().all(|wait| *wait == CLAIM_MS));
        assert!(pace.failed(u32::MAX) < RETRY_FIRST_MS);
        for _ in 0..20 {
            pace.unclaimed(0);
        }
        assert!(pace.unclaimed(0) >= RETRY_LONGEST_MS / 2);
    }

    #[test]
    fn round_that_succeeded_is_repeated_when_the_service_says_within_bounds() {
        let mut pace = Pace::default();
        let hours = |n: u32| n * 3600;
        assert_eq!(pace.succeeded(hours(16), 0), u64::from(hours(16)) * 1000);
        assert!((14 * 3_600_000..16 * 3_600_000).contains(&pace.succeeded(hours(16), u32::MAX)));
        assert_eq!((pace.succeeded(0, 0), pace.succeeded(u32::MAX, 0)), (LEAST_MS, MOST_MS));
    }

    #[test]
    fn bucket_gives_a_burst_and_then_one_at_a_time() {
        let mut bucket = Bucket::new(1000);
        assert!((0..BURST).all(|_| bucket.take(1000)));
        assert!(!bucket.take(1000 + REFILL_MS - 1));
        assert!(bucket.take(1000 + REFILL_MS));
        assert!(!bucket.take(1000 + REFILL_MS));
        let later = 1000 + 3_600_000;
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), BURST as usize);
    }
}
