//! A permit, signed by its catalog's authority: the key that a device's own certificate leads to, so that a device needs
//! nothing more to check one.
//!
//! What that key signs otherwise are certificates and lists, which begin with the head of a DER sequence; a token is text.
//! Neither can be taken for the other.

use super::{CaError, CatalogIssuer};
use permit::{Refusal, Terms};
use rcgen::SigningKey as _;

/// Why no permit was made.
#[derive(Debug)]
pub enum PermitError {
    /// No device would take it, and why.
    Terms(Refusal),
    /// No signature.
    Ca(CaError),
}

impl From<Refusal> for PermitError {
    fn from(refusal: Refusal) -> Self {
        Self::Terms(refusal)
    }
}

impl CatalogIssuer {
    /// The permit as a device is given it.
    ///
    /// # Errors
    /// The terms are none that a device takes; no signature.
    pub fn permit(&self, terms: &Terms) -> Result<String, PermitError> {
        terms.issue(&self.certificate, |message| {
            let signature = self.issuer.key().sign(message).map_err(|e| PermitError::Ca(e.into()))?;
            fixed(&signature).ok_or(PermitError::Ca(CaError::Key))
        })
    }
}

/// r and s in 32 bytes each, as JWS has them, of an `ECDSA-Sig-Value` (RFC 3279, 2.2.3).
fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let (length, rest) = der.strip_prefix(&[0x30])?.split_first()?;
    let (r, rest) = integer(rest.get(..usize::from(*length))?)?;
    let (s, rest) = integer(rest)?;
    let mut both = [0; 64];
    both[..32].copy_from_slice(&r);
    both[32..].copy_from_slice(&s);
    rest.is_empty().then_some(both)
}

/// An integer that is not negative, and what is behind it.
fn integer(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (length, rest) = der.strip_prefix(&[0x02])?.split_first()?;
    let (digits, rest) = rest.split_at_checked(usize::from(*length))?;
    let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
    let mut all = [0; 32];
    all.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some((all, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_has_its_two_numbers_in_32_bytes_each() {
        let der = [&[0x30, 39, 0x02, 1, 5, 0x02, 34, 0, 0x80][..], &[7; 32]].concat();
        assert_eq!(fixed(&der), None);
        let der = [&[0x30, 38, 0x02, 1, 5, 0x02, 33, 0, 0x80][..], &[7; 31]].concat();
        let both = fixed(&der).unwrap_or([0; 64]);
        assert_eq!((both[30], both[31], both[32], both[63]), (0, 5, 0x80, 7));
        for n in 0..der.len() {
            assert_eq!(fixed(&der[..n]), None);
        }
    }
}
