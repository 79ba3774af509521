//! The 48 bytes of an SNTP question and of its answer (RFC 5905, figure 8; RFC 4330, section 5).
//!
//! An attacker on the path writes every byte of an answer; off the path he does not know the 64 random bits that a
//! question carries in place of a time, and an answer without them is none, a kiss of death included. The question says
//! nothing of this device (draft-ietf-ntp-data-minimization): every other field is zero.
//!
//! Not here: extension fields and MACs, which are not read: only the first 48 bytes of an answer count.

/// Bytes of a question, and the least of an answer.
pub const LENGTH: usize = 48;

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

/// From 1900, where NTP's seconds begin, to 1970.
const UNIX_EPOCH_S: i64 = 2_208_988_800;

/// Version 4, mode 3 (client).
const CLIENT: u8 = 4 << 3 | 3;

/// The longest way to the reference clock, there and back with its uncertainty, that is still of use: RFC 5905's MAXDIST
/// is 1 s and its MAXDISP 16 s; servers behind satellites need more than the first.
const MAX_DISTANCE_NS: i64 = 3 * SECOND / 2;

/// A question: `nonce` stands where the time of sending would.
pub fn question(nonce: [u8; 8]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = CLIENT;
    bytes[40..].copy_from_slice(&nonce);
    bytes
}

/// What an answer says, once it was found to be one to our question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The time.
    Time(Told),
    /// A kiss of death: the server wants no more questions.
    Deny,
    /// A kiss of death: the server wants fewer questions.
    Slower,
}

/// A server's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// When it had the question, nanoseconds since 1970.
    pub received_ns: i64,
    /// When it sent the answer, nanoseconds since 1970, not before `received_ns`.
    pub sent_ns: i64,
    /// Half of its way to the reference clock plus its uncertainty, nanoseconds: at least 0, at most 1.5 s.
    pub distance_ns: i64,
    /// How many servers from a reference clock, 1 to 15.
    pub stratum: u8,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnAnswer {
    /// Fewer than 48 bytes.
    Short,
    /// Not a server's answer of version 3 or 4.
    Mode,
    /// It does not carry our question's random bits.
    Origin,
    /// The server says it is not synchronised.
    Unsynchronised,
    /// A stratum that is none.
    Stratum,
    /// Too far from its reference clock to be of use.
    Distance,
    /// It was sent before the question came, or has no time.
    Times,
}

/// Reads an answer to the question that carried `nonce`. NTP's seconds wrap every 136 years: the time is the first one
/// that fits and is not before `floor_s`, seconds since 1970.
pub fn answer(bytes: &[u8], nonce: [u8; 8], floor_s: i64) -> Result<Answer, NotAnAnswer> {
    let bytes: &[u8; LENGTH] = bytes.first_chunk().ok_or(NotAnAnswer::Short)?;
    let (leap, version, mode) = (bytes[0] >> 6, bytes[0] >> 3 & 7, bytes[0] & 7);
    if mode != 4 || !(3..=4).contains(&version) {
        return Err(NotAnAnswer::Mode);
    }
    if bytes[24..32] != nonce {
        return Err(NotAnAnswer::Origin);
    }
    let stratum = bytes[1];
    if stratum == 0 {
        return match &bytes[12..16] {
            b"DENY" | b"RSTR" => Ok(Answer::Deny),
            b"RATE" => Ok(Answer::Slower),
            _ => Err(NotAnAnswer::Stratum),
        };
    }
    if stratum > 15 {
        return Err(NotAnAnswer::Stratum);
    }
    if leap == 3 {
        return Err(NotAnAnswer::Unsynchronised);
    }
    let distance_ns = short(bytes, 4) / 2 + short(bytes, 8);
    if distance_ns > MAX_DISTANCE_NS {
        return Err(NotAnAnswer::Distance);
    }
    if bytes[40..] == [0; 8] {
        return Err(NotAnAnswer::Times);
    }
    let received_ns = unix(bytes, 32, floor_s);
    let sent_ns = unix(bytes, 40, floor_s);
    if sent_ns < received_ns {
        return Err(NotAnAnswer::Times);
    }
    Ok(Answer::Time(Told { received_ns, sent_ns, distance_ns, stratum }))
}

fn word(bytes: &[u8; LENGTH], at: usize) -> i64 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | i64::from(*byte))
}

/// "NTP short format": 16 bits of seconds and 16 of their fraction.
fn short(bytes: &[u8; LENGTH], at: usize) -> i64 {
    (word(bytes, at) * SECOND) >> 16
}

/// "NTP timestamp format": 32 bits of seconds and 32 of their fraction.
fn unix(bytes: &[u8; LENGTH], at: usize, floor_s: i64) -> i64 {
    let since_floor = (word(bytes, at) - UNIX_EPOCH_S - floor_s).rem_euclid(1 << 32);
    (floor_s + since_floor) * SECOND + ((word(bytes, at + 4) * SECOND) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCE: [u8; 8] = *b"whatever";
    const FLOOR_S: i64 = 1_700_000_000;

    fn good() -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = 4 << 3 | 4;
        bytes[1] = 2;
        bytes[24..32].copy_from_slice(&NONCE);
        let seconds = u32::try_from((FLOOR_S + 100 + UNIX_EPOCH_S) % (1 << 32)).unwrap();
        bytes[32..36].copy_from_slice(&seconds.to_be_bytes());
        bytes[40..44].copy_from_slice(&seconds.to_be_bytes());
        bytes[44] = 0x80;
        bytes
    }

    fn with(at: usize, value: &[u8]) -> Result<Answer, NotAnAnswer> {
        let mut bytes = good();
        bytes[at..at + value.len()].copy_from_slice(value);
        answer(&bytes, NONCE, FLOOR_S)
    }

    #[test]
    fn question_says_nothing_but_random_bits() {
        let bytes = question(NONCE);
        assert_eq!(bytes[0], 0x23);
        assert_eq!(bytes[1..40], [0; 39]);
        assert_eq!(bytes[40..], NONCE);
    }

    #[test]
    fn answer_that_is_good_is_read() {
        let told = Told {
            received_ns: (FLOOR_S + 100) * SECOND,
            sent_ns: (FLOOR_S + 100) * SECOND + SECOND / 2,
            distance_ns: 0,
            stratum: 2,
        };
        assert_eq!(answer(&good(), NONCE, FLOOR_S), Ok(Answer::Time(told)));
        let longer = [good().as_slice(), &[7; 1000]].concat();
        assert_eq!(answer(&longer, NONCE, FLOOR_S), Ok(Answer::Time(told)));
    }

    #[test]
    fn answer_after_the_wrap_of_2036_is_after_the_floor() {
        let floor_s = (1 << 32) - UNIX_EPOCH_S - 10;
        let mut bytes = good();
        bytes[32..40].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 0]);
        bytes[40..48].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 1]);
        let Ok(Answer::Time(told)) = answer(&bytes, NONCE, floor_s) else { panic!("no time") };
        assert_eq!(told.received_ns, (floor_s + 15) * SECOND);
    }

    #[test]
    fn answer_to_another_question_is_none_even_a_kiss_of_death() {
        assert_eq!(with(24, b"x"), Err(NotAnAnswer::Origin));
        let mut kiss = good();
        kiss[1] = 0;
        kiss[12..16].copy_from_slice(b"DENY");
        assert_eq!(answer(&kiss, NONCE, FLOOR_S), Ok(Answer::Deny));
        assert_eq!(answer(&kiss, *b"another1", FLOOR_S), Err(NotAnAnswer::Origin));
        kiss[12..16].copy_from_slice(b"RATE");
        assert_eq!(answer(&kiss, NONCE, FLOOR_S), Ok(Answer::Slower));
        kiss[12..16].copy_from_slice(b"INIT");
        assert_eq!(answer(&kiss, NONCE, FLOOR_S), Err(NotAnAnswer::Stratum));
    }

    #[test]
    fn answer_of_a_server_that_is_unfit_is_refused() {
        assert_eq!(with(0, &[3 << 6 | 4 << 3 | 4]), Err(NotAnAnswer::Unsynchronised));
        assert_eq!(with(0, &[4 << 3 | 3]), Err(NotAnAnswer::Mode));
        assert_eq!(with(0, &[2 << 3 | 4]), Err(NotAnAnswer::Mode));
        assert_eq!(with(1, &[16]), Err(NotAnAnswer::Stratum));
        assert_eq!(with(4, &[0, 4]), Err(NotAnAnswer::Distance));
        assert_eq!(with(8, &[0, 2]), Err(NotAnAnswer::Distance));
        assert_eq!(with(40, &[0; 8]), Err(NotAnAnswer::Times));
        assert_eq!(with(36, &[0x81]), Err(NotAnAnswer::Times));
        assert_eq!(answer(&good()[..47], NONCE, FLOOR_S), Err(NotAnAnswer::Short));
    }

    proptest! {
        #[test]
        fn answer_of_any_bytes_keeps_its_bounds(
            mut bytes in prop::collection::vec(any::<u8>(), 0..100),
            fits in any::<bool>(),
            floor_s in 0..4_000_000_000_i64,
        ) {
            if fits && bytes.len() >= LENGTH {
                bytes[0] = bytes[0] & 0xc0 | 4 << 3 | 4;
                bytes[1] &= 0x0f;
                bytes[4..6].fill(0);
                bytes[8..10].fill(0);
                bytes[24..32].copy_from_slice(&NONCE);
            }
            if let Ok(Answer::Time(told)) = answer(&bytes, NONCE, floor_s) {
                prop_assert!(told.received_ns >= floor_s * SECOND);
                prop_assert!(told.sent_ns >= told.received_ns);
                prop_assert!(told.sent_ns < (floor_s + (1 << 32)) * SECOND);
                prop_assert!((0..=MAX_DISTANCE_NS).contains(&told.distance_ns));
            }
        }
    }
}
