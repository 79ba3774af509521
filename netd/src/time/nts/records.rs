//! What is said in the TLS connection (RFC 8915, section 4): records of a type, a length and a body.
//!
//! The server is authenticated, but it is read as if it were not: at most [`MOST_BYTES`], each record checked.

use super::{COOKIE_BYTES, MOST_COOKIES};

/// The most a server may say.
pub const MOST_BYTES: usize = 4096;

/// The protocol: NTPv4.
const NTP_V4: u16 = 0;
/// The algorithm: AEAD_AES_SIV_CMAC_256, the one that every server has.
const AES_SIV_CMAC_256: u16 = 15;

const CRITICAL: u16 = 0x8000;
const END: u16 = 0;
const PROTOCOL: u16 = 1;
const ERROR: u16 = 2;
const WARNING: u16 = 3;
const ALGORITHM: u16 = 4;
const COOKIE: u16 = 5;
const SERVER: u16 = 6;
const PORT: u16 = 7;

/// What we say.
pub fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    for (kind, body) in [(PROTOCOL, Some(NTP_V4)), (ALGORITHM, Some(AES_SIV_CMAC_256)), (END, None)] {
        let body = body.map(u16::to_be_bytes);
        let body = body.as_ref().map_or(&[][..], |body| body);
        bytes.extend((kind | CRITICAL).to_be_bytes());
        bytes.extend([0, body.len() as u8]);
        bytes.extend(body);
    }
    bytes
}

/// What the exporter's context is for keys in one direction (section 5.1): protocol, algorithm, direction.
pub fn context(from_server: bool) -> [u8; 5] {
    let ([a, b], [c, d]) = (NTP_V4.to_be_bytes(), AES_SIV_CMAC_256.to_be_bytes());
    [a, b, c, d, u8::from(from_server)]
}

/// What the server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// One at least.
    pub cookies: Vec<Vec<u8>>,
    /// Another server for the time.
    pub server: Option<String>,
    /// Another port than NTP's.
    pub port: Option<u16>,
}

/// Why what the server said is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Useless {
    /// It is not whole yet.
    Unfinished,
    /// The server reports an error, or warns of something nobody has defined.
    Refused,
    /// It does not have our protocol or algorithm, or gave no cookie.
    Lacking,
    /// It is not what the standard says.
    Malformed,
}

/// Reads what the server said so far.
pub fn reply(mut bytes: &[u8]) -> Result<Reply, Useless> {
    let (mut reply, mut has_protocol, mut has_algorithm) = (Reply::default(), false, false);
    loop {
        let Some(([a, b, c, d], rest)) = bytes.split_first_chunk() else { return Err(Useless::Unfinished) };
        let (kind, length) = (u16::from_be_bytes([*a, *b]), usize::from(u16::from_be_bytes([*c, *d])));
        let Some((body, rest)) = rest.split_at_checked(length) else { return Err(Useless::Unfinished) };
        bytes = rest;
        let number = <[u8; 2]>::try_from(body).map(u16::from_be_bytes).map_err(|_| Useless::Malformed);
        match kind & !CRITICAL {
            END => break,
            PROTOCOL => has_protocol = number? == NTP_V4,
            ALGORITHM => has_algorithm = number? == AES_SIV_CMAC_256,
            ERROR | WARNING => return Err(Useless::Refused),
            COOKIE if body.is_empty() || body.len() > COOKIE_BYTES => return Err(Useless::Malformed),
            COOKIE if reply.cookies.len() < MOST_COOKIES => reply.cookies.push(body.to_vec()),
            COOKIE => {}
            SERVER => {
                let text = std::str::from_utf8(body).map_err(|_| Useless::Malformed)?;
                let is_name = |one: char| one.is_ascii_alphanumeric() || "-.:".contains(one);
                if text.is_empty() || text.len() > 253 || !text.chars().all(is_name) {
                    return Err(Useless::Malformed);
                }
                reply.server = Some(text.to_owned());
            }
            PORT => reply.port = Some(number?),
            _ if kind & CRITICAL != 0 => return Err(Useless::Malformed),
            _ => {}
        }
    }
    if !has_protocol || !has_algorithm || reply.cookies.is_empty() {
        return Err(Useless::Lacking);
    }
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap();
        [&kind.to_be_bytes(), &length.to_be_bytes(), body].concat()
    }

    fn good() -> Vec<Vec<u8>> {
        vec![
            record(PROTOCOL | CRITICAL, &[0, 0]),
            record(ALGORITHM, &[0, 15]),
            record(COOKIE, &[7; 100]),
            record(99, b"whatever"),
            record(SERVER, b"time.example"),
            record(PORT, &[0, 124]),
        ]
    }

    fn read(mut records: Vec<Vec<u8>>) -> Result<Reply, Useless> {
        records.push(record(END | CRITICAL, &[]));
        reply(&records.concat())
    }

    #[test]
    fn request_is_what_a_server_takes() {
        assert_eq!(request(), [0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 2, 0, 15, 0x80, 0, 0, 0]);
        assert_eq!((context(false), context(true)), ([0, 0, 0, 15, 0], [0, 0, 0, 15, 1]));
    }

    #[test]
    fn reply_that_is_whole_is_read() {
        let wanted =
            Reply { cookies: vec![vec![7; 100]], server: Some("time.example".into()), port: Some(124) };
        assert_eq!(read(good()), Ok(wanted));
        let whole = [good().concat(), record(END | CRITICAL, &[])].concat();
        for end in 0..whole.len() {
            assert_eq!(reply(&whole[..end]), Err(Useless::Unfinished), "{end}");
        }
    }

    #[test]
    fn reply_with_more_cookies_than_are_kept_is_cut() {
        let many = vec![record(COOKIE, &[1; 100]); 30];
        assert_eq!(read([good(), many].concat()).unwrap().cookies.len(), MOST_COOKIES);
    }

    #[test]
    fn reply_that_is_wrong_is_refused() {
        let with = |more: Vec<u8>| read([good(), vec![more]].concat());
        assert_eq!(with(record(ERROR | CRITICAL, &[0, 1])), Err(Useless::Refused));
        assert_eq!(with(record(99 | CRITICAL, &[])), Err(Useless::Malformed));
        assert_eq!(with(record(COOKIE, &[0; COOKIE_BYTES + 1])), Err(Useless::Malformed));
        assert_eq!(with(record(SERVER, b"a\nb")), Err(Useless::Malformed));
        assert_eq!(with(record(PORT, &[1])), Err(Useless::Malformed));
        assert_eq!(with(record(ALGORITHM, &[0, 17])), Err(Useless::Lacking));
        assert_eq!(read(good()[..2].to_vec()), Err(Useless::Lacking));
    }
}
