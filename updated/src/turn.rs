//! When an update that is ready is applied: how long it may be put off, in which hours it may be. Pure.
//!
//! Who watches is told when it became ready ([`Next::Wait`] says until when), and once more shortly before ([`Next::Now`], after
//! which nobody puts it off any more). Time is the wall clock's, which is set whenever this is asked.

use service_api::updates::Window;

/// For how long the system may be put off, minutes, counted from when the device learnt of it.
pub const SYSTEM_MAX_MIN: u64 = 1_440;
/// And an app.
pub const APP_MAX_MIN: u64 = 10_020;
/// How long who watches has to put it off, seconds.
pub const GRACE_S: u64 = 60;
/// Minutes of a week; 1970 began on a Thursday.
const WEEK_MIN: u64 = 7 * 1440;
const THURSDAY_MIN: u64 = 3 * 1440;

/// An update that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When the device learnt of it, seconds since 1970.
    pub learnt_s: u64,
    /// When it became ready.
    pub ready_s: u64,
    /// For how long it may be put off, minutes.
    pub most_min: u64,
    /// Until when it is put off.
    pub until_s: Option<u64>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until then, seconds since 1970.
    Wait(u64),
    /// It is applied.
    Now,
    /// There is no hour in which it may be.
    Never,
}

impl Turn {
    /// What comes next. `watched`: somebody may want to put it off.
    pub fn next(&self, now_s: u64, windows: [&[Window]; 2], watched: bool) -> Next {
        let grace_s = if watched { GRACE_S } else { 0 };
        // A clock that was set back does not make it wait for longer than a grace.
        let ready_s = self.ready_s.min(now_s);
        let wanted_s = self.until_s.map(|until_s| until_s.min(self.latest_s())).unwrap_or(0);
        let earliest_s = wanted_s.max(ready_s + grace_s).max(now_s);
        match opening(earliest_s, windows) {
            None => Next::Never,
            Some(at_s) if at_s <= now_s => Next::Now,
            Some(at_s) => Next::Wait(at_s),
        }
    }

    /// Puts it off for so many minutes; gives until when, or how many would be accepted.
    ///
    /// # Errors
    /// That is too long.
    pub fn defer(&mut self, minutes: u64, now_s: u64) -> Result<u64, u64> {
        let limit_min = self.latest_s().saturating_sub(now_s) / 60;
        if minutes > limit_min {
            return Err(limit_min);
        }
        let until_s = now_s + minutes * 60;
        self.until_s = Some(until_s);
        Ok(until_s)
    }

    fn latest_s(&self) -> u64 {
        self.learnt_s.saturating_add(self.most_min * 60)
    }
}

/// The first moment from `from_s` on that is in both lists of windows; an empty list is any time.
pub fn opening(from_s: u64, windows: [&[Window]; 2]) -> Option<u64> {
    if is_open(from_s / 60, windows) {
        return Some(from_s);
    }
    let from_min = from_s / 60;
    (from_min + 1..=from_min + WEEK_MIN).find(|minute| is_open(*minute, windows)).map(|minute| minute * 60)
}

fn is_open(minute: u64, windows: [&[Window]; 2]) -> bool {
    let now = (minute + THURSDAY_MIN) % WEEK_MIN;
    let within = |window: &Window| {
        // One over the end of the week goes on at its beginning.
        let since = (now + WEEK_MIN - u64::from(window.from) % WEEK_MIN) % WEEK_MIN;
        since < u64::from(window.minutes)
    };
    windows.iter().all(|list| list.is_empty() || list.iter().any(within))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Monday, 2027-01-04, 00:00 UTC.
    const MONDAY_S: u64 = 1_799_020_800;

    fn turn(learnt_s: u64) -> Turn {
        Turn { learnt_s, ready_s: learnt_s, most_min: SYSTEM_MAX_MIN, until_s: None }
    }

    #[test]
    fn window_of_the_week_is_found_over_its_end() {
        let sunday = Window { from: 6 * 1440 + 1400, minutes: 100 };
        assert!(is_open(MONDAY_S / 60, [&[sunday], &[]]));
        assert!(is_open(MONDAY_S / 60 + 59, [&[sunday], &[]]));
        assert!(!is_open(MONDAY_S / 60 + 60, [&[sunday], &[]]));
        let night = Window { from: 120, minutes: 60 };
        assert_eq!(opening(MONDAY_S, [&[night], &[]]), Some(MONDAY_S + 7200));
        assert_eq!(opening(MONDAY_S, [&[night], &[sunday]]), None);
        assert_eq!(turn(MONDAY_S).next(MONDAY_S, [&[night], &[sunday]], false), Next::Never);
    }

    #[test]
    fn update_that_nobody_watches_is_applied_at_once_and_else_after_the_grace() {
        assert_eq!(turn(MONDAY_S).next(MONDAY_S, [&[], &[]], false), Next::Now);
        assert_eq!(turn(MONDAY_S).next(MONDAY_S, [&[], &[]], true), Next::Wait(MONDAY_S + GRACE_S));
        assert_eq!(turn(MONDAY_S).next(MONDAY_S + GRACE_S, [&[], &[]], true), Next::Now);
    }

    #[test]
    fn system_is_put_off_for_a_day_and_no_minute_longer() {
        let mut turn = turn(MONDAY_S);
        assert_eq!(turn.defer(1441, MONDAY_S), Err(1440));
        assert_eq!(turn.defer(1440, MONDAY_S + 60), Err(1439));
        assert_eq!(turn.defer(1430, MONDAY_S + 600), Ok(MONDAY_S + 86_400));
        assert_eq!(turn.next(MONDAY_S + 86_399, [&[], &[]], true), Next::Wait(MONDAY_S + 86_400));
        assert_eq!(turn.next(MONDAY_S + 86_400, [&[], &[]], true), Next::Now);
        assert_eq!(turn.defer(1, MONDAY_S + 86_400), Err(0));
    }

    proptest! {
        #[test]
        fn however_it_is_put_off_it_is_applied_by_the_cap_or_at_the_next_window(
            calls in proptest::collection::vec((0_u64..200_000, 0_u64..12_000), 0..40),
            from in 0_u16..10_080,
            minutes in 1_u16..2000,
        ) {
            let windows = [Window { from, minutes }];
            let mut turn = turn(MONDAY_S);
            let (mut now_s, mut calls) = (MONDAY_S, calls.into_iter());
            let applied = loop {
                if let Some((later_s, minutes)) = calls.next() {
                    now_s += later_s;
                    let _ = turn.defer(minutes, now_s);
                }
                match turn.next(now_s, [&windows, &[]], true) {
                    Next::Now => break now_s,
                    Next::Wait(at_s) => {
                        prop_assert!(at_s > now_s);
                        if calls.len() == 0 { now_s = at_s; }
                    }
                    Next::Never => panic!("there is a window"),
                }
            };
            prop_assert!(is_open(applied / 60, [&windows, &[]]));
            let cap_s = MONDAY_S + SYSTEM_MAX_MIN * 60;
            // Whatever was asked for, it would have been applied in the first window after the cap.
            let latest = opening(cap_s, [&windows, &[]]).unwrap();
            prop_assert!(matches!(turn.next(latest, [&windows, &[]], true), Next::Now));
        }
    }
}
