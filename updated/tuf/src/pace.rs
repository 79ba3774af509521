//! Whether bytes come fast enough. Whoever gives a byte a minute keeps a device from learning of anything newer.
//!
//! Without a clock: the time is given.

/// How slow a transfer may be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// At least so many bytes
    least: u64,
    /// in so many milliseconds.
    window_ms: u64,
    began_ms: u64,
    taken: u64,
}

impl Pace {
    /// At least `least` bytes in each `window_ms`, from `now_ms` on.
    pub fn new(least: u64, window_ms: u64, now_ms: u64) -> Self {
        Self { least, window_ms, began_ms: now_ms, taken: 0 }
    }

    /// Takes note of bytes. False: it was too slow.
    #[must_use]
    pub fn took(&mut self, bytes: u64, now_ms: u64) -> bool {
        self.taken = self.taken.saturating_add(bytes);
        let over_ms = now_ms.saturating_sub(self.began_ms);
        if over_ms < self.window_ms {
            return true;
        }
        // A window that nobody looked at the end of may have been several.
        let enough = self.taken >= self.least.saturating_mul(over_ms / self.window_ms.max(1));
        (self.began_ms, self.taken) = (now_ms, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_is_too_slow_below_its_least_only() {
        let mut pace = Pace::new(100, 1000, 5000);
        assert!(pace.took(1, 5999));
        assert!(pace.took(99, 6000));
        assert!(pace.took(100, 7000));
        assert!(!pace.took(99, 8000));
        assert!(!pace.took(150, 10_000));
    }
}
