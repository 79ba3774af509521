//! What the device does not go back behind: the number of the newest system that was found good on it, counted in the TPM.
//!
//! Every system has a number on its signed command line, which goes up when what came before must not run any more. The TPM
//! has a counter that only goes up; what it said when the data was sealed, and which number that stood for, is sealed with
//! the data's key. The difference is what was counted since.
//!
//! Who has the disk can put an old header back, which counts from an older beginning, so that the number is higher; who has
//! the TPM's owner can count up, or remove the counter and make another, which begins above all that there were
//! (part 3, clause 31.3). Each of these keeps the device shut, none opens it for an older system.

use std::fmt;

use tpm::{Condition, Error, Tpm, Transport};
use zeroize::Zeroizing;

/// Where the counter is, among the indices of the owner; systemd's begin at 0x0180_0400.
pub const INDEX: u32 = 0x0180_4742;
/// Most that is counted up at once: each step is a write to the TPM's memory, which lasts for some hundred thousand, and
/// nothing else is done meanwhile.
const STEPS: usize = 64;
/// Bytes of a beginning, sealed.
pub const BYTES: usize = 12;

/// Why the device is not opened for this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloorError {
    /// The system is older: its number, and the device's.
    Older(u32, u32),
    /// The counter is gone, or is another.
    Counter,
}

impl fmt::Display for FloorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Older(system, device) => {
                write!(f, "this system is too old: its floor is {system}, and the device's is {device}")
            }
            Self::Counter => f.write_str("the tpm's counter is not the one of this storage"),
        }
    }
}

impl std::error::Error for FloorError {}

/// Where counting began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The number of the system that sealed the data.
    floor: u32,
    /// What the counter said then.
    counter: u64,
}

impl Beginning {
    /// Begins now, with the number of the system that runs.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn now<T: Transport>(tpm: &mut Tpm<T>, floor: u32) -> Result<Self, Error> {
        if let Some(counter) = counter(tpm)? {
            return Ok(Self { floor, counter });
        }
        tpm.define_counter(INDEX)?;
        Ok(Self { floor, counter: tpm.read_counter(INDEX)? })
    }

    /// The secret that is sealed: `passphrase`, and this.
    pub fn with(self, passphrase: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([passphrase, &self.floor.to_be_bytes(), &self.counter.to_be_bytes()].concat())
    }

    /// Parts the two.
    pub fn of(secret: &[u8]) -> Option<(&[u8], Self)> {
        let (rest, counter) = secret.split_last_chunk()?;
        let (passphrase, floor) = rest.split_last_chunk()?;
        Some((passphrase, Self { floor: u32::from_be_bytes(*floor), counter: u64::from_be_bytes(*counter) }))
    }

    /// What the device does not go back behind when the counter says this, if that is not above `system`.
    ///
    /// # Errors
    /// See [`FloorError`].
    pub fn check(self, counter: Option<u64>, system: u32) -> Result<u32, FloorError> {
        let counted = counter.and_then(|counter| counter.checked_sub(self.counter));
        // More than any system's number: somebody counted.
        let counted = counted.and_then(|counted| u32::try_from(counted).ok());
        let floor = counted.and_then(|counted| self.floor.checked_add(counted)).ok_or(FloorError::Counter)?;
        if floor > system { Err(FloorError::Older(system, floor)) } else { Ok(floor) }
    }
}

/// What the counter says; `None` if there is none.
///
/// # Errors
/// See [`Error`].
pub fn counter<T: Transport>(tpm: &mut Tpm<T>) -> Result<Option<u64>, Error> {
    match tpm.read_counter(INDEX) {
        Err(e) if e.condition() == Some(Condition::Absent) => Ok(None),
        read => read.map(Some),
    }
}

/// Counts up from one number to another, or as far as it goes at once.
///
/// # Errors
/// See [`Error`]. What was counted before stays.
pub fn count<T: Transport>(tpm: &mut Tpm<T>, from: u32, to: u32) -> Result<(), Error> {
    (from..to).take(STEPS).try_for_each(|_| tpm.increment_counter(INDEX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn device_is_open_for_what_was_good_on_it_and_newer_alone(
            sealed in 0_u32..100, counter in 0_u64..1 << 40, good in proptest::collection::vec(0_u32..200, 0..20),
        ) {
            let beginning = Beginning { floor: sealed, counter };
            let (mut said, mut highest) = (counter, sealed);
            for system in good {
                let is_open = beginning.check(Some(said), system);
                prop_assert_eq!(is_open.is_ok(), system >= highest);
                if let Ok(floor) = is_open {
                    prop_assert_eq!(floor, highest);
                    said += u64::from(system - floor);
                    highest = system;
                }
            }
            // A header from before opens no more than the one of today.
            let older = Beginning { counter: counter.saturating_sub(1), ..beginning };
            prop_assert!(older.check(Some(said), highest).is_err() || counter == 0);
        }

        #[test]
        fn what_is_sealed_parts_as_it_was_joined(passphrase: Vec<u8>, floor: u32, counter: u64) {
            let beginning = Beginning { floor, counter };
            let secret = beginning.with(&passphrase);
            prop_assert_eq!(Beginning::of(&secret), Some((&passphrase[..], beginning)));
        }
    }

    #[test]
    fn counter_that_is_gone_went_back_or_ran_away_opens_nothing() {
        let beginning = Beginning { floor: 3, counter: 7 };
        for said in [None, Some(6), Some(7 + (1 << 32)), Some(7 + u64::from(u32::MAX) - 2)] {
            assert_eq!(beginning.check(said, u32::MAX), Err(FloorError::Counter), "{said:?}");
        }
        assert_eq!(beginning.check(Some(9), 4), Err(FloorError::Older(4, 5)));
        assert_eq!(Beginning::of(&[0; BYTES - 1]), None);
    }
}
