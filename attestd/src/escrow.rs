//! A recovery key of the data device for the service, which asks for one if the group's policy wants it.
//!
//! ```text
//! asked ──▶ the header as it is ──▶ a new key in the header's second slot ──▶ on the medium ──▶ the service has it
//! ```
//!
//! Invariants: a key is handed over only once the device opens by it; it is in our memory alone until then, and forgotten
//! when the service has acknowledged it. If we end before, nobody knows the key: the service asks again, and the next one
//! takes its slot. What opened the device by itself, the slot of the TPM, is not touched.

use std::io::Cursor;
use std::mem;
use std::os::fd::OwnedFd;

use bus::bulk;
use luks::RecoveryKey;
use zeroize::Zeroizing;

use crate::identity::Identity;
use crate::unlock::{self, Known, UnlockError};

/// What is under way.
#[derive(Default)]
pub enum Escrow {
    /// Nothing.
    #[default]
    Idle,
    /// The header was asked for.
    Asked,
    /// The header with this key in it is to be written.
    Writing(RecoveryKey),
    /// It is written: the service should have it.
    Written(RecoveryKey),
}

impl Escrow {
    /// What the service said at our attestation. Whether the header has to be asked for.
    pub fn wanted(&mut self, wanted: bool) -> bool {
        match self {
            _ if !wanted => *self = Self::Idle,
            Self::Idle => *self = Self::Asked,
            // It goes on: a key that waits for the service is as good as another.
            Self::Asked | Self::Writing(_) | Self::Written(_) => return false,
        }
        wanted
    }

    /// sandboxd begins anew: what it was asked for is forgotten.
    pub fn anew(&mut self) {
        if !matches!(self, Self::Written(_)) {
            *self = Self::Idle;
        }
    }

    /// The header and the boot images came. Gives what is to be written in the header's place.
    ///
    /// # Errors
    /// See [`UnlockError`]; it is asked for again after the next attestation.
    pub fn header(
        &mut self,
        identity: &Identity,
        system: u32,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<OwnedFd>, UnlockError> {
        if !matches!(mem::take(self), Self::Asked) {
            return Ok(None);
        }
        let Known { mut disk, header, key, .. } = unlock::open(identity, system, fds)?;
        let recovery = RecoveryKey::generate()?;
        luks::set_recovery(&mut disk, &header, &key, recovery.text())?;
        let memory = bulk::seal(c"luks-header", disk.get_ref())?;
        *self = Self::Writing(recovery);
        Ok(Some(memory))
    }

    /// It is on the medium.
    pub fn written(&mut self) {
        *self = match mem::take(self) {
            Self::Writing(key) => Self::Written(key),
            other => other,
        };
    }

    /// The text that the service should have.
    pub fn waits(&self) -> Option<Zeroizing<String>> {
        match self {
            Self::Written(key) => Some(Zeroizing::new(key.text().to_owned())),
            Self::Idle | Self::Asked | Self::Writing(_) => None,
        }
    }

    /// The service has it.
    pub fn taken(&mut self) {
        *self = Self::Idle;
    }
}

/// A header's bytes, as they are worked on.
pub type Disk = Cursor<Vec<u8>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn writing() -> Escrow {
        Escrow::Writing(RecoveryKey::generate().unwrap())
    }

    #[test]
    fn key_is_handed_over_only_once_the_device_opens_by_it_and_until_it_is_taken() {
        let mut escrow = Escrow::default();
        assert!(!escrow.wanted(false));
        assert!(escrow.wanted(true) && escrow.waits().is_none());
        // Asked again before the header came: one is enough.
        assert!(!escrow.wanted(true));
        escrow = writing();
        assert!(escrow.waits().is_none());
        escrow.written();
        let text = escrow.waits().unwrap();
        // Whatever begins anew meanwhile, and however often the service asks.
        escrow.anew();
        assert!(!escrow.wanted(true));
        assert_eq!(escrow.waits(), Some(text));
        escrow.taken();
        assert!(escrow.waits().is_none());
    }

    #[test]
    fn key_that_was_not_written_is_forgotten_when_sandboxd_begins_anew() {
        for mut escrow in [Escrow::Asked, writing()] {
            escrow.anew();
            escrow.written();
            assert!(escrow.waits().is_none());
            assert!(escrow.wanted(true));
        }
    }

    #[test]
    fn key_is_forgotten_when_the_policy_does_not_want_it_any_more() {
        let mut escrow = writing();
        escrow.written();
        assert!(!escrow.wanted(false) && escrow.waits().is_none());
    }

    #[test]
    fn header_that_nobody_asked_for_changes_nothing() {
        let identity = Identity::behind(|| Err(std::io::ErrorKind::NotFound.into()));
        assert!(Escrow::Idle.header(&identity, 0, Vec::new()).unwrap().is_none());
        let mut escrow = Escrow::Asked;
        assert!(escrow.header(&identity, 0, Vec::new()).is_err());
        assert!(escrow.wanted(true));
    }
}
