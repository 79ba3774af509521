//! The data device's key, from the TPM. Not there yet: a device whose command line says that it has a TPM, and that names a
//! data device, has no storage with this attestd.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::identity::Identity;

/// Why there is no key.
#[derive(Debug)]
pub struct UnlockError;

impl fmt::Display for UnlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this version of attestd can not unlock it")
    }
}

/// A key, and what it is for.
#[derive(Debug)]
pub struct Opened {
    /// The volume key.
    pub key: Box<[[u8; 32]; 2]>,
    /// Where the data begins, bytes.
    pub offset: u64,
    /// What has to be written to the beginning of a device that was blank.
    pub header: Option<OwnedFd>,
}

/// Has the TPM open it.
///
/// # Errors
/// Always.
pub fn unlock(_: &Identity, _: Vec<OwnedFd>) -> Result<Opened, UnlockError> {
    Err(UnlockError)
}
