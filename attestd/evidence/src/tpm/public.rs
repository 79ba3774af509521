//! `TPMT_PUBLIC`: the public area of a key in a TPM, and its name.
//!
//! The name is the digest of exactly these bytes, so they are kept as they came. The attributes say what the TPM lets the
//! key do; they are worth something only once the TPM has vouched for the name (a credential activated, or `TPM2_Certify`).

use super::{ALG_NULL, ALG_SHA256, StructureError};
use crate::bytes::Reader;
use crate::digest::Digest;
use std::fmt;

const ALG_RSA: u16 = 0x0001;
const ALG_ECC: u16 = 0x0023;
const ALG_AES: u16 = 0x0006;
const ALG_CFB: u16 = 0x0043;
const ALG_RSASSA: u16 = 0x0014;
const ALG_ECDSA: u16 = 0x0018;
const CURVE_P256: u16 = 0x0003;
const EXPONENT: u32 = 65537;
/// Longest public area that is read: RSA 2048 with every optional part takes 316 bytes.
const LENGTH_MAX: usize = 512;

/// The public area of a key that a TPM holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Public {
    raw: Vec<u8>,
    /// What the TPM lets it do.
    pub attributes: Attributes,
    /// `authPolicy`.
    pub policy: Vec<u8>,
    /// AES-128-CFB wraps what is stored below it, or what is sent to it.
    pub symmetric: bool,
    /// It signs, always and only, SHA-256 digests in the kind's scheme (RSASSA, ECDSA).
    pub scheme: bool,
    /// The public key.
    pub key: KeyKind,
}

/// The public key in a public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with 2048 bits and the exponent 65537: the modulus.
    Rsa(Box<[u8; 256]>),
    /// A point on NIST P-256, not yet known to be on the curve.
    P256 {
        /// First coordinate.
        x: [u8; 32],
        /// Second coordinate.
        y: [u8; 32],
    },
}

/// `TPMA_OBJECT`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// The key never leaves its TPM.
    pub const FIXED_TPM: u32 = 1 << 1;
    /// The key never gets another parent.
    pub const FIXED_PARENT: u32 = 1 << 4;
    /// The TPM made the key itself.
    pub const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
    /// Signs nothing that only looks as if a TPM had made it; decrypts only credentials and children.
    pub const RESTRICTED: u32 = 1 << 16;
    /// Decrypts.
    pub const DECRYPT: u32 = 1 << 17;
    /// Signs.
    pub const SIGN: u32 = 1 << 18;

    /// All of these bits are set.
    #[must_use]
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#010x}", self.0)
    }
}

impl fmt::Debug for Public {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Public({}, {:?})", self.digest(), self.attributes)
    }
}

impl Public {
    /// Reads a `TPMT_PUBLIC`, all of it. (`TPM2B_PUBLIC` has its length in two bytes before it.)
    pub fn read(raw: &[u8]) -> Result<Self, StructureError> {
        if raw.len() > LENGTH_MAX {
            return Err(StructureError::Trailing);
        }
        let mut reader = Reader::new(raw);
        let kind = reader.u16_be()?;
        if reader.u16_be()? != ALG_SHA256 {
            return Err(StructureError::Unsupported("name algorithm"));
        }
        let attributes = Attributes(reader.u32_be()?);
        let policy = reader.sized()?.to_vec();
        let symmetric = symmetric(&mut reader)?;
        let (scheme, key) = match kind {
            ALG_RSA => rsa(&mut reader)?,
            ALG_ECC => ecc(&mut reader)?,
            _ => return Err(StructureError::Unsupported("kind of key")),
        };
        if !reader.is_empty() {
            return Err(StructureError::Trailing);
        }
        Ok(Self { raw: raw.to_vec(), attributes, policy, symmetric, scheme, key })
    }

    /// The bytes it was read from.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// SHA-256 of the public area: for an endorsement key, the device's id.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.raw)
    }

    /// `TPM2B_NAME` without its length: the algorithm's number and the digest.
    #[must_use]
    pub fn name(&self) -> Vec<u8> {
        name(&self.digest())
    }

    /// The key as X.509 carries it: a DER `SubjectPublicKeyInfo`. An RSA modulus that begins with a zero bit (none that
    /// has 2048 bits does) is written as a positive number all the same.
    #[must_use]
    pub fn subject_public_key_info(&self) -> Vec<u8> {
        match &self.key {
            KeyKind::P256 { x, y } => [P256_INFO, x, y].concat(),
            KeyKind::Rsa(modulus) => [RSA_INFO, modulus.as_slice(), RSA_EXPONENT].concat(),
        }
    }
}

/// `SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING { 04 …` up to the coordinates.
const P256_INFO: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// `SEQUENCE { SEQUENCE { rsaEncryption, NULL }, BIT STRING { SEQUENCE { INTEGER 00 …` up to the modulus.
const RSA_INFO: &[u8] = &[
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];
/// `INTEGER 65537`, which ends it.
const RSA_EXPONENT: &[u8] = &[0x02, 0x03, 0x01, 0x00, 0x01];

pub(super) fn name(digest: &Digest) -> Vec<u8> {
    [&ALG_SHA256.to_be_bytes()[..], &digest.0].concat()
}

/// `TPMT_SYM_DEF_OBJECT`: none, or AES-128-CFB.
fn symmetric(reader: &mut Reader<'_>) -> Result<bool, StructureError> {
    match reader.u16_be()? {
        ALG_NULL => Ok(false),
        ALG_AES if reader.u16_be()? == 128 && reader.u16_be()? == ALG_CFB => Ok(true),
        _ => Err(StructureError::Unsupported("symmetric algorithm")),
    }
}

/// `TPMT_RSA_SCHEME` or `TPMT_ECC_SCHEME`: none, or the given one with SHA-256.
fn scheme(reader: &mut Reader<'_>, only: u16) -> Result<bool, StructureError> {
    match reader.u16_be()? {
        ALG_NULL => Ok(false),
        scheme if scheme == only && reader.u16_be()? == ALG_SHA256 => Ok(true),
        _ => Err(StructureError::Unsupported("signature scheme")),
    }
}

fn rsa(reader: &mut Reader<'_>) -> Result<(bool, KeyKind), StructureError> {
    let scheme = scheme(reader, ALG_RSASSA)?;
    let bits = reader.u16_be()?;
    let exponent = reader.u32_be()?;
    // Part 2, 12.2.3.5: zero is the default exponent, 65537.
    if bits != 2048 || !(exponent == 0 || exponent == EXPONENT) {
        return Err(StructureError::Unsupported("size or exponent of an RSA key"));
    }
    let modulus: [u8; 256] =
        reader.sized()?.try_into().map_err(|_| StructureError::Unsupported("length of a modulus"))?;
    if modulus[0] & 0x80 == 0 {
        return Err(StructureError::Unsupported("size or exponent of an RSA key"));
    }
    Ok((scheme, KeyKind::Rsa(Box::new(modulus))))
}

fn ecc(reader: &mut Reader<'_>) -> Result<(bool, KeyKind), StructureError> {
    let scheme = scheme(reader, ALG_ECDSA)?;
    if reader.u16_be()? != CURVE_P256 {
        return Err(StructureError::Unsupported("curve"));
    }
    if reader.u16_be()? != ALG_NULL {
        return Err(StructureError::Unsupported("key derivation"));
    }
    let x = number(reader.sized()?)?;
    let y = number(reader.sized()?)?;
    Ok((scheme, KeyKind::P256 { x, y }))
}

/// A number of at most 32 bytes, which some TPMs send without its leading zeros.
pub(super) fn number(bytes: &[u8]) -> Result<[u8; 32], StructureError> {
    let mut number = [0; 32];
    let start =
        number.len().checked_sub(bytes.len()).ok_or(StructureError::Unsupported("length of a number"))?;
    number[start..].copy_from_slice(bytes);
    Ok(number)
}
