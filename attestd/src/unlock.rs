//! The data device's key, from the TPM: LUKS2, whose first slot has a passphrase that is sealed to the states which the maker
//! of the device has signed. So an update opens the data too, and another board, another maker's release or an altered one
//! does not.
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
use crate::identity::Identity;
use crate::uki;

/// The key that signs states, in our box's root; PEM.
const POLICY_KEY: &str = "/etc/pcr.pub";
/// Bytes of the passphrase.
const PASSPHRASE: u16 = 32;

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
}

impl fmt::Display for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyKey => write!(f, "{POLICY_KEY} is no key; build the image again"),
            Self::Io(e) => write!(f, "{e}"),
            Self::Luks(e) => write!(f, "{e}"),
            Self::Token => f.write_str("it was not sealed to a TPM by this system"),
            Self::Tpm(e) => write!(f, "{e}"),
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
}

/// Opens the device whose beginning is the first descriptor; the others are boot images. A blank one is sealed now.
///
/// # Errors
/// See [`UnlockError`].
pub fn unlock(identity: &Identity, fds: Vec<OwnedFd>) -> Result<Opened, UnlockError> {
    let (bytes, signatures) = handed(fds)?;
    // The mark first: while it stands nothing was ever written under the header that may be behind it.
    if bytes.starts_with(SEALING) || bytes.iter().all(|byte| *byte == 0) {
        let key = policy_key()?;
        return seal(identity, &key, &states(&signatures, &key), bytes.len());
    }
    let (_, header, key) = by_the_tpm(identity, bytes, &signatures)?;
    Ok(opened(&key, &header, None))
}

/// The beginning of the device that is open, its header and its key, of the same descriptors.
///
/// # Errors
/// See [`UnlockError`].
pub fn open(
    identity: &Identity,
    fds: Vec<OwnedFd>,
) -> Result<(Disk, luks::Header, luks::VolumeKey), UnlockError> {
    let (bytes, signatures) = handed(fds)?;
    by_the_tpm(identity, bytes, &signatures)
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
    bytes: Vec<u8>,
    signatures: &[Vec<u8>],
) -> Result<(Disk, luks::Header, luks::VolumeKey), UnlockError> {
    let mut disk = Cursor::new(bytes);
    let header = luks::read(&mut disk)?;
    let sealed = header.token().and_then(Sealed::from_bytes).ok_or(UnlockError::Token)?;
    let passphrase = identity.with(|tpm| tpm.unseal(&sealed, &states(signatures, sealed.key())))?;
    let key = luks::open(&mut disk, &header, &passphrase)?;
    Ok((disk, header, key))
}

/// Makes a header, and makes sure that it opens now: a device whose data opens once and never again is worse than none.
fn seal(
    identity: &Identity,
    key: &PolicyKey,
    states: &[SignedPolicy],
    length: usize,
) -> Result<Opened, UnlockError> {
    let passphrase = zeroize::Zeroizing::new(identity.with(|tpm| tpm.random(PASSPHRASE))?);
    let sealed = identity.with(|tpm| tpm.seal(&passphrase, key))?;
    identity.with(|tpm| tpm.unseal(&sealed, states))?;
    let token = sealed.to_bytes();
    let unlock = luks::Unlock { passphrase: &passphrase, token: &token, recovery: None };
    let mut disk = Cursor::new(vec![0; length]);
    let made = luks::create(&mut disk, &unlock, |_| Ok(()))?;
    let header = bulk::seal(c"luks-header", disk.get_ref())?;
    Ok(opened(&made.key, &made.header, Some(header)))
}

fn opened(key: &luks::VolumeKey, header: &luks::Header, memory: Option<OwnedFd>) -> Opened {
    let mut halves = [[0; 32]; 2];
    halves.as_flattened_mut().copy_from_slice(key.bytes());
    Opened { key: halves, offset: luks::DATA_OFFSET, sector_bytes: header.sector(), header: memory }
}

fn policy_key() -> Result<PolicyKey, UnlockError> {
    let pem = fs::read(POLICY_KEY).map_err(|_| UnlockError::PolicyKey)?;
    PolicyKey::from_pem(&pem).ok_or(UnlockError::PolicyKey)
}
