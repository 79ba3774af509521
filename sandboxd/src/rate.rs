//! A token bucket: how much one app may make us do. No clock inside; the caller says what time it is.

/// Tokens that come back with time, up to a burst.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: u32,
    burst: u32,
    /// Thousandths of a token.
    level: u64,
    last_ms: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst, level: u64::from(burst) * 1000, last_ms: 0 }
    }

    /// How full it is, in 1000 parts.
    pub fn left(&mut self, now_ms: u64) -> u64 {
        self.refill(now_ms);
        self.level.checked_div(u64::from(self.burst)).unwrap_or_default()
    }

    fn refill(&mut self, now_ms: u64) {
        let gone = now_ms.saturating_sub(self.last_ms);
        self.last_ms = self.last_ms.max(now_ms);
        let back = gone.saturating_mul(u64::from(self.per_second));
        self.level = self.level.saturating_add(back).min(u64::from(self.burst) * 1000);
    }

    /// Takes `count` tokens if they are there.
    pub fn take(&mut self, count: u32, now_ms: u64) -> bool {
        self.refill(now_ms);
        match self.level.checked_sub(u64::from(count) * 1000) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_gives_burst_then_rate() {
        let mut bucket = Bucket::new(10, 5);
        assert_eq!((0..100).filter(|_| bucket.take(1, 0)).count(), 5);
        assert!(!bucket.take(1, 99));
        assert!(bucket.take(1, 100));
        assert_eq!((0..100).filter(|_| bucket.take(1, 1_000_000)).count(), 5);
    }

    #[test]
    fn bucket_says_how_full_it_is() {
        let mut bucket = Bucket::new(10, 20);
        assert_eq!(bucket.left(0), 1000);
        assert!(bucket.take(15, 0));
        assert_eq!((bucket.left(0), bucket.left(500)), (250, 500));
    }

    #[test]
    fn bucket_clock_going_back_gives_nothing() {
        let mut bucket = Bucket::new(1000, 1);
        assert!(bucket.take(1, 5000));
        assert!(!bucket.take(1, 0));
        assert!(bucket.take(1, 5001));
    }
}
