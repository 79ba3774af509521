//! What is added to a question and to its answer (RFC 8915, section 5): extension fields of a type and a length that counts
//! the four bytes of both and is a multiple of four.
//!
//! Only what is before the authenticator and inside it counts. What is after it anybody may have put there.

use aes_siv::KeyInit;
use aes_siv::siv::Aes128Siv;

use super::super::wire;
use super::{COOKIE_BYTES, Key, MOST_COOKIES, Session};

const UNIQUE: u16 = 0x0104;
const COOKIE: u16 = 0x0204;
const PLACEHOLDER: u16 = 0x0304;
const AUTHENTICATOR: u16 = 0x0404;

/// The longest answer that is read: what may be in it is eight cookies.
pub const MOST_BYTES: usize = wire::LENGTH + 36 + MOST_COOKIES * (COOKIE_BYTES + 4) + 64;

/// Random bits of one question: 8 that stand where the time would, 32 that name it, 16 for the cipher.
#[derive(Clone, Copy, Debug)]
pub struct Nonces {
    /// Where the time of sending would be.
    pub origin: [u8; 8],
    /// Names the question.
    pub unique: [u8; 32],
    /// For the cipher.
    pub cipher: [u8; 16],
}

/// A question that uses up one of the session's cookies and asks for as many as it then lacks. `None`: no cookie is left.
pub fn question(session: &mut Session, nonces: &Nonces) -> Option<Vec<u8>> {
    let cookie = session.cookies.pop()?;
    let mut bytes = wire::question(nonces.origin).to_vec();
    put(&mut bytes, UNIQUE, &nonces.unique);
    put(&mut bytes, COOKIE, &cookie);
    // The answer brings one for the one that is used.
    for _ in session.cookies.len() + 1..MOST_COOKIES {
        put(&mut bytes, PLACEHOLDER, &vec![0; cookie.len()]);
    }
    let sealed = Aes128Siv::new(&session.to_server.into()).encrypt([&bytes[..], &nonces.cipher], &[]).ok()?;
    let lengths = [nonces.cipher.len() as u16, sealed.len() as u16].map(u16::to_be_bytes).concat();
    put(&mut bytes, AUTHENTICATOR, &[&lengths, &nonces.cipher[..], &sealed].concat());
    Some(bytes)
}

/// What an answer is besides a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The server wrote it to our question, and gave these cookies.
    Authentic(Vec<Vec<u8>>),
    /// The server does not know the keys any more, says somebody who saw our question.
    Unknown,
    /// Anything else.
    Forged,
}

/// Checks an answer to the question named `unique`.
pub fn check(bytes: &[u8], unique: &[u8; 32], key: &Key) -> Checked {
    let is_unknown = bytes.get(1) == Some(&0) && bytes.get(12..16) == Some(b"NTSN");
    let mut at = wire::LENGTH;
    let mut is_named = false;
    while let Some((kind, body, next)) = field(bytes, at) {
        match kind {
            UNIQUE if body == unique => is_named = true,
            AUTHENTICATOR if is_named => {
                let before = bytes.get(..at).unwrap_or_default();
                return open(before, body, key)
                    .map_or(Checked::Forged, |text| Checked::Authentic(cookies(&text)));
            }
            _ => {}
        }
        at = next;
    }
    if is_named && is_unknown { Checked::Unknown } else { Checked::Forged }
}

/// What is inside an authenticator.
fn open(before: &[u8], body: &[u8], key: &Key) -> Option<Vec<u8>> {
    let ([a, b, c, d], rest) = body.split_first_chunk()?;
    let nonce_length = usize::from(u16::from_be_bytes([*a, *b]));
    let sealed_length = usize::from(u16::from_be_bytes([*c, *d]));
    let nonce = rest.get(..nonce_length)?;
    let sealed_at = nonce_length.next_multiple_of(4);
    let sealed = rest.get(sealed_at..sealed_at.checked_add(sealed_length)?)?;
    Aes128Siv::new(&(*key).into()).decrypt([before, nonce], sealed).ok()
}

fn cookies(text: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((kind, body, next)) = field(text, at) {
        if kind == COOKIE && (1..=COOKIE_BYTES).contains(&body.len()) && found.len() < MOST_COOKIES {
            found.push(body.to_vec());
        }
        at = next;
    }
    found
}

/// The field at a place: its type, its body, and where the next one is.
fn field(bytes: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let ([a, b, c, d], rest) = bytes.get(at..)?.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*c, *d]));
    if length % 4 != 0 {
        return None;
    }
    let body = rest.get(..length.checked_sub(4)?)?;
    Some((u16::from_be_bytes([*a, *b]), body, at + length))
}

fn put(bytes: &mut Vec<u8>, kind: u16, body: &[u8]) {
    let length = (body.len() + 4).next_multiple_of(4);
    bytes.extend(kind.to_be_bytes());
    bytes.extend((length as u16).to_be_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len() + length - 4 - body.len(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONCES: Nonces = Nonces { origin: [1; 8], unique: [2; 32], cipher: [3; 16] };

    fn session(cookies: usize) -> Session {
        Session { to_server: [4; 32], from_server: [5; 32], cookies: vec![vec![6; 100]; cookies] }
    }

    /// A server's answer with these cookies.
    fn answer(cookies: &[Vec<u8>]) -> Vec<u8> {
        let mut inside = Vec::new();
        cookies.iter().for_each(|cookie| put(&mut inside, COOKIE, cookie));
        let mut bytes = vec![0x24; wire::LENGTH];
        put(&mut bytes, UNIQUE, &NONCES.unique);
        let sealed = Aes128Siv::new(&[5; 32].into()).encrypt([&bytes[..], &[9; 16]], &inside).unwrap();
        let lengths = [16, sealed.len() as u16].map(u16::to_be_bytes).concat();
        put(&mut bytes, AUTHENTICATOR, &[&lengths, &[9; 16][..], &sealed].concat());
        bytes
    }

    #[test]
    fn question_uses_a_cookie_and_asks_for_those_that_lack() {
        let mut session = session(6);
        let bytes = question(&mut session, &NONCES).unwrap();
        assert_eq!(session.cookies.len(), 5);
        assert_eq!(bytes.len(), 48 + 36 + 3 * 104 + 40);
        let opened = open(&bytes[..bytes.len() - 40], &bytes[bytes.len() - 36..], &[4; 32]);
        assert_eq!(opened, Some(Vec::new()));
        session.cookies.clear();
        assert_eq!(question(&mut session, &NONCES), None);
    }

    #[test]
    fn answer_of_the_server_is_authentic_and_brings_cookies() {
        let fresh = vec![vec![7; 100]; 3];
        assert_eq!(check(&answer(&fresh), &NONCES.unique, &[5; 32]), Checked::Authentic(fresh.clone()));
        let more = [answer(&fresh), vec![0x02, 0x04, 0, 8, 1, 1, 1, 1]].concat();
        assert_eq!(check(&more, &NONCES.unique, &[5; 32]), Checked::Authentic(fresh));
        assert!(answer(&vec![vec![7; COOKIE_BYTES]; MOST_COOKIES]).len() <= MOST_BYTES);
    }

    #[test]
    fn answer_with_one_bit_changed_is_forged() {
        let good = answer(&[vec![7; 100]]);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&bytes, &NONCES.unique, &[5; 32]), Checked::Forged, "bit {bit}");
        }
        assert_eq!(check(&good, &[8; 32], &[5; 32]), Checked::Forged);
        assert_eq!(check(&good, &NONCES.unique, &[4; 32]), Checked::Forged);
    }

    #[test]
    fn server_that_forgot_the_keys_is_believed_only_if_it_saw_the_question() {
        let mut bytes = vec![0; wire::LENGTH];
        bytes[12..16].copy_from_slice(b"NTSN");
        assert_eq!(check(&bytes, &NONCES.unique, &[5; 32]), Checked::Forged);
        put(&mut bytes, UNIQUE, &NONCES.unique);
        assert_eq!(check(&bytes, &NONCES.unique, &[5; 32]), Checked::Unknown);
    }

    proptest! {
        #[test]
        fn answer_of_any_fields_is_forged(
            fields in prop::collection::vec(
                (prop::sample::select(vec![UNIQUE, COOKIE, AUTHENTICATOR]), prop::collection::vec(any::<u8>(), 0..80)),
                0..6,
            ),
            cut in 0..20_usize,
        ) {
            let mut bytes = vec![0x24; wire::LENGTH];
            put(&mut bytes, UNIQUE, &NONCES.unique);
            for (kind, body) in fields {
                put(&mut bytes, kind, &body);
            }
            bytes.truncate(bytes.len() - cut);
            prop_assert_eq!(check(&bytes, &NONCES.unique, &[5; 32]), Checked::Forged);
        }
    }
}
