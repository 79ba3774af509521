//! Chance, digests, codes; and sealing what is kept secret on a disk, as the repository's library does it.
//!
//! Everything comes from `ring`. A code that this service hands out has at least 100 bits, so its SHA-256 can be kept
//! without salt, and nobody gets the code from there.

use ring::digest;
use service_api::{Bytes, Code};

pub use repository::seal::{ROUNDS, Sealer, SecretError, random};

/// Without letters and digits that are taken for each other.
const SPOKEN: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl From<SecretError> for crate::refusal::Refusal {
    fn from(error: SecretError) -> Self {
        tracing::error!(%error, "secrets");
        Self::unavailable("the service cannot make secrets now")
    }
}

/// A code for programs: 256 bits.
///
/// # Errors
/// No chance.
pub fn code() -> Result<Code, SecretError> {
    let text = Bytes::<32>::new(random::<32>()?).unwrap_or_default().encode();
    Code::try_from(text).map_err(|_| SecretError::Random)
}

/// A code for people, 100 bits: `abcde-fghjk-mnpqr-stvwx`.
///
/// # Errors
/// No chance.
pub fn spoken_code() -> Result<Code, SecretError> {
    let mut text = String::new();
    for (place, byte) in random::<20>()?.into_iter().enumerate() {
        if place > 0 && place % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(SPOKEN[usize::from(byte % 32)]));
    }
    Code::try_from(text).map_err(|_| SecretError::Random)
}

/// SHA-256 of a code, in hexadecimal: what is kept of it.
pub fn digest_of(code: &Code) -> String {
    sha256(code.as_str().as_bytes())
}

/// SHA-256, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// What [`hex`] writes.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2)
        || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spoken_code_is_a_code() -> Result<(), SecretError> {
        let code = spoken_code()?;
        assert_eq!(code.as_str().len(), 23);
        assert_ne!(code, spoken_code()?);
        Ok(())
    }

    #[test]
    fn hexadecimal_is_read_back_in_one_way() {
        assert_eq!(unhex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        for bad in ["0", "0G", "+1", "0F", "é0"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}
