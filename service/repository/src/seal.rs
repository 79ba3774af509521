//! Sealing what is kept secret on a disk: keys here, and what the Security Service keeps.
//!
//! AES-256-GCM under a random nonce, bound to what it is for; the key is random, or of a passphrase.
//! What an attacker controls: what is sealed, if the disk is his. It opens as it was, or not at all.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::fmt;
use std::num::NonZeroU32;

/// Rounds of PBKDF2-HMAC-SHA256 from a passphrase to its key (OWASP's number of 2023).
pub const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(599_999);

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

/// Random bytes.
///
/// # Errors
/// The kernel gave none.
pub fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SecretError::Random)?;
    Ok(bytes)
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
}
