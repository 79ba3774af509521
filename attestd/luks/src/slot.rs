//! A key slot: a volume key split so that every bit of 256,000 bytes is needed to have it (clause 5, "anti-forensic
//! splitter" of LUKS1), encrypted under a key that comes of a passphrase; and the digest by which a volume key is known.

use std::num::NonZeroU32;

use aes::Aes256;
use aes::cipher::KeyInit;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, pbkdf2};
use xts_mode::{Xts128, get_tweak_default};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::json::Derivation;

/// Bytes of a volume key: two keys of AES-256.
pub(crate) const KEY: usize = 64;

/// Into how many parts a volume key is split: what `cryptsetup` does.
pub(crate) const STRIPES: usize = 4000;

/// Bytes of a slot's area that count.
pub(crate) const MATERIAL: usize = KEY * STRIPES;

/// The unit in which key slots are encrypted.
const SLOT_SECTOR: usize = 512;

/// The key that the data is encrypted with, aes-xts-plain64.
pub struct VolumeKey(Zeroizing<[u8; KEY]>);

impl VolumeKey {
    /// A new one.
    ///
    /// # Errors
    /// [`Error::NoRandom`].
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; KEY]);
        random(&mut *bytes)?;
        Ok(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }

    /// PBKDF2 of it: what a header knows it by.
    pub(crate) fn digest(&self, derivation: &Derivation) -> [u8; 32] {
        let mut bytes = [0; 32];
        derive(derivation, &*self.0, &mut bytes);
        bytes
    }
}

/// Random bytes of the system's.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Error> {
    SystemRandom::new().fill(bytes).map_err(|_| Error::NoRandom)
}

/// The area of a slot that `passphrase` opens.
pub(crate) fn lock(
    key: &VolumeKey,
    passphrase: &[u8],
    derivation: &Derivation,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut material = Zeroizing::new(vec![0; MATERIAL]);
    let (stripes, last) = material.split_at_mut(MATERIAL - KEY);
    random(stripes)?;
    let sum = summed(stripes);
    last.iter_mut().zip(sum.iter().zip(key.bytes())).for_each(|(to, (one, other))| *to = one ^ other);
    cipher(passphrase, derivation).encrypt_area(&mut material, SLOT_SECTOR, 0, get_tweak_default);
    Ok(material)
}

/// What a slot's area says under `passphrase`: a volume key, or anything. Longer or shorter areas have none.
pub(crate) fn unlock(
    mut area: Zeroizing<Vec<u8>>,
    passphrase: &[u8],
    derivation: &Derivation,
) -> Option<VolumeKey> {
    if area.len() != MATERIAL {
        return None;
    }
    cipher(passphrase, derivation).decrypt_area(&mut area, SLOT_SECTOR, 0, get_tweak_default);
    let (stripes, last) = area.split_at(MATERIAL - KEY);
    let mut key = summed(stripes);
    key.iter_mut().zip(last).for_each(|(to, other)| *to ^= other);
    Some(VolumeKey(key))
}

fn cipher(passphrase: &[u8], derivation: &Derivation) -> Xts128<Aes256> {
    let mut key = Zeroizing::new([0; KEY]);
    derive(derivation, passphrase, &mut *key);
    let mut halves = [[0; 32]; 2];
    let (data, tweak) = key.split_at(32);
    halves[0].copy_from_slice(data);
    halves[1].copy_from_slice(tweak);
    let cipher = Xts128::new(Aes256::new(&halves[0].into()), Aes256::new(&halves[1].into()));
    zeroize::Zeroize::zeroize(&mut halves);
    cipher
}

fn derive(derivation: &Derivation, secret: &[u8], out: &mut [u8]) {
    let iterations = NonZeroU32::new(derivation.iterations).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &derivation.salt, secret, out);
}

/// Every stripe mixed into those before it, and diffused.
fn summed(stripes: &[u8]) -> Zeroizing<[u8; KEY]> {
    let mut sum = Zeroizing::new([0; KEY]);
    for stripe in stripes.chunks_exact(KEY) {
        sum.iter_mut().zip(stripe).for_each(|(to, other)| *to ^= other);
        diffuse(&mut sum);
    }
    sum
}

/// Each digest's length of bytes becomes the hash of its number and of itself.
fn diffuse(block: &mut [u8; KEY]) {
    for (number, part) in (0_u32..).zip(block.chunks_exact_mut(32)) {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&number.to_be_bytes());
        context.update(part);
        part.copy_from_slice(context.finish().as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derivation() -> Derivation {
        Derivation { iterations: 1000, salt: [7; 32] }
    }

    #[test]
    fn slot_opens_with_its_passphrase_and_any_bit_of_it_is_needed() {
        let key = VolumeKey::generate().expect("random numbers");
        let area = lock(&key, b"passphrase", &derivation()).expect("random numbers");
        let opened = |area: &[u8], passphrase: &[u8]| {
            unlock(Zeroizing::new(area.to_vec()), passphrase, &derivation())
                .is_some_and(|opened| opened.bytes() == key.bytes())
        };
        assert!(opened(&area, b"passphrase"));
        assert!(!opened(&area, b"passphrasf"));
        assert!(!opened(&area[1..], b"passphrase"));
        for at in [0, MATERIAL / 2, MATERIAL - 1] {
            let mut bad = area.to_vec();
            bad[at] ^= 1;
            assert!(!opened(&bad, b"passphrase"), "{at}");
        }
    }
}
