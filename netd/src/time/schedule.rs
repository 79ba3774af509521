//! When servers are asked again.
//!
//! Off-spec: RFC 4330 allows no interval below 15 s. Until the clock is set for the first time the tries are 2, 4, 8 s
//! apart, as ntpd's and chronyd's are in a burst: a device without time can do nothing else.

use super::discipline::{Decision, Why};

/// Between rounds when the clock was just set, seconds.
const SHORTEST_S: u64 = 64;

/// Between rounds of a clock that keeps time, seconds: 34 minutes, as systemd-timesyncd.
const LONGEST_S: u64 = 2048;

/// Between rounds before the clock was set, seconds, at first.
const FIRST_S: u64 = 2;

/// Between rounds while a step waits to be confirmed, seconds.
const CONFIRM_S: u64 = 16;

/// An offset above which the clock is looked after more often, nanoseconds.
const LARGE_NS: i64 = 50_000_000;

/// How long a server that denied is left alone, seconds.
pub const DENIED_S: u64 = 86_400;

/// The time to the next round.
#[derive(Debug)]
pub struct Schedule {
    interval_s: u64,
    retry_s: u64,
    is_set: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { interval_s: SHORTEST_S, retry_s: FIRST_S, is_set: false }
    }
}

impl Schedule {
    /// Seconds from the end of a round to the next one.
    pub fn after(&mut self, decision: &Decision) -> u64 {
        match decision {
            Decision::Step(_) => {
                (self.is_set, self.interval_s, self.retry_s) = (true, SHORTEST_S, FIRST_S);
                self.interval_s
            }
            Decision::Slew(change) => {
                (self.is_set, self.retry_s) = (true, FIRST_S);
                let wait_s = self.interval_s;
                let grown_s = (self.interval_s * 2).min(LONGEST_S);
                self.interval_s = if change.offset_ns.abs() > LARGE_NS { SHORTEST_S } else { grown_s };
                wait_s.min(self.interval_s)
            }
            Decision::Wait(Why::Unconfirmed) => CONFIRM_S,
            Decision::Wait(_) => {
                let wait_s = if self.is_set { self.retry_s.max(CONFIRM_S) } else { self.retry_s };
                let most_s = if self.is_set { self.interval_s } else { SHORTEST_S };
                self.retry_s = (wait_s * 2).min(most_s);
                wait_s
            }
        }
    }

    /// How long a server is left alone that asked for fewer questions.
    pub fn slower_s(&self) -> u64 {
        (self.interval_s * 4).min(LONGEST_S)
    }

    /// The interval as a power of two, for the kernel's loop.
    pub fn interval_log2_s(&self) -> u8 {
        self.interval_s.ilog2() as u8
    }

    /// There is a new way to servers: tries begin anew.
    pub fn restart(&mut self) {
        self.retry_s = FIRST_S;
    }
}

#[cfg(test)]
mod tests {
    use super::super::discipline::Change;
    use super::*;

    fn change(offset_ns: i64) -> Change {
        Change { offset_ns, error_ns: 1, server: 0, stratum: 1, agreed: true, is_authentic: false }
    }

    #[test]
    fn schedule_before_the_first_time_backs_off_to_a_minute() {
        let mut schedule = Schedule::default();
        let waits: Vec<u64> = (0..8).map(|_| schedule.after(&Decision::Wait(Why::NoAnswer))).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 64, 64]);
        schedule.restart();
        assert_eq!(schedule.after(&Decision::Wait(Why::NoAnswer)), 2);
    }

    #[test]
    fn schedule_of_a_clock_that_keeps_time_grows_to_its_longest() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.after(&Decision::Step(change(7))), 64);
        let waits: Vec<u64> = (0..8).map(|_| schedule.after(&Decision::Slew(change(7)))).collect();
        assert_eq!(waits, [64, 128, 256, 512, 1024, 2048, 2048, 2048]);
        assert_eq!(schedule.after(&Decision::Slew(change(LARGE_NS + 1))), 64);
        assert_eq!(schedule.after(&Decision::Wait(Why::Unconfirmed)), 16);
    }

    #[test]
    fn schedule_of_a_set_clock_without_answers_is_not_hasty() {
        let mut schedule = Schedule::default();
        schedule.after(&Decision::Step(change(7)));
        for _ in 0..20 {
            let wait_s = schedule.after(&Decision::Wait(Why::NoAnswer));
            assert!((CONFIRM_S..=LONGEST_S).contains(&wait_s), "{wait_s}");
        }
    }
}
