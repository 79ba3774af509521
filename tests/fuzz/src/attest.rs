//! What the device's identity daemon reads, and what it and `sandboxd` say to each other.

use ::bus::attest_link::{FromAttestd, ToAttestd};

use crate::encodes_to_itself;

/// Messages of `sandboxd` and attestd: each encodes to itself, no longer.
pub fn attestlink(bytes: &[u8]) {
    encodes_to_itself(bytes, ToAttestd::decode, ToAttestd::encode);
    encodes_to_itself(bytes, FromAttestd::decode, FromAttestd::encode);
}
