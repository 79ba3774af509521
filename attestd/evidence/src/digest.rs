//! SHA-256 values: how they are computed, extended and written. A PCR is one of these too.
//!
//! Only the SHA-256 bank counts anywhere in Gabion; a log or a TPM without it is refused where it is read.

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Bytes of a SHA-256 value.
pub const LENGTH: usize = 32;

/// A SHA-256 value. In text and JSON: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; LENGTH]);

/// Text that is not 64 lower-case hexadecimal digits. One way to write each value, so that texts can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotADigest;

impl Digest {
    /// What a PCR from 0 to 15 holds after a reset of the machine.
    pub const ZERO: Self = Self([0; LENGTH]);

    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::taken(&digest(&SHA256, bytes))
    }

    /// What `TPM2_PCR_Extend` makes of a PCR that holds `self`.
    #[must_use]
    pub fn extended(&self, with: &Self) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(&with.0);
        Self::taken(&context.finish())
    }

    fn taken(digest: &ring::digest::Digest) -> Self {
        let mut bytes = [0; LENGTH];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// From exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A verdict writes a hundred of them: by `write!` of each byte that takes as long as checking a signature.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'0'; 2 * LENGTH];
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        for (place, digit) in text.iter_mut().zip(digits) {
            *place = DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0');
        }
        out.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for NotADigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("not 64 lower-case hexadecimal digits")
    }
}

impl std::error::Error for NotADigest {}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let text = text.as_bytes();
        if text.len() != 2 * LENGTH {
            return Err(NotADigest);
        }
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return Err(NotADigest) };
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, NotADigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotADigest),
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digest_of_abc_is_the_standards() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(Digest::of(b"abc")));
    }

    #[test]
    fn digest_in_upper_case_or_cut_is_refused() {
        assert_eq!(ABC.to_uppercase().parse::<Digest>(), Err(NotADigest));
        assert_eq!(ABC[1..].parse::<Digest>(), Err(NotADigest));
        assert_eq!(format!("{ABC}00").parse::<Digest>(), Err(NotADigest));
    }

    #[test]
    fn pcr_extended_is_the_digest_of_old_and_new() {
        let mut both = vec![0; LENGTH];
        both.extend(Digest::of(b"abc").0);
        assert_eq!(Digest::ZERO.extended(&Digest::of(b"abc")), Digest::of(&both));
    }
}
