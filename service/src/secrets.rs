//! Chance, digests, codes, and sealing what is kept secret on a disk.
//!
//! Everything comes from `ring`. A code that this service hands out has at least 100 bits, so its SHA-256 can be kept
//! without salt, and nobody gets the code from there.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, pbkdf2};
use service_api::{Bytes, Code};
use std::fmt;
use std::num::NonZeroU32;

/// Rounds of PBKDF2-HMAC-SHA256 from the passphrase to its key (OWASP's number of 2023).
pub const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(599_999);
/// Without letters and digits that are taken for each other.
const SPOKEN: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// There was no chance to be had, or what is sealed is not by this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// The kernel gave no random bytes.
    Random,
    /// Not sealed with this key, or altered.
    Sealed,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "the kernel gave no random bytes",
            Self::Sealed => "not sealed with this key, or altered; is the passphrase right?",
        })
    }
}

impl std::error::Error for SecretError {}

impl From<SecretError> for crate::refusal::Refusal {
    fn from(error: SecretError) -> Self {
        tracing::error!(%error, "secrets");
        Self::unavailable("the service cannot make secrets now")
    }
}

/// Random bytes.
///
/// # Errors
/// The kernel gave none.
pub fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SecretError::Random)?;
    Ok(bytes)
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

/// Seals secrets for the disk: AES-256-GCM under a random nonce, bound to what they are for.
pub struct Sealer(LessSafeKey);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// By a key.
    ///
    /// # Errors
    /// Never, for a key of this length.
    pub fn new(key: &[u8; 32]) -> Result<Self, SecretError> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| SecretError::Sealed)?)))
    }

    /// By a passphrase. Slow on purpose, by [`ROUNDS`].
    ///
    /// # Errors
    /// Never, for a key of this length.
    pub fn of_passphrase(passphrase: &str, salt: &[u8; 16], rounds: NonZeroU32) -> Result<Self, SecretError> {
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase.as_bytes(), &mut key);
        Self::new(&key)
    }

    /// Seals `secret`; it opens for the same `purpose` only.
    ///
    /// # Errors
    /// No chance.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, SecretError> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = secret.to_vec();
        let with = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(with, Aad::from(purpose.as_bytes()), &mut sealed)
            .map_err(|_| SecretError::Sealed)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Opens what [`Sealer::seal`] made.
    ///
    /// # Errors
    /// It was sealed by another key or for another purpose, or it was altered.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SecretError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SecretError::Sealed)?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut bytes);
        Ok(opened.map_err(|_| SecretError::Sealed)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_secret_opens_for_its_purpose_and_key_only() -> Result<(), SecretError> {
        let sealer = Sealer::new(&[7; 32])?;
        let mut sealed = sealer.seal("root", b"secret")?;
        assert_eq!(sealer.open("root", &sealed)?, b"secret");
        assert_eq!(sealer.open("ear", &sealed), Err(SecretError::Sealed));
        assert_eq!(Sealer::new(&[8; 32])?.open("root", &sealed), Err(SecretError::Sealed));
        if let Some(last) = sealed.last_mut() {
            *last ^= 1;
        }
        assert_eq!(sealer.open("root", &sealed), Err(SecretError::Sealed));
        assert_eq!(sealer.open("root", &[]), Err(SecretError::Sealed));
        Ok(())
    }

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
