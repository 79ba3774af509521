//! `TPMT_SIGNATURE`: ECDSA on P-256 or RSASSA-PKCS1-v1_5, both over SHA-256.

use super::public::number;
use super::{ALG_SHA256, StructureError};
use crate::bytes::Reader;

const ALG_RSASSA: u16 = 0x0014;
const ALG_ECDSA: u16 = 0x0018;
/// Longest signature that is read: RSA 2048 takes 262 bytes.
const LENGTH_MAX: usize = 512;

/// A signature of a TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// ECDSA: r and s, 32 bytes each.
    Ecdsa([u8; 64]),
    /// RSASSA-PKCS1-v1_5.
    Rsassa(Vec<u8>),
}

impl Signature {
    /// Reads a `TPMT_SIGNATURE`, all of it.
    pub fn read(raw: &[u8]) -> Result<Self, StructureError> {
        if raw.len() > LENGTH_MAX {
            return Err(StructureError::Trailing);
        }
        let mut reader = Reader::new(raw);
        let algorithm = reader.u16_be()?;
        if reader.u16_be()? != ALG_SHA256 {
            return Err(StructureError::Unsupported("hash of a signature"));
        }
        let signature = match algorithm {
            ALG_ECDSA => ecdsa(&mut reader)?,
            ALG_RSASSA => Self::Rsassa(reader.sized()?.to_vec()),
            _ => return Err(StructureError::Unsupported("kind of signature")),
        };
        if !reader.is_empty() {
            return Err(StructureError::Trailing);
        }
        Ok(signature)
    }
}

fn ecdsa(reader: &mut Reader<'_>) -> Result<Signature, StructureError> {
    let mut both = [0; 64];
    let (r, s) = both.split_at_mut(32);
    r.copy_from_slice(&number(reader.sized()?)?);
    s.copy_from_slice(&number(reader.sized()?)?);
    Ok(Signature::Ecdsa(both))
}
