//! A device's place in a deployment: SHA-256 of both, so that nobody chooses who goes first, and other devices do each time.

use ring::digest::{SHA256, digest};
use service_api::DeviceId;

/// How many places there are.
pub const PLACES: u32 = 10_000;

/// The place, below [`PLACES`].
pub fn place(deployment: u64, device: &DeviceId) -> u32 {
    let digest = digest(&SHA256, format!("gabion deployment {deployment} {device}").as_bytes());
    let first = digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    // The remainder is even to one part in 10^15.
    u32::try_from(first % u64::from(PLACES)).unwrap_or(0)
}
