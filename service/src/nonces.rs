//! Nonces that nothing is kept for until they are used.
//!
//! Anybody may ask for one, so asking must cost us nothing. A nonce says itself until when it is good and, by an HMAC,
//! that this service gave it to this device: 12 random bytes, 4 of the second it ends, 16 of the HMAC. That it is used
//! once is the store's part: it keeps the used ones until they end. All processes of a service have the same key.

use crate::secrets::{self, SecretError};
use ring::hmac;
use service_api::DeviceId;

/// Seconds a nonce is good for.
pub const LIFETIME_S: u32 = 60;

/// Makes and recognises them.
#[derive(Clone, Debug)]
pub struct Nonces(hmac::Key);

impl Nonces {
    /// With a secret that the service's processes share.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A fresh one.
    ///
    /// # Errors
    /// No chance.
    pub fn make(&self, device: &DeviceId, now: i64) -> Result<[u8; 32], SecretError> {
        let chance: [u8; 12] = secrets::random()?;
        let ends = u32::try_from(now.saturating_add(i64::from(LIFETIME_S))).unwrap_or(u32::MAX);
        let mut nonce = [0; 32];
        nonce[..12].copy_from_slice(&chance);
        nonce[12..16].copy_from_slice(&ends.to_be_bytes());
        let tag = hmac::sign(&self.0, &said(&nonce, device));
        nonce[16..].copy_from_slice(&tag.as_ref()[..16]);
        Ok(nonce)
    }

    /// When a nonce ends, if it was made for this device and has not ended.
    pub fn check(&self, nonce: &[u8], device: &DeviceId, now: i64) -> Option<i64> {
        let nonce: &[u8; 32] = nonce.try_into().ok()?;
        let tag = hmac::sign(&self.0, &said(nonce, device));
        // Compared as a whole whatever differs, so that time tells nothing.
        let differs = tag.as_ref().iter().zip(&nonce[16..]).fold(0, |all, (a, b)| all | (a ^ b));
        let ends = i64::from(u32::from_be_bytes(*nonce[12..].first_chunk()?));
        (differs == 0 && ends > now && ends - now <= i64::from(LIFETIME_S)).then_some(ends)
    }
}

fn said(nonce: &[u8; 32], device: &DeviceId) -> Vec<u8> {
    [&nonce[..16], device.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonce_is_good_for_its_device_and_time_only() -> Result<(), Box<dyn std::error::Error>> {
        let nonces = Nonces::new(b"secret");
        let (a, b): (DeviceId, DeviceId) = ("a".repeat(64).parse()?, "b".repeat(64).parse()?);
        let nonce = nonces.make(&a, 1000)?;
        assert_eq!(nonces.check(&nonce, &a, 1059), Some(1060));
        assert_eq!(nonces.check(&nonce, &a, 1060), None);
        assert_eq!(nonces.check(&nonce, &a, 999), None);
        assert_eq!(nonces.check(&nonce, &b, 1000), None);
        assert_eq!(Nonces::new(b"other").check(&nonce, &a, 1000), None);
        for place in 0..32 {
            let mut altered = nonce;
            altered[place] ^= 1;
            assert_eq!(nonces.check(&altered, &a, 1000), None, "byte {place}");
        }
        assert_eq!(nonces.check(&nonce[..31], &a, 1000), None);
        Ok(())
    }
}
