//! From what servers said to what is done to the clock. No clock and no sockets here: tests drive it through histories.
//!
//! What holds, whatever servers say:
//! * the clock is never set before the floor, nor further ahead of it than [`AHEAD_AGREED_S`], or [`AHEAD_ALONE_S`] where
//!   no two servers agree and none is authenticated;
//! * less than a majority of the configured servers changes nothing while a majority can be reached;
//! * once set, the clock is slewed; it steps only if that was asked for [`CONFIRMATIONS`] times in a row, and on one
//!   server's word alone by at most [`STEP_ALONE_NS`];
//! * a server alone, unless it is authenticated, never raises the floor that outlives the device's restarts: that rises by the time that passed.
//!
//! Not here: leap seconds are not announced to the kernel. After one the clock is a second off until the next rounds.

use super::agree::{Agreed, Sample, agree};
use super::wire::SECOND;

/// How far beyond the floor servers that agree may set the clock: fifty years, longer than a device lives.
pub const AHEAD_AGREED_S: i64 = 50 * 366 * 86_400;

/// How far beyond the floor one server alone may: ten years, which a device may lie in a warehouse or go without updates.
pub const AHEAD_ALONE_S: i64 = 10 * 366 * 86_400;

/// An offset that is slewed rather than stepped, once the clock was set: the kernel's own limit (MAXPHASE) is 0.5 s.
pub const SLEW_NS: i64 = SECOND * 2 / 5;

/// Rounds in a row that must ask for a step before there is one.
pub const CONFIRMATIONS: u8 = 3;

/// The largest step of a clock that was set on the word of one server: RFC 5905's panic threshold.
pub const STEP_ALONE_NS: i64 = 1000 * SECOND;

/// Rounds in a row without a majority of the configured servers, after which those that answer are enough.
pub const PATIENCE: u8 = 3;

/// How far behind the clock the floor stays, seconds: a day, so that servers whose owner had them serve local time or a
/// wrong day can be followed back when he notices.
const FLOOR_MARGIN_S: i64 = 86_400;

/// What the clocks show at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The local clock, which nothing sets, nanoseconds.
    pub local_ns: i64,
    /// The device's clock, nanoseconds since 1970.
    pub real_ns: i64,
}

/// What is done to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Set it, by this much.
    Step(Change),
    /// Let it run faster or slower until it is right.
    Slew(Change),
    /// Nothing.
    Wait(Why),
}

/// A change of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What is added, nanoseconds.
    pub offset_ns: i64,
    /// How far off the clock may then be, nanoseconds.
    pub error_ns: i64,
    /// The server whose word counted most, by its place in the configuration.
    pub server: usize,
    /// Its stratum.
    pub stratum: u8,
    /// Whether two servers or more, and most of those configured, agreed.
    pub agreed: bool,
    /// Whether all who agreed are authentic.
    pub is_authentic: bool,
}

impl Change {
    /// Whether more than the word of one server that anybody may be stands behind it.
    pub fn is_sure(&self) -> bool {
        self.agreed || self.is_authentic
    }
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No server answered.
    NoAnswer,
    /// Not enough servers answered yet.
    TooFew,
    /// The servers contradict each other.
    Contradiction,
    /// They say it is earlier than it can be.
    BeforeFloor,
    /// They say it is later than is believable.
    TooFarAhead,
    /// The step was not asked for often enough yet.
    Unconfirmed,
    /// A step larger than one server alone may ask for.
    TooLarge,
}

/// What was learnt of servers and what the clock may be set to.
#[derive(Debug)]
pub struct Discipline {
    floor_s: i64,
    started: Now,
    started_floor_s: i64,
    was_set: bool,
    steps_asked: u8,
    without_majority: u8,
}

impl Discipline {
    /// `was_set` if the kernel says that its clock is synchronised: `netd` was restarted, and is not believed more for it.
    pub fn new(floor_s: i64, now: Now, was_set: bool) -> Self {
        Self { floor_s, started: now, started_floor_s: floor_s, was_set, steps_asked: 0, without_majority: 0 }
    }

    /// Whether the clock was ever set by servers.
    pub fn was_set(&self) -> bool {
        self.was_set
    }

    /// The earliest time the clock may show, seconds since 1970.
    pub fn floor_s(&self) -> i64 {
        self.floor_s
    }

    /// A later floor was told; an earlier one changes nothing.
    pub fn raise(&mut self, floor_s: i64, now: Now) {
        if floor_s > self.floor_s {
            (self.floor_s, self.started_floor_s, self.started) = (floor_s, floor_s, now);
        }
    }

    /// What must be added to the clock so that it is not before the floor, nanoseconds.
    pub fn below_floor_ns(&self, now: Now) -> Option<i64> {
        Some(self.floor_s * SECOND - now.real_ns).filter(|offset_ns| *offset_ns > 0)
    }

    /// What to do after an answer: only what a majority of the `configured` servers wants, at once, if the clock was never
    /// set. `None`: the round goes on.
    pub fn early(&mut self, samples: &[Sample], configured: usize, now: Now) -> Option<Decision> {
        if self.was_set {
            return None;
        }
        let agreed = agree(samples, majority(configured))?;
        Some(self.act(&agreed, configured, now))
    }

    /// What to do when every server answered or had its time.
    pub fn late(&mut self, samples: &[Sample], configured: usize, now: Now) -> Decision {
        if samples.is_empty() {
            self.steps_asked = 0;
            return Decision::Wait(Why::NoAnswer);
        }
        let agreed = agree(samples, majority(configured)).or_else(|| {
            self.without_majority = self.without_majority.saturating_add(1);
            let few = samples.len() < majority(configured) && self.without_majority >= PATIENCE;
            few.then(|| agree(samples, majority(samples.len()))).flatten()
        });
        let Some(agreed) = agreed else {
            self.steps_asked = 0;
            let few = samples.len() < majority(configured) && self.without_majority < PATIENCE;
            return Decision::Wait(if few { Why::TooFew } else { Why::Contradiction });
        };
        self.act(&agreed, configured, now)
    }

    /// A change was made, and the clock shows `now`. The floor to be kept for the next start; `None` if it is no later
    /// than the one there is.
    pub fn made(&mut self, change: &Change, now: Now) -> Option<i64> {
        self.was_set = true;
        let passed_s = (now.local_ns - self.started.local_ns) / SECOND;
        let certain_s = self.started_floor_s + passed_s - passed_s / 1000;
        let shown_s = now.real_ns / SECOND - FLOOR_MARGIN_S;
        let floor_s = if change.is_sure() { shown_s } else { certain_s.min(shown_s) };
        let later = floor_s > self.floor_s;
        self.floor_s = self.floor_s.max(floor_s);
        later.then_some(floor_s)
    }

    fn act(&mut self, agreed: &Agreed, configured: usize, now: Now) -> Decision {
        let several = agreed.votes >= 2 && agreed.votes >= majority(configured);
        if agreed.votes >= majority(configured) {
            self.without_majority = 0;
        }
        let time_ns = agreed.zero_ns.saturating_add(now.local_ns);
        let ahead_s = if several || agreed.is_authentic { AHEAD_AGREED_S } else { AHEAD_ALONE_S };
        if time_ns < self.floor_s * SECOND {
            self.steps_asked = 0;
            return Decision::Wait(Why::BeforeFloor);
        }
        if time_ns > (self.floor_s + ahead_s) * SECOND {
            self.steps_asked = 0;
            return Decision::Wait(Why::TooFarAhead);
        }
        let change = Change {
            offset_ns: time_ns.saturating_sub(now.real_ns),
            error_ns: agreed.error_ns,
            server: agreed.server,
            stratum: agreed.stratum,
            agreed: several,
            is_authentic: agreed.is_authentic,
        };
        if !self.was_set {
            return Decision::Step(change);
        }
        if change.offset_ns.abs() <= SLEW_NS {
            self.steps_asked = 0;
            return Decision::Slew(change);
        }
        if !change.is_sure() && change.offset_ns.abs() > STEP_ALONE_NS {
            self.steps_asked = 0;
            return Decision::Wait(Why::TooLarge);
        }
        self.steps_asked += 1;
        if self.steps_asked < CONFIRMATIONS {
            return Decision::Wait(Why::Unconfirmed);
        }
        self.steps_asked = 0;
        Decision::Step(change)
    }
}

fn majority(of: usize) -> usize {
    of / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::super::wire::SECOND;
    use super::*;
    use proptest::prelude::*;

    const FLOOR_S: i64 = 1_700_000_000;
    const YEAR_S: i64 = 366 * 86_400;

    fn now() -> Now {
        Now { local_ns: 5 * SECOND, real_ns: FLOOR_S * SECOND }
    }

    /// A server that says it is `ahead_s` seconds later than the floor, give or take a millisecond.
    fn says(server: usize, ahead_s: i64) -> Sample {
        let zero_ns = (FLOOR_S + ahead_s) * SECOND - now().local_ns;
        Sample { server, zero_ns, error_ns: SECOND / 1000, stratum: 2, is_authentic: false }
    }

    fn new(was_set: bool) -> Discipline {
        Discipline::new(FLOOR_S, now(), was_set)
    }

    fn step(decision: Option<Decision>) -> Option<i64> {
        match decision {
            Some(Decision::Step(change)) => Some(change.offset_ns / SECOND),
            _ => None,
        }
    }

    #[test]
    fn clock_never_set_steps_as_soon_as_most_servers_agree() {
        let mut core = new(false);
        assert_eq!(core.early(&[says(0, 100)], 3, now()), None);
        assert_eq!(step(core.early(&[says(0, 100), says(2, 100)], 3, now())), Some(100));
        assert_eq!(step(core.early(&[says(0, 100)], 1, now())), Some(100));
    }

    #[test]
    fn liar_among_three_changes_nothing() {
        let mut core = new(false);
        assert_eq!(core.early(&[says(0, 9_999), says(1, 100)], 3, now()), None);
        let all = [says(0, 9_999), says(1, 100), says(2, 100)];
        assert_eq!(step(core.early(&all, 3, now())), Some(100));
        assert_eq!(step(Some(core.late(&all, 3, now()))), Some(100));
    }

    #[test]
    fn servers_that_contradict_each_other_set_nothing() {
        let mut core = new(false);
        for _ in 0..10 {
            let said = [says(0, 100), says(1, 200), says(2, 300)];
            assert_eq!(core.late(&said, 3, now()), Decision::Wait(Why::Contradiction));
        }
    }

    #[test]
    fn one_server_of_three_is_enough_only_after_patience() {
        let mut core = new(false);
        assert_eq!(core.late(&[says(1, 100)], 3, now()), Decision::Wait(Why::TooFew));
        assert_eq!(core.late(&[says(1, 100)], 3, now()), Decision::Wait(Why::TooFew));
        let Decision::Step(change) = core.late(&[says(1, 100)], 3, now()) else { panic!("no step") };
        assert!(!change.agreed);
    }

    #[test]
    fn nobody_sets_the_clock_before_the_floor() {
        let mut core = new(false);
        let said = [says(0, -1), says(1, -1), says(2, -1)];
        assert_eq!(core.late(&said, 3, now()), Decision::Wait(Why::BeforeFloor));
        core.raise(FLOOR_S + 50, now());
        let said = [says(0, 49), says(1, 49), says(2, 49)];
        assert_eq!(core.late(&said, 3, now()), Decision::Wait(Why::BeforeFloor));
        assert_eq!(core.below_floor_ns(now()), Some(50 * SECOND));
    }

    #[test]
    fn servers_set_the_clock_only_as_far_ahead_as_their_number_allows() {
        let mut core = new(false);
        assert_eq!(core.late(&[says(0, 11 * YEAR_S)], 1, now()), Decision::Wait(Why::TooFarAhead));
        assert!(step(Some(core.late(&[says(0, 9 * YEAR_S)], 1, now()))).is_some());
        let two = |years: i64| [says(0, years * YEAR_S), says(1, years * YEAR_S)];
        assert!(step(Some(core.late(&two(11), 2, now()))).is_some());
        assert_eq!(core.late(&two(51), 2, now()), Decision::Wait(Why::TooFarAhead));
    }

    #[test]
    fn clock_that_was_set_is_slewed_and_steps_only_when_confirmed() {
        let mut core = new(true);
        let said = [says(0, 0), says(1, 0)];
        assert!(matches!(core.late(&said, 2, now()), Decision::Slew(_)));
        let said = [says(0, 5000), says(1, 5000)];
        assert_eq!(core.early(&said, 2, now()), None);
        assert_eq!(core.late(&said, 2, now()), Decision::Wait(Why::Unconfirmed));
        assert_eq!(core.late(&said, 2, now()), Decision::Wait(Why::Unconfirmed));
        assert_eq!(core.late(&[], 2, now()), Decision::Wait(Why::NoAnswer));
        assert_eq!(core.late(&said, 2, now()), Decision::Wait(Why::Unconfirmed));
        assert_eq!(core.late(&said, 2, now()), Decision::Wait(Why::Unconfirmed));
        assert_eq!(step(Some(core.late(&said, 2, now()))), Some(5000));
    }

    #[test]
    fn one_server_alone_steps_a_clock_that_was_set_only_a_little() {
        let mut core = new(true);
        for _ in 0..10 {
            assert_eq!(core.late(&[says(0, 1001)], 1, now()), Decision::Wait(Why::TooLarge));
        }
        core.late(&[says(0, 999)], 1, now());
        core.late(&[says(0, 999)], 1, now());
        assert_eq!(step(Some(core.late(&[says(0, 999)], 1, now()))), Some(999));
    }

    #[test]
    fn one_server_that_is_authentic_is_believed_as_several_are() {
        let mut core = new(false);
        let said = [Sample { is_authentic: true, ..says(0, 11 * YEAR_S) }];
        let Some(Decision::Step(change)) = core.early(&said, 1, now()) else { panic!("no step") };
        assert!(!change.agreed);
        let later = Now { real_ns: now().real_ns + change.offset_ns, ..now() };
        assert!(core.made(&change, later) > Some(FLOOR_S + 10 * YEAR_S));
        assert_eq!(core.late(&said, 3, now()), Decision::Wait(Why::TooFew));
    }

    #[test]
    fn floor_rises_by_agreement_or_by_the_time_that_passed() {
        let mut core = new(false);
        let alone = core.late(&[says(0, 9 * YEAR_S)], 1, now());
        let Decision::Step(change) = alone else { panic!("{alone:?}") };
        let later = Now { local_ns: 1005 * SECOND, real_ns: (FLOOR_S + 9 * YEAR_S + 1000) * SECOND };
        assert_eq!(core.made(&change, later), Some(FLOOR_S + 999));
        let agreed = Change { agreed: true, ..change };
        let kept = Some(later.real_ns / SECOND - FLOOR_MARGIN_S);
        assert_eq!(core.made(&agreed, later), kept);
        assert_eq!(core.made(&agreed, later), None);
    }

    /// One round: for each of five servers no answer, the truth, or a lie of some seconds.
    fn round() -> impl Strategy<Value = Vec<Option<i64>>> {
        let lie = (-2_000_000_000..4_000_000_000_i64).prop_map(Some);
        prop::collection::vec(prop_oneof![Just(None), Just(Some(0)), lie], 1..6)
    }

    proptest! {
        /// Whatever servers say in whatever order: the clock stays within its bounds, and the floor never falls.
        #[test]
        fn clock_of_any_history_keeps_its_bounds(
            rounds in prop::collection::vec((round(), any::<bool>()), 1..40),
            was_set in any::<bool>(),
        ) {
            let mut core = new(was_set);
            let mut now = now();
            let mut known_s = FLOOR_S;
            for (said, whole) in rounds {
                now = Now { local_ns: now.local_ns + 64 * SECOND, real_ns: now.real_ns + 64 * SECOND };
                let samples: Vec<Sample> = said
                    .iter()
                    .enumerate()
                    .filter_map(|(server, said)| said.map(|ahead_s| says(server, ahead_s)))
                    .collect();
                let decision = match whole {
                    true => core.late(&samples, said.len(), now),
                    false => core.early(&samples, said.len(), now).unwrap_or(Decision::Wait(Why::TooFew)),
                };
                let (Decision::Step(change) | Decision::Slew(change)) = decision else { continue };
                if let Decision::Slew(change) = decision {
                    prop_assert!(change.offset_ns.abs() <= SLEW_NS);
                }
                now.real_ns += change.offset_ns;
                let ahead_s = if change.agreed { AHEAD_AGREED_S } else { AHEAD_ALONE_S };
                prop_assert!(now.real_ns >= core.floor_s() * SECOND);
                prop_assert!(now.real_ns <= (core.floor_s() + ahead_s) * SECOND);
                if change.agreed {
                    let votes = samples.iter().filter(|one| {
                        (one.zero_ns + now.local_ns - now.real_ns).abs() <= 2 * one.error_ns
                    });
                    prop_assert!(votes.count() > said.len() / 2);
                }
                core.made(&change, now);
                prop_assert!(core.floor_s() >= known_s);
                known_s = core.floor_s();
            }
        }

        /// A majority that tells the truth sets the clock right at once, and what the others say never changes it.
        #[test]
        fn clock_with_an_honest_majority_is_right(
            rounds in prop::collection::vec(prop::collection::vec(-90_000..4_000_000_000_i64, 2), 1..20),
        ) {
            let mut core = new(false);
            let mut now = now();
            for lies in rounds {
                let honest = (2..5).map(|server| says(server, 0));
                let lying = lies.iter().enumerate().map(|(server, lie)| says(server, *lie));
                let samples: Vec<Sample> = lying.chain(honest).collect();
                let decision = core.late(&samples, 5, now);
                let (Decision::Step(change) | Decision::Slew(change)) = decision else {
                    panic!("{decision:?}")
                };
                now.real_ns += change.offset_ns;
                core.made(&change, now);
                prop_assert!((now.real_ns - FLOOR_S * SECOND).abs() <= SECOND / 500);
            }
        }
    }
}
