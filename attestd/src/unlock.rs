//! The data device's key, from the TPM: LUKS2, whose first slot has a passphrase that is sealed to the states which the maker
//! of the device has signed. So an update opens the data too, and another board, another maker's release or an altered one
//! does not; nor does one that is too old ([`crate::floor`]).
//!
//! Which key signs states is part of our own root, and so of what was booted: a key from the disk would be the attacker's.
//! The disk is his as well. A header of his own does not open by our passphrase; one that was ours on another day does, with
//! the data of that day, if he has it: the disk is no defence against its own past.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Cursor};
use std::os::fd::OwnedFd;

use bus::attest_link::{HEADER_MAX, SEALING};
use bus::bulk::{self, Sealed as Memory};
use tpm::{PolicyKey, Sealed, SignedPolicy, pcrsig};

use crate::escrow::Disk;
use crate::floor::{self, Beginning, FloorError};
use crate::identity::Identity;
use crate::uki;

/// The key that signs states, in our box's root; PEM.
const POLICY_KEY: &str = "/etc/pcr.pub";
/// Bytes of the passphrase.
const PASSPHRASE: u16 = 32;
/// Bytes of what is sealed.
const SECRET: usize = PASSPHRASE as usize + floor::BYTES;

/// Why there is no key.
#[derive(Debug)]
pub enum UnlockError {
    /// The key that signs states is not there, or is none.
    PolicyKey,
    /// What sandboxd handed over can't be read.
    Io(io::Error),
    /// The device is neither blank nor ours.
    Luks(luks::Error),
    /// The header does not say what the TPM sealed.
    Token,
    /// The TPM does not open it.
    Tpm(tpm::Error),
    /// It is not opened for this system.
    Floor(FloorError),
}

impl fmt::Display for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyKey => write!(f, "{POLICY_KEY} is no key; build the image again"),
            Self::Io(e) => write!(f, "{e}"),
            Self::Luks(e) => write!(f, "{e}"),
            Self::Token => f.write_str("it was not sealed to a TPM by this system"),
            Self::Tpm(e) => write!(f, "{e}"),
            Self::Floor(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for UnlockError {}

impl From<io::Error> for UnlockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<luks::Error> for UnlockError {
    fn from(error: luks::Error) -> Self {
        Self::Luks(error)
    }
}

impl From<FloorError> for UnlockError {
    fn from(error: FloorError) -> Self {
        Self::Floor(error)
    }
}

impl From<tpm::Error> for UnlockError {
    fn from(error: tpm::Error) -> Self {
        Self::Tpm(error)
    }
}

/// A key, and what it is for.
pub struct Opened {
    /// The volume key, in halves.
    pub key: [[u8; 32]; 2],
    /// Where the data begins, bytes.
    pub offset: u64,
    /// What is encrypted as one, bytes.
    pub sector_bytes: u32,
    /// What has to be written to the beginning of a device that was blank.
    pub header: Option<OwnedFd>,
    /// What the device does not go back behind.
    pub floor: u32,
}

/// Opens the device whose beginning is the first descriptor, for a system of this number; the other descriptors are boot
/// images. A blank one is sealed now.
///
/// # Errors
/// See [`UnlockError`].
pub fn unlock(identity: &Identity, system: u32, fds: Vec<OwnedFd>) -> Result<Opened, UnlockError> {
    let (bytes, signatures) = handed(fds)?;
    // The mark first: while it stands nothing was ever written under the header that may be behind it.
    if bytes.starts_with(SEALING) || bytes.iter().all(|byte| *byte == 0) {
        let key = policy_key()?;
        return seal(identity, system, &key, &states(&signatures, &key), bytes.len());
    }
    let known = by_the_tpm(identity, system, bytes, &signatures)?;
    Ok(opened(&known.key, &known.header, None, known.floor))
}

/// The device that is open: the header that it begins with and its key, of the same descriptors.
///
/// # Errors
/// See [`UnlockError`].
pub fn open(identity: &Identity, system: u32, fds: Vec<OwnedFd>) -> Result<Known, UnlockError> {
    let (bytes, signatures) = handed(fds)?;
    by_the_tpm(identity, system, bytes, &signatures)
}

/// From now on the device, of the same descriptors, is not opened for a system below this number. What it is not opened below
/// then: counting goes on at the next call if that is not the number yet.
///
/// # Errors
/// See [`UnlockError`].
pub fn raise(identity: &Identity, system: u32, fds: Vec<OwnedFd>) -> Result<u32, UnlockError> {
    open(identity, system, fds)?.raise(identity, system)
}

/// A device that opens.
pub struct Known {
    /// Its beginning.
    pub disk: Disk,
    /// What is in that.
    pub header: luks::Header,
    /// The key of the data.
    pub key: luks::VolumeKey,
    beginning: Beginning,
    floor: u32,
}

impl Known {
    fn raise(&self, identity: &Identity, system: u32) -> Result<u32, UnlockError> {
        identity.with(|tpm| floor::count(tpm, self.floor, system))?;
        Ok(self.beginning.check(identity.with(floor::counter)?, system)?)
    }
}

/// The device's beginning, and what its boot images have for signatures.
fn handed(fds: Vec<OwnedFd>) -> Result<(Vec<u8>, Vec<Vec<u8>>), UnlockError> {
    let mut fds = fds.into_iter();
    let memory = fds.next().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
    let bytes = Memory::open(memory, HEADER_MAX)?.read()?;
    Ok((bytes, fds.map(|image| uki::signatures(&File::from(image))).collect()))
}

fn states(signatures: &[Vec<u8>], key: &PolicyKey) -> Vec<SignedPolicy> {
    signatures.iter().filter_map(|text| pcrsig::read(text, key)).flatten().collect()
}

fn by_the_tpm(
    identity: &Identity,
    system: u32,
    bytes: Vec<u8>,
    signatures: &[Vec<u8>],
) -> Result<Known, UnlockError> {
    let mut disk = Cursor::new(bytes);
    let header = luks::read(&mut disk)?;
    let sealed = header.token().and_then(Sealed::from_bytes).ok_or(UnlockError::Token)?;
    let secret = identity.with(|tpm| tpm.unseal(&sealed, &states(signatures, sealed.key())))?;
    let secret = Some(&secret).filter(|secret| secret.len() == SECRET).ok_or(UnlockError::Token)?;
    let (passphrase, beginning) = Beginning::of(secret).ok_or(UnlockError::Token)?;
    // Before the key is there: whoever gets it has the data.
    let floor = beginning.check(identity.with(floor::counter)?, system)?;
    let key = luks::open(&mut disk, &header, passphrase)?;
    Ok(Known { disk, header, key, beginning, floor })
}

/// Makes a header, and makes sure that it opens now: a device whose data opens once and never again is worse than none.
fn seal(
    identity: &Identity,
    system: u32,
    key: &PolicyKey,
    states: &[SignedPolicy],
    length: usize,
) -> Result<Opened, UnlockError> {
    let passphrase = zeroize::Zeroizing::new(identity.with(|tpm| tpm.random(PASSPHRASE))?);
    let beginning = identity.with(|tpm| Beginning::now(tpm, system))?;
    let sealed = identity.with(|tpm| tpm.seal(&beginning.with(&passphrase), key))?;
    identity.with(|tpm| tpm.unseal(&sealed, states))?;
    let floor = beginning.check(identity.with(floor::counter)?, system)?;
    let token = sealed.to_bytes();
    let unlock = luks::Unlock { passphrase: &passphrase, token: &token, recovery: None };
    let mut disk = Cursor::new(vec![0; length]);
    let made = luks::create(&mut disk, &unlock, |_| Ok(()))?;
    let header = bulk::seal(c"luks-header", disk.get_ref())?;
    Ok(opened(&made.key, &made.header, Some(header), floor))
}

fn opened(key: &luks::VolumeKey, header: &luks::Header, memory: Option<OwnedFd>, floor: u32) -> Opened {
    let mut halves = [[0; 32]; 2];
    halves.as_flattened_mut().copy_from_slice(key.bytes());
    let (offset, sector_bytes) = (luks::DATA_OFFSET, header.sector());
    Opened { key: halves, offset, sector_bytes, header: memory, floor }
}

fn policy_key() -> Result<PolicyKey, UnlockError> {
    let pem = fs::read(POLICY_KEY).map_err(|_| UnlockError::PolicyKey)?;
    PolicyKey::from_pem(&pem).ok_or(UnlockError::PolicyKey)
}

#[cfg(test)]
#[path = "unlock_tests.rs"]
mod tests;
