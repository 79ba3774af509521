//! Public areas (`TPMT_PUBLIC`, part 2, clause 12.2.4): the templates of the keys in use, and what a TPM makes of them.
//!
//! A primary key comes of its hierarchy's seed and its template alone, so the same template is the same key until the
//! hierarchy is cleared, nothing is stored, and one byte of difference is another key: a template never changes.
//!
//! | key | hierarchy | template |
//! |---|---|---|
//! | endorsement, ECC | endorsement | L-2 of the TCG EK Credential Profile 2.5, annex B.3.4 |
//! | endorsement, RSA | endorsement | L-1 of the same, annex B.3.3 |
//! | storage root | owner | the SRK of the TCG Provisioning Guidance 1.0, 7.5.1: P-256, restricted decryption, AES-128-CFB, `unique` 32 zero bytes twice |
//! | attestation | endorsement | P-256, restricted signing, ECDSA with SHA-256, `unique.x` 32 zero bytes and `unique.y` too |
//! | application | owner | P-256, signing, ECDSA with SHA-256, `unique.x` the application's [`KeyId`](crate::KeyId), `unique.y` 32 zero bytes |
//! | sealed object | under the storage root key | keyed hash without a scheme, its policy alone authorises |
//!
//! All have `fixedTPM` and `fixedParent`: they leave this TPM never. All but the endorsement keys, whose templates are the
//! TCG's, have `noDA`: no policy of theirs has anything to guess.
//!
//! What comes back is compared with the template: all but `unique` is the same, byte for byte.

use crate::constants::{
    ALG_AES, ALG_CFB, ALG_ECC, ALG_ECDSA, ALG_KEYEDHASH, ALG_NULL, ALG_RSA, ALG_SHA256, DIGEST,
    ECC_NIST_P256, MOST_PUBLIC, RH_ENDORSEMENT, RH_OWNER,
};
use crate::crypto::{self, Digest, Point};
use crate::wire::{Reader, Writer};

const FIXED: u32 = 0x02 | 0x10;
const SENSITIVE_DATA_ORIGIN: u32 = 0x20;
const USER_WITH_AUTH: u32 = 0x40;
const ADMIN_WITH_POLICY: u32 = 0x80;
const NO_DA: u32 = 0x400;
const RESTRICTED: u32 = 0x1_0000;
const DECRYPT: u32 = 0x2_0000;
const SIGN: u32 = 0x4_0000;

/// `PolicySecret(TPM_RH_ENDORSEMENT)`: the policy of both endorsement keys (the profile's table 1, PolicyA).
const ENDORSEMENT_POLICY: Digest = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd,
    0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// Bytes of an RSA modulus of 2048 bits.
const RSA_BYTES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ecc,
    Rsa,
    KeyedHash,
}

/// What a key is to be.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) hierarchy: u32,
    kind: Kind,
    /// All of the public area but `unique`.
    head: Vec<u8>,
    unique: Vec<u8>,
}

/// A public area that is a template's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    bytes: Vec<u8>,
    point: Option<Point>,
}

impl Public {
    /// `TPMT_PUBLIC`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key's name: the hash algorithm's number and the hash of the public area.
    #[must_use]
    pub fn name(&self) -> Name {
        name(&self.bytes)
    }

    /// Both coordinates, if it is a key on P-256.
    #[must_use]
    pub fn point(&self) -> Option<&([u8; 32], [u8; 32])> {
        self.point.as_ref()
    }
}

/// `TPM2B_NAME` of something with SHA-256 as its name algorithm.
pub type Name = [u8; 2 + DIGEST];

/// The name of what has this public area.
pub(crate) fn name(public: &[u8]) -> Name {
    let mut name = [0; 2 + DIGEST];
    name[..2].copy_from_slice(&ALG_SHA256.to_be_bytes());
    name[2..].copy_from_slice(&crypto::sha256(&[public]));
    name
}

impl Template {
    /// The public area that asks for it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.unique].concat()
    }

    /// Reads a public area that has to be this template's.
    pub(crate) fn read(&self, bytes: &[u8]) -> Option<Public> {
        let unique = bytes.strip_prefix(&self.head[..])?;
        let point = Reader::whole(unique, |reader| match self.kind {
            Kind::Ecc => Some(Some((coordinate(reader)?, coordinate(reader)?))),
            Kind::Rsa => (reader.sized(RSA_BYTES)?.len() == RSA_BYTES).then_some(None),
            Kind::KeyedHash => (reader.sized(DIGEST)?.len() == DIGEST).then_some(None),
        })?;
        Some(Public { bytes: bytes.to_vec(), point })
    }
}

/// A coordinate or a part of a signature: some TPMs leave zero bytes in front out.
pub(crate) fn coordinate(reader: &mut Reader<'_>) -> Option<[u8; 32]> {
    let bytes = reader.sized(32)?;
    let mut padded = [0; 32];
    padded.get_mut(32 - bytes.len()..)?.copy_from_slice(bytes);
    Some(padded)
}

/// Reads `TPM2B_PUBLIC` that has to be the template's.
pub(crate) fn read(reader: &mut Reader<'_>, template: &Template) -> Option<Public> {
    template.read(reader.sized(MOST_PUBLIC)?)
}

/// The endorsement key on P-256 (L-2).
pub(crate) fn endorsement_ecc() -> Template {
    let attributes = FIXED | SENSITIVE_DATA_ORIGIN | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT;
    Template {
        hierarchy: RH_ENDORSEMENT,
        kind: Kind::Ecc,
        head: ecc(attributes, &ENDORSEMENT_POLICY, true),
        unique: two(&[0; 32], &[0; 32]),
    }
}

/// The endorsement key for RSA with 2048 bits (L-1).
pub(crate) fn endorsement_rsa() -> Template {
    let attributes = FIXED | SENSITIVE_DATA_ORIGIN | ADMIN_WITH_POLICY | RESTRICTED | DECRYPT;
    let head = area(ALG_RSA, attributes, &ENDORSEMENT_POLICY)
        .u16(ALG_AES)
        .u16(128)
        .u16(ALG_CFB)
        .u16(ALG_NULL)
        .u16(2048)
        // 0 is the exponent that all have, 65537.
        .u32(0)
        .done();
    let unique = Writer::new().sized(&[0; RSA_BYTES]).done();
    Template { hierarchy: RH_ENDORSEMENT, kind: Kind::Rsa, head, unique }
}

/// The storage root key.
pub(crate) fn storage() -> Template {
    let attributes = FIXED | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | DECRYPT;
    Template {
        hierarchy: RH_OWNER,
        kind: Kind::Ecc,
        head: ecc(attributes, &[], true),
        unique: two(&[0; 32], &[0; 32]),
    }
}

/// The attestation key: signs what the TPM itself says, and nothing else.
pub(crate) fn attestation() -> Template {
    let attributes = FIXED | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | RESTRICTED | SIGN;
    Template {
        hierarchy: RH_ENDORSEMENT,
        kind: Kind::Ecc,
        head: ecc(attributes, &[], false),
        unique: two(&[0; 32], &[0; 32]),
    }
}

/// The key that signs for an application.
pub(crate) fn application(id: &Digest) -> Template {
    let attributes = FIXED | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | SIGN;
    Template {
        hierarchy: RH_OWNER,
        kind: Kind::Ecc,
        head: ecc(attributes, &[], false),
        unique: two(id, &[0; 32]),
    }
}

/// Data that whoever fulfils `policy` may have.
pub(crate) fn sealed(policy: &Digest) -> Template {
    let head = area(ALG_KEYEDHASH, FIXED | ADMIN_WITH_POLICY | NO_DA, policy).u16(ALG_NULL).done();
    Template { hierarchy: RH_OWNER, kind: Kind::KeyedHash, head, unique: Writer::new().sized(&[]).done() }
}

fn area(kind: u16, attributes: u32, policy: &[u8]) -> Writer {
    Writer::new().u16(kind).u16(ALG_SHA256).u32(attributes).sized(policy)
}

/// A key on P-256 that either wraps other keys or signs.
fn ecc(attributes: u32, policy: &[u8], wraps: bool) -> Vec<u8> {
    let area = area(ALG_ECC, attributes, policy);
    let area = if wraps {
        area.u16(ALG_AES).u16(128).u16(ALG_CFB).u16(ALG_NULL)
    } else {
        area.u16(ALG_NULL).u16(ALG_ECDSA).u16(ALG_SHA256)
    };
    area.u16(ECC_NIST_P256).u16(ALG_NULL).done()
}

fn two(x: &[u8], y: &[u8]) -> Vec<u8> {
    Writer::new().sized(x).sized(y).done()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(template: &Template) -> Vec<u8> {
        [&template.head[..], &two(&[7; 32], &[8; 32])].concat()
    }

    #[test]
    fn public_with_any_bit_of_its_template_changed_is_none() {
        let template = attestation();
        let good = made(&template);
        assert_eq!(template.read(&good).and_then(|public| public.point), Some(([7; 32], [8; 32])));
        for bit in 0..template.head.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(template.read(&bad), None, "{bit}");
        }
        assert_eq!(application(&[7; 32]).read(&good), None);
    }

    #[test]
    fn coordinate_without_its_zeros_is_padded() {
        assert_eq!(coordinate(&mut Reader::new(&[0, 1, 5])).map(|bytes| bytes[31]), Some(5));
        assert_eq!(coordinate(&mut Reader::new(&[&[0, 33][..], &[1; 33]].concat())), None);
    }
}
