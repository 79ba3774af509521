//! An answer taken apart (part 1, clause 18.4): header, handle, parameters, and what each session says of them.
//!
//! An interposer on the bus writes all of it. The length in the header is that of the whole; an answer to a command with
//! sessions has as many of them, or nothing in it could be authenticated; nothing is left over.

use crate::constants::{MOST_BYTES, ST_NO_SESSIONS, ST_SESSIONS};
use crate::response_code::ResponseCode;
use crate::wire::Reader;

/// Bytes before what a command or answer says: tag, length, code.
pub(crate) const HEADER: usize = 10;

/// The parts of a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The handle of what was loaded, if the command loads.
    pub handle: Option<u32>,
    /// The parameters, the first of them still encrypted if that was asked for.
    pub parameters: &'a [u8],
    /// One for each session of the command, in its order.
    pub sessions: Vec<SessionAnswer<'a>>,
}

/// What a session says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAnswer<'a> {
    /// The TPM's next nonce.
    pub nonce: &'a [u8],
    /// `TPMA_SESSION`.
    pub attributes: u8,
    /// Over the parameters, both nonces and the attributes.
    pub hmac: &'a [u8],
}

/// Takes `bytes` apart: the answer to a command that loads something if `loads`, and had so many `sessions`. `None` when
/// it can't be one.
#[must_use]
pub fn split(bytes: &[u8], loads: bool, sessions: usize) -> Option<Result<Answer<'_>, ResponseCode>> {
    let mut reader = Reader::new(bytes);
    let tag = reader.u16()?;
    let length = usize::try_from(reader.u32()?).ok()?;
    let code = reader.u32()?;
    if length != bytes.len() || length > MOST_BYTES {
        return None;
    }
    if code != 0 {
        // TPM_RC_BAD_TAG has a tag of its own, for those that speak TPM 1.2; we never do.
        return (tag == ST_NO_SESSIONS && length == HEADER).then_some(Err(ResponseCode(code)));
    }
    let handle = if loads { Some(reader.u32()?) } else { None };
    if sessions == 0 {
        let parameters = reader.rest();
        return (tag == ST_NO_SESSIONS).then_some(Ok(Answer { handle, parameters, sessions: Vec::new() }));
    }
    if tag != ST_SESSIONS {
        return None;
    }
    let size = usize::try_from(reader.u32()?).ok()?;
    let parameters = reader.take(size)?;
    let sessions = (0..sessions).map(|_| session(&mut reader)).collect::<Option<Vec<_>>>()?;
    reader.rest().is_empty().then_some(Ok(Answer { handle, parameters, sessions }))
}

fn session<'a>(reader: &mut Reader<'a>) -> Option<SessionAnswer<'a>> {
    Some(SessionAnswer { nonce: reader.sized(64)?, attributes: reader.u8()?, hmac: reader.sized(64)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    fn answer(tag: u16, code: u32, rest: &[u8]) -> Vec<u8> {
        Writer::new().u16(tag).u32(10 + rest.len() as u32).u32(code).bytes(rest).done()
    }

    #[test]
    fn answer_without_its_sessions_is_none() {
        let stripped = answer(ST_NO_SESSIONS, 0, b"\0\x02ab");
        assert!(split(&stripped, false, 0).is_some());
        assert_eq!(split(&stripped, false, 1), None);
        let with = answer(ST_SESSIONS, 0, b"\0\0\0\x02ab\0\x01n\x01\0\x01h");
        assert_eq!(split(&with, false, 0), None);
        assert_eq!(split(&with, false, 2), None);
        let session = SessionAnswer { nonce: b"n", attributes: 1, hmac: b"h" };
        let answer = Answer { handle: None, parameters: b"ab", sessions: vec![session] };
        assert_eq!(split(&with, false, 1), Some(Ok(answer)));
    }

    #[test]
    fn answer_cut_at_any_byte_or_longer_is_none() {
        let whole = answer(ST_SESSIONS, 0, b"\x80\0\0\0\0\0\0\x02ab\0\x01n\x01\0\x01h");
        assert!(matches!(split(&whole, true, 1), Some(Ok(_))));
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            assert_eq!(split(&cut, true, 1), None);
            if let Some(place) = cut.get_mut(2..6) {
                place.copy_from_slice(&(length as u32).to_be_bytes());
                assert_eq!(split(&cut, true, 1), None, "{length}");
            }
        }
        assert_eq!(split(&[whole, vec![0]].concat(), true, 1), None);
    }

    #[test]
    fn refusal_with_anything_behind_is_none() {
        assert_eq!(split(&answer(ST_NO_SESSIONS, 0x921, &[]), true, 2), Some(Err(ResponseCode(0x921))));
        assert_eq!(split(&answer(ST_NO_SESSIONS, 0x921, &[0]), true, 2), None);
        assert_eq!(split(&answer(ST_SESSIONS, 0x921, &[]), true, 2), None);
    }
}
