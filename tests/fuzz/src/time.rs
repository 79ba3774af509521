//! What time servers answer, by way of what is done to the clock.

use netd::time::discipline::{AHEAD_AGREED_S, SLEW_NS};
use netd::time::nts::records::{self, Useless};
use netd::time::nts::{COOKIE_BYTES, MOST_COOKIES, fields};
use netd::time::wire::{self, Answer, LENGTH, SECOND};
use netd::time::{Decision, Discipline, Now, Sample};

/// When the system was built that asks.
const FLOOR_S: i64 = 1_700_000_000;

/// Answers of up to eight servers, 48 bytes each, over rounds of five: only answers to our question count, and whatever they
/// say the clock is within its bounds.
pub fn sntp(bytes: &[u8]) {
    let mut now = Now { local_ns: SECOND, real_ns: FLOOR_S * SECOND };
    let mut core = Discipline::new(FLOOR_S, now, bytes.len() % 2 == 1);
    for round in bytes.chunks(5 * LENGTH) {
        let mut samples = Vec::new();
        for (server, answer) in round.chunks(LENGTH).enumerate() {
            samples.extend(sample(server, answer, now.local_ns));
            if let Some(decision) = core.early(&samples, 5, now) {
                done(&mut core, &decision, &mut now);
            }
        }
        let decision = core.late(&samples, 5, now);
        done(&mut core, &decision, &mut now);
        now = Now { local_ns: now.local_ns + 64 * SECOND, real_ns: now.real_ns + 64 * SECOND };
    }
}

fn sample(server: usize, bytes: &[u8], now_ns: i64) -> Option<Sample> {
    // Nobody knows the random bits of a question; the fuzzer would never find them, so they are what the answer has.
    let nonce = bytes.get(24..32).and_then(|bits| <[u8; 8]>::try_from(bits).ok()).unwrap_or_default();
    let other = nonce.map(|byte| !byte);
    assert!(wire::answer(bytes, other, FLOOR_S).is_err(), "an answer to another question");
    let Ok(Answer::Time(told)) = wire::answer(bytes, nonce, FLOOR_S) else { return None };
    assert!(told.received_ns >= FLOOR_S * SECOND && told.sent_ns >= told.received_ns);
    let sample = Sample::new(server, &told, now_ns - SECOND / 10, now_ns)?;
    assert!(sample.error_ns > 0);
    Some(sample)
}

fn done(core: &mut Discipline, decision: &Decision, now: &mut Now) {
    let (Decision::Step(change) | Decision::Slew(change)) = decision else { return };
    assert!(matches!(decision, Decision::Step(_)) || change.offset_ns.abs() <= SLEW_NS);
    let floor_s = core.floor_s();
    now.real_ns += change.offset_ns;
    assert!((floor_s * SECOND..=(floor_s + AHEAD_AGREED_S) * SECOND).contains(&now.real_ns));
    core.made(change, *now);
    assert!(core.floor_s() >= floor_s && core.floor_s() * SECOND <= now.real_ns);
}

/// What a server says when keys are established, and an answer with fields. Nothing that was not sealed with the key is
/// authentic, and no more is kept than the limits say.
pub fn nts(bytes: &[u8]) {
    match records::reply(bytes) {
        Ok(reply) => {
            assert!((1..=MOST_COOKIES).contains(&reply.cookies.len()));
            assert!(reply.cookies.iter().all(|cookie| (1..=COOKIE_BYTES).contains(&cookie.len())));
            assert!(reply.server.is_none_or(|name| (1..=253).contains(&name.len()) && name.is_ascii()));
            // What comes after the end changes nothing.
            assert!(records::reply(&[bytes, b"more"].concat()).is_ok());
        }
        Err(Useless::Unfinished) => {}
        Err(useless) => assert_eq!(records::reply(&[bytes, b"more"].concat()), Err(useless)),
    }
    let unique = bytes.get(52..84).and_then(|bits| bits.try_into().ok()).unwrap_or([0; 32]);
    assert!(!matches!(fields::check(bytes, &unique, &[7; 32]), fields::Checked::Authentic(_)));
}
