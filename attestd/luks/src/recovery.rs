//! Recovery keys as systemd writes them (`systemd-cryptenroll --recovery-key`): 256 random bits in a hexadecimal of letters
//! that lie in the same place on most keyboards, in eight groups with dashes between them. The text is the passphrase.

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::error::Error;

/// The digits, from 0 to 15.
const MODHEX: &[u8; 16] = b"cbdefghijklnrtuv";

/// Characters with the dashes.
const LENGTH: usize = 64 + 7;

/// A recovery key.
pub struct RecoveryKey(Zeroizing<String>);

impl RecoveryKey {
    /// A new one.
    ///
    /// # Errors
    /// [`Error::NoRandom`].
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *bytes).map_err(|_| Error::NoRandom)?;
        Ok(Self::of(&bytes))
    }

    fn of(bytes: &[u8; 32]) -> Self {
        // Room for all of it, so that no part is left where the text was before it grew.
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        for (place, byte) in bytes.iter().enumerate() {
            if place > 0 && place % 4 == 0 {
                text.push('-');
            }
            for digit in [byte >> 4, byte & 0xf] {
                text.push(char::from(MODHEX[usize::from(digit)]));
            }
        }
        Self(text)
    }

    /// What a person typed: capitals, and dashes or spaces that are missing or elsewhere, are put right. `None` if it is
    /// no recovery key.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        let mut digits = 0;
        for letter in typed.bytes().filter(|byte| !matches!(byte, b'-' | b' ' | b'\n')) {
            let letter = letter.to_ascii_lowercase();
            let digit = u8::try_from(MODHEX.iter().position(|one| *one == letter)?).ok()?;
            let byte = bytes.get_mut(digits / 2)?;
            *byte = *byte << 4 | digit;
            digits += 1;
        }
        (digits == 64).then(|| Self::of(&bytes))
    }

    /// The text, which is the passphrase.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_written_as_systemd_writes_it() {
        let mut bytes = [0; 32];
        (bytes[0], bytes[3], bytes[4]) = (0x01, 0xef, 0x23);
        let rest = "-cccccccc".repeat(6);
        assert_eq!(RecoveryKey::of(&bytes).text(), format!("cbccccuv-decccccc{rest}"));
    }

    #[test]
    fn typed_in_capitals_without_dashes_is_the_same_key() {
        let key = RecoveryKey::of(&[0x3c; 32]);
        let typed = key.text().replace('-', " ").to_uppercase();
        assert_eq!(RecoveryKey::parse(&typed).map(|again| again.text() == key.text()), Some(true));
        for bad in [&key.text()[1..], &(key.text().to_owned() + "c"), &key.text().replace('e', "a"), ""] {
            assert!(RecoveryKey::parse(bad).is_none(), "{bad}");
        }
    }
}
