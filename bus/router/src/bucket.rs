//! A token bucket: how often one party may make us do something. No clock inside; times are milliseconds of any clock
//! that does not go back.

/// Tokens that come back with time, up to a burst.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_s: u32,
    burst: u32,
    /// Thousandths of a token, at `at`.
    level: u64,
    at: u64,
}

/// One token, in thousandths.
const TOKEN: u64 = 1000;

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_s: u32, burst: u32, now: u64) -> Self {
        Self { per_s: per_s.max(1), burst: burst.max(1), level: u64::from(burst.max(1)) * TOKEN, at: now }
    }

    /// Another rate; what is in the bucket stays, as far as it has room.
    pub(crate) fn change(&mut self, per_s: u32, burst: u32, now: u64) {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
        (self.per_s, self.burst) = (per_s.max(1), burst.max(1));
        self.level = self.level.min(u64::from(self.burst) * TOKEN);
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: u64) -> bool {
        self.level = self.level_at(now);
        self.at = self.at.max(now);
        match self.level.checked_sub(TOKEN) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }

    /// Since or from when there is a token.
    pub(crate) fn ready_at(&self, now: u64) -> u64 {
        let missing = TOKEN.saturating_sub(self.level_at(now));
        now + missing.div_ceil(u64::from(self.per_s))
    }

    /// Whether nothing was taken from it lately.
    pub(crate) fn is_full(&self, now: u64) -> bool {
        self.level_at(now) == u64::from(self.burst) * TOKEN
    }

    fn level_at(&self, now: u64) -> u64 {
        let back = now.saturating_sub(self.at).saturating_mul(u64::from(self.per_s));
        self.level.saturating_add(back).min(u64::from(self.burst) * TOKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_burst_then_rate() {
        let mut bucket = Bucket::new(10, 5, 7);
        assert_eq!((0..100).filter(|_| bucket.take(7)).count(), 5);
        assert_eq!(bucket.ready_at(7), 107);
        assert!(!bucket.take(106));
        assert!(bucket.take(107));
        assert_eq!((0..100).filter(|_| bucket.take(1_000_000)).count(), 5);
    }

    #[test]
    fn bucket_changed_keeps_what_fits() {
        let mut bucket = Bucket::new(1, 8, 0);
        bucket.change(1, 2, 0);
        assert_eq!((0..100).filter(|_| bucket.take(0)).count(), 2);
        bucket.change(1, 100, 0);
        assert!(!bucket.take(0) && !bucket.is_full(0));
    }

    #[test]
    fn bucket_clock_going_back_gives_nothing() {
        let mut bucket = Bucket::new(1000, 1, 5000);
        assert!(bucket.take(5000));
        assert!(!bucket.take(0));
        assert!(bucket.take(5001));
    }
}
