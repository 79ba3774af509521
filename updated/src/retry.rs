//! When something that failed is tried again, and how fast is fetched. Pure: time and chance are arguments.

/// First wait, first after a refusal, and longest, milliseconds.
const FIRST_MS: u64 = 2_000;
const REFUSED_MS: u64 = 60_000;
const LONGEST_MS: u64 = 15 * 60 * 1000;

/// Failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    failures: u32,
    first_ms: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { failures: 0, first_ms: FIRST_MS }
    }
}

impl Retry {
    /// Of what is there, and sandboxd does not take: what was in the way may take its time to go.
    pub fn of_refusals() -> Self {
        Self { failures: 0, first_ms: REFUSED_MS }
    }

    /// It failed. How long to wait, milliseconds: twice as long each time, and anything from half of that to all of it, so
    /// that a fleet whose server was down does not come at once.
    pub fn failed(&mut self, chance: u32) -> u64 {
        let wait = self.first_ms.saturating_mul(1 << self.failures.min(20)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        wait / 2 + portion(wait / 2, chance)
    }

    /// It went on: the next failure counts as the first.
    pub fn went_on(&mut self) {
        self.failures = 0;
    }

    /// How often in a row it failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// `chance` out of all that it may be, of `of`.
pub fn portion(of: u64, chance: u32) -> u64 {
    ((u128::from(of) * u128::from(chance)) >> 32) as u64
}

/// What may be fetched in a second.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    rate: Option<u64>,
    /// When all that was taken may have been, microseconds.
    until_us: u64,
}

impl Throttle {
    /// At most `rate` bytes in a second, or as many as come.
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, until_us: 0 }
    }

    /// How fast.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Takes note of bytes; gives how long to wait before more are taken, milliseconds.
    pub fn took(&mut self, bytes: u64, now_ms: u64) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        let now_us = now_ms.saturating_mul(1000);
        let takes_us = bytes.saturating_mul(1_000_000) / rate.max(1);
        self.until_us = self.until_us.max(now_us).saturating_add(takes_us);
        (self.until_us - now_us) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_further_and_further_apart_and_never_stop() {
        let mut retry = Retry::default();
        assert_eq!((retry.failed(0), retry.failed(u32::MAX)), (1000, 3999));
        for _ in 0..10_000 {
            let wait = retry.failed(u32::MAX / 2);
            assert!((FIRST_MS..=LONGEST_MS).contains(&wait), "{wait}");
        }
        retry.went_on();
        assert!(retry.failed(u32::MAX) <= FIRST_MS);
    }

    #[test]
    fn throttle_lets_its_rate_through_and_no_more() {
        let mut throttle = Throttle::new(Some(10_000));
        let (mut now_ms, mut taken) = (5_000, 0);
        while now_ms < 65_000 {
            taken += 1_460;
            now_ms += throttle.took(1_460, now_ms);
        }
        assert!((590_000..=610_000).contains(&taken), "{taken}");
        assert_eq!(Throttle::new(None).took(1 << 40, 0), 0);
    }
}
