//! `TPMS_ATTEST`: what a TPM says and its restricted key signs, for quotes and certifications.
//!
//! Read strictly; whether it is what was asked for is for `check`.

use super::{ALG_SHA256, StructureError};
use crate::bytes::Reader;
use crate::digest::Digest;

const GENERATED: u32 = 0xff54_4347;
const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ST_ATTEST_QUOTE: u16 = 0x8018;
/// Longest statement that is read: a quote takes 129 bytes with a nonce of 32 and a name of 34.
const LENGTH_MAX: usize = 1024;
/// PCRs of a TPM by the PC Client profile.
const PCRS: u32 = 24;

/// A statement of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// `qualifiedSigner`: the name of the key that signed, bound to those above it.
    pub qualified_signer: Vec<u8>,
    /// `extraData`: the nonce that was given with the request.
    pub nonce: Vec<u8>,
    /// Times and resets.
    pub clock: Clock,
    /// `firmwareVersion` of the TPM.
    pub firmware: u64,
    /// What is stated.
    pub attested: Attested,
}

/// `TPMS_CLOCK_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds that the TPM has been powered, ever.
    pub clock_ms: u64,
    /// Resets of the machine (`TPM2_Startup(CLEAR)` after power was off or the reset line pulled).
    pub resets: u32,
    /// Restarts and resumes since the last reset.
    pub restarts: u32,
    /// `clock_ms` has never gone back.
    pub safe: bool,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attested {
    /// The values of some PCRs.
    Quote {
        /// Which, in the SHA-256 bank.
        selection: Selection,
        /// SHA-256 over their values, in order.
        digest: Digest,
    },
    /// That a key is in this TPM, with the attributes that its name covers.
    Certify {
        /// Its name.
        name: Vec<u8>,
        /// Its name bound to those above it.
        qualified_name: Vec<u8>,
    },
}

/// A set of PCRs: bit n is PCR n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection(u32);

impl Selection {
    /// What a Gabion device quotes: firmware and its configuration, boot loader, Secure Boot, kernel image and what the
    /// stub was given besides, packages.
    pub const DEVICE: Self = Self(0b0011_1000_1111_1111);

    /// Of PCR numbers; one that a TPM does not have is left out.
    #[must_use]
    pub fn of(numbers: &[u32]) -> Self {
        Self(numbers.iter().filter(|number| **number < PCRS).fold(0, |set, number| set | 1 << number))
    }

    /// The PCR is in it.
    #[must_use]
    pub fn has(self, number: u32) -> bool {
        number < PCRS && self.0 >> number & 1 == 1
    }

    /// The PCRs, in the order in which their values are hashed.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..PCRS).filter(move |number| self.has(*number))
    }
}

impl Attest {
    /// Reads a `TPMS_ATTEST`, all of it.
    pub fn read(raw: &[u8]) -> Result<Self, StructureError> {
        if raw.len() > LENGTH_MAX {
            return Err(StructureError::Trailing);
        }
        let mut reader = Reader::new(raw);
        if reader.u32_be()? != GENERATED {
            return Err(StructureError::NotGenerated);
        }
        let kind = reader.u16_be()?;
        let qualified_signer = reader.sized()?.to_vec();
        let nonce = reader.sized()?.to_vec();
        let clock = clock(&mut reader)?;
        let firmware = reader.u64_be()?;
        let attested = match kind {
            ST_ATTEST_QUOTE => quote(&mut reader)?,
            ST_ATTEST_CERTIFY => {
                Attested::Certify { name: reader.sized()?.to_vec(), qualified_name: reader.sized()?.to_vec() }
            }
            _ => return Err(StructureError::Unsupported("kind of statement")),
        };
        if !reader.is_empty() {
            return Err(StructureError::Trailing);
        }
        Ok(Self { qualified_signer, nonce, clock, firmware, attested })
    }
}

fn clock(reader: &mut Reader<'_>) -> Result<Clock, StructureError> {
    let clock_ms = reader.u64_be()?;
    let resets = reader.u32_be()?;
    let restarts = reader.u32_be()?;
    // `TPMI_YES_NO`
    let safe = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(StructureError::Unsupported("truth value")),
    };
    Ok(Clock { clock_ms, resets, restarts, safe })
}

fn quote(reader: &mut Reader<'_>) -> Result<Attested, StructureError> {
    let selection = selection(reader)?;
    let digest =
        Digest::from_slice(reader.sized()?).ok_or(StructureError::Unsupported("length of a digest"))?;
    Ok(Attested::Quote { selection, digest })
}

/// `TPML_PCR_SELECTION`: the SHA-256 bank alone, once.
fn selection(reader: &mut Reader<'_>) -> Result<Selection, StructureError> {
    if reader.u32_be()? != 1 || reader.u16_be()? != ALG_SHA256 {
        return Err(StructureError::Unsupported("selection of PCR banks"));
    }
    let length = reader.u8()?;
    if length > 4 {
        return Err(StructureError::Unsupported("length of a PCR selection"));
    }
    let bytes = reader.take(length.into())?;
    let bits = bytes.iter().rev().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    if bits >> PCRS != 0 {
        return Err(StructureError::Unsupported("PCR"));
    }
    Ok(Selection(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_of_a_device_is_what_the_architecture_says() {
        let numbers: Vec<u32> = Selection::DEVICE.numbers().collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13]);
        assert_eq!(Selection::of(&numbers), Selection::DEVICE);
    }

    #[test]
    fn selection_of_two_banks_is_refused() {
        let two = [&2_u32.to_be_bytes()[..], &[0, 4, 3, 1, 0, 0], &[0, 11, 3, 1, 0, 0]].concat();
        assert!(selection(&mut Reader::new(&two)).is_err());
        let one = [&1_u32.to_be_bytes()[..], &[0, 11, 3, 1, 0x20, 0]].concat();
        assert_eq!(selection(&mut Reader::new(&one)), Ok(Selection::of(&[0, 13])));
    }
}
