//! What several servers agree on: the intersection of what they say (Marzullo; RFC 5905, section 11.2.1).
//!
//! Each server's word is an interval that holds the true time if the server does not lie. Where most intervals meet, the
//! time is; a liar among three is outvoted, or else has said something that an honest server's own error allows.

use super::wire::{SECOND, Told};

/// A server that took longer over its answer than the question was under way lies, or our clock jumped: this much is noise.
const NOISE_NS: i64 = SECOND / 100;

/// What a crystal may be off while a question is under way: the kernel's own bound.
const DRIFT_PPM: i64 = 500;

/// One server's clock against our local one, which counts on evenly and is never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Which server, by its place in the configuration.
    pub server: usize,
    /// The server's time, nanoseconds since 1970, when the local clock was 0.
    pub zero_ns: i64,
    /// How far the truth may be from that if the server does not lie, nanoseconds, above 0.
    pub error_ns: i64,
    /// How many servers it is from a reference clock.
    pub stratum: u8,
    /// Whether it is certain who said it (NTS).
    pub is_authentic: bool,
}

impl Sample {
    /// From an answer to a question sent and an answer received at these times of the local clock. `None` if the server
    /// says it had the question for longer than it was away.
    pub fn new(server: usize, told: &Told, asked_ns: i64, answered_ns: i64) -> Option<Self> {
        let away_ns = answered_ns - asked_ns;
        let held_ns = told.sent_ns - told.received_ns;
        if away_ns < 0 || held_ns > away_ns + NOISE_NS {
            return None;
        }
        let middle_ns = asked_ns + away_ns / 2;
        Some(Self {
            server,
            zero_ns: told.received_ns + held_ns / 2 - middle_ns,
            error_ns: (away_ns - held_ns).max(0) / 2
                + told.distance_ns
                + away_ns / 1_000_000 * DRIFT_PPM
                + 1000,
            stratum: told.stratum,
            is_authentic: false,
        })
    }

    fn low(&self) -> i64 {
        self.zero_ns - self.error_ns
    }

    fn high(&self) -> i64 {
        self.zero_ns + self.error_ns
    }
}

/// What at least `quorum` servers agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The time when the local clock was 0, nanoseconds since 1970.
    pub zero_ns: i64,
    /// How far the truth may be from that, if one of those who agree does not lie.
    pub error_ns: i64,
    /// How many agree.
    pub votes: usize,
    /// The one of them with the smallest error, and its stratum.
    pub server: usize,
    /// Its stratum.
    pub stratum: u8,
    /// Whether all who agree are authentic.
    pub is_authentic: bool,
}

/// Where `quorum` or more intervals meet; of several such places, which only a quorum of less than half allows, none.
pub fn agree(samples: &[Sample], quorum: usize) -> Option<Agreed> {
    // The most intervals meet at the low end of one of them.
    let meet = |at: i64| samples.iter().filter(move |one| one.low() <= at && at <= one.high());
    let votes = samples.iter().map(|one| meet(one.low()).count()).max()?;
    if votes < quorum {
        return None;
    }
    let mut places = samples.iter().map(Sample::low).filter(|low| meet(*low).count() == votes);
    let low = places.next()?;
    if places.any(|other| other != low) {
        return None;
    }
    let high = meet(low).map(Sample::high).min()?;
    let best = meet(low).min_by_key(|one| one.error_ns)?;
    // The best server's own word, as far as the others allow it: the middle of the intersection would follow the errors.
    let zero_ns = best.zero_ns.clamp(low, high);
    let is_authentic = meet(low).all(|one| one.is_authentic);
    let (server, stratum) = (best.server, best.stratum);
    Some(Agreed { zero_ns, error_ns: best.error_ns, votes, server, stratum, is_authentic })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(server: usize, zero_ns: i64, error_ns: i64) -> Sample {
        Sample { server, zero_ns, error_ns, stratum: 2, is_authentic: false }
    }

    #[test]
    fn sample_of_a_symmetric_way_has_no_error_but_the_way() {
        let told = Told { received_ns: 5_000_000, sent_ns: 5_002_000, distance_ns: 300, stratum: 1 };
        let sample = Sample::new(0, &told, 1_000_000, 1_012_000).unwrap();
        assert_eq!(sample.zero_ns, 4_000_000 - 5_000);
        assert_eq!(sample.error_ns, 5_000 + 300 + 1000);
    }

    #[test]
    fn sample_of_a_server_that_held_the_question_too_long_is_none() {
        let told = Told { received_ns: 0, sent_ns: SECOND, distance_ns: 0, stratum: 1 };
        assert_eq!(Sample::new(0, &told, 0, SECOND / 2), None);
        assert_eq!(Sample::new(0, &told, SECOND, 0), None);
    }

    #[test]
    fn agreement_of_two_against_one_is_with_the_two() {
        let agreed = agree(&[sample(0, 100, 10), sample(1, 9000, 1), sample(2, 105, 20)], 2).unwrap();
        assert_eq!((agreed.zero_ns, agreed.votes, agreed.server), (100, 2, 0));
    }

    #[test]
    fn agreement_of_nobody_is_none() {
        assert_eq!(agree(&[], 1), None);
        assert_eq!(agree(&[sample(0, 100, 10), sample(1, 200, 10)], 2), None);
        assert_eq!(agree(&[sample(0, 100, 10), sample(1, 200, 10)], 1), None);
        assert_eq!(agree(&[sample(0, 100, 10)], 2), None);
    }

    proptest! {
        /// Whatever less than half of the servers say, the truth stays within the error of an honest one.
        #[test]
        fn agreement_of_a_majority_stays_near_the_truth(
            honest in prop::collection::vec((-1000..1000_i64, 0..5000_i64), 2..5),
            liars in prop::collection::vec((-100_000..100_000_i64, 1..200_000_i64), 0..4),
        ) {
            let mut samples: Vec<Sample> = honest
                .iter()
                .map(|(off, more)| sample(0, *off, off.abs() + more + 1))
                .collect();
            let reach = samples.iter().map(|one| 2 * one.error_ns).max().unwrap();
            samples.extend(liars.iter().take(honest.len() - 1).map(|(off, error)| sample(1, *off, *error)));
            let agreed = agree(&samples, samples.len() / 2 + 1);
            // Ambiguity is possible only where several places have the same number of votes.
            if let Some(agreed) = agreed {
                prop_assert!(agreed.zero_ns.abs() <= reach, "{agreed:?}");
            }
            // All honest: they always agree.
            let honest = &samples[..honest.len()];
            let all = agree(honest, honest.len()).unwrap();
            prop_assert_eq!(all.votes, honest.len());
            prop_assert!(all.zero_ns.abs() <= reach / 2);
        }
    }
}
