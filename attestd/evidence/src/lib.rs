//! What a device shows of itself, and what it is compared with.
//!
//! Pure: no I/O, no clock, no entropy of its own. Every byte that is read here may have been chosen by an attacker who has
//! the device; what he cannot choose is what a genuine TPM signs.

#[cfg(feature = "appraise")]
pub mod appraise;
pub mod bootlog;
pub mod digest;
#[cfg(feature = "appraise")]
pub mod ear;
#[cfg(feature = "appraise")]
pub mod ek;
pub mod packages;
#[cfg(feature = "appraise")]
pub mod reference;
pub mod tpm;

mod bytes;

pub use digest::Digest;
