//! When a box that ended is started again. Pure: the clock is an argument.
//!
//! A first crash restarts at once. The third within ten seconds begins a back-off of one second that doubles up to a
//! minute; a minute of good running ends it.

use sys::bundle::{Next, Restart};

const WINDOW_MS: u64 = 10_000;
const FIRST_MS: u32 = 1_000;
const LONGEST_MS: u32 = 60_000;
const GOOD_MS: u64 = 60_000;

/// The crash history of one box.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    /// When it ended the last two times, the earlier one first.
    before_ms: [Option<u64>; 2],
    delay_ms: u32,
}

impl Backoff {
    /// What follows an end after `uptime_ms`; `failed` when it was not an exit with code 0.
    pub(crate) fn next(&mut self, policy: Restart, failed: bool, uptime_ms: u64, now_ms: u64) -> Next {
        let again = match policy {
            Restart::Never => false,
            Restart::OnFailure => failed,
            Restart::Always => true,
        };
        if !again {
            return Next::Stopped;
        }
        if uptime_ms >= GOOD_MS {
            *self = Backoff::default();
        }
        let [earlier, last] = self.before_ms;
        self.before_ms = [last, Some(now_ms)];
        let is_third = earlier.is_some_and(|at| now_ms.saturating_sub(at) <= WINDOW_MS);
        if self.delay_ms == 0 && !is_third {
            return Next::Restart(0);
        }
        self.delay_ms = self.delay_ms.saturating_mul(2).clamp(FIRST_MS, LONGEST_MS);
        Next::Backoff(self.delay_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(b: &mut Backoff, now: u64) -> Next {
        b.next(Restart::Always, true, 10, now)
    }

    #[test]
    fn crash_third_in_quick_succession_backs_off_and_doubles_to_a_minute() {
        let mut b = Backoff::default();
        let seen: Vec<_> = (0..10).map(|n| crash(&mut b, 20_000 + n * 100)).collect();
        assert_eq!(seen[..3], [Next::Restart(0), Next::Restart(0), Next::Backoff(1000)]);
        assert_eq!(seen[3], Next::Backoff(2000));
        assert_eq!(seen[9], Next::Backoff(60_000));
    }

    #[test]
    fn crash_third_within_ten_seconds_backs_off_whenever_they_begin() {
        for began in [0, 5_000, 9_950, 19_900] {
            let mut b = Backoff::default();
            let seen: Vec<_> = (0..3).map(|n| crash(&mut b, began + n * 100)).collect();
            assert_eq!(seen, [Next::Restart(0), Next::Restart(0), Next::Backoff(1000)], "{began}");
        }
    }

    #[test]
    fn crash_far_apart_restarts_at_once() {
        let mut b = Backoff::default();
        assert!((0..10).all(|n| crash(&mut b, 20_000 + n * 5_100) == Next::Restart(0)));
    }

    #[test]
    fn back_off_after_a_good_minute_is_forgotten() {
        let mut b = Backoff::default();
        for n in 0..5 {
            crash(&mut b, 20_000 + n);
        }
        assert_eq!(b.next(Restart::Always, true, 60_000, 200_000), Next::Restart(0));
    }

    #[test]
    fn exit_0_under_on_failure_stays_down() {
        assert_eq!(Backoff::default().next(Restart::OnFailure, false, 0, 0), Next::Stopped);
        assert_eq!(Backoff::default().next(Restart::Never, true, 0, 0), Next::Stopped);
    }
}
