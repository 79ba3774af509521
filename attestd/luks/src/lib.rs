//! LUKS2 headers for the disk with a device's data: made so that `cryptsetup` opens them with a recovery key, and read
//! again, strictly (LUKS2 On-Disk Format Specification, version 1.1.1).
//!
//! A volume key of 64 bytes is in two key slots: under a passphrase of random bytes, which somebody else keeps (a TPM, whose
//! sealed blob is a token in the header), and under a recovery key that a person may write down. Both have 256 random bits,
//! so the derivation that slows guessing down is the least that `cryptsetup` takes.
//!
//! The attacker has the disk, and may write what he likes. A header is read strictly and within bounds, and authenticated by
//! nothing: a volume key that comes of it fits the digest in the same header, so **a header of his own opens with a
//! passphrase of his own**. He does not know ours, so no header of his opens with that; an older header of this disk does.
//!
//! Deliberately not here: reading and writing devices but for [`Read`](std::io::Read) and [`Write`](std::io::Write), the
//! device mapper, other ciphers, derivations and layouts than ours, resizing, and re-encryption.

#![forbid(unsafe_code)]

mod binary;
mod disk;
mod error;
mod json;
mod recovery;
mod slot;

pub use disk::{Opened, Unlock, create, open, read, set_recovery};
pub use error::Error;
pub use json::{DATA_OFFSET, Header, MOST_TOKEN, SECTOR};
pub use recovery::RecoveryKey;
pub use slot::VolumeKey;

/// Bytes of a header with its copy: what has to be read before anything else.
pub const HEADER_BYTES: usize = 2 * binary::SIZE;
