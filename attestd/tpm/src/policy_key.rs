//! The key off the device that signs the boot states in which a secret may be had.
//!
//! Two kinds are read, from the one DER encoding that each of them has (RFC 5280, `SubjectPublicKeyInfo`): P-256, and RSA
//! with 2048 bits and the exponent 65537, which is what `systemd-measure` signs with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::command::Command;
use crate::constants::{ALG_ECC, ALG_ECDSA, ALG_NULL, ALG_RSA, ALG_RSASSA, ALG_SHA256, ECC_NIST_P256};
use crate::crypto::{self, Digest};
use crate::public::{self, Name};
use crate::wire::{Reader, Writer};

/// A P-256 key's `SubjectPublicKeyInfo` up to its coordinates.
const ECC_HEAD: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// The same of an RSA key with 2048 bits up to its modulus.
const RSA_HEAD: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00,
];
/// What follows the modulus: the exponent.
const RSA_TAIL: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// `SIGN_ENCRYPT`, `DECRYPT` and `USER_WITH_AUTH`, as systemd loads such keys: the attributes are part of the name.
const ATTRIBUTES: u32 = 0x4_0000 | 0x2_0000 | 0x40;

/// The longest PEM that is read.
const MOST_PEM: usize = 4096;

/// A public key that signs policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyKey {
    /// `TPMT_PUBLIC`.
    public: Vec<u8>,
    is_rsa: bool,
}

impl PolicyKey {
    /// Reads `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn from_der(bytes: &[u8]) -> Option<Self> {
        if let Some((x, y)) = bytes.strip_prefix(&ECC_HEAD).and_then(|point| point.split_at_checked(32)) {
            return (y.len() == 32).then(|| Self::ecc(x, y));
        }
        let modulus = bytes.strip_prefix(&RSA_HEAD)?.strip_suffix(&RSA_TAIL)?;
        // An integer whose first bit is 1, or it had fewer than 2048.
        (modulus.len() == 256 && modulus.first()? & 0x80 != 0).then(|| Self::rsa(modulus))
    }

    /// Reads `SubjectPublicKeyInfo` in PEM, as it is in a kernel image's section `.pcrpkey`; what is behind it are the zeros
    /// of a section.
    #[must_use]
    pub fn from_pem(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.get(..MOST_PEM.min(text.len()))?).ok()?;
        let text = text.trim_end_matches('\0').trim_end();
        let body =
            text.strip_prefix("-----BEGIN PUBLIC KEY-----\n")?.strip_suffix("-----END PUBLIC KEY-----")?;
        let body: String = body.lines().collect();
        Self::from_der(&STANDARD.decode(body).ok()?)
    }

    /// By what systemd knows it: SHA-256 of the key's bits alone, in DER.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let last =
            |bytes: usize| self.public.get(self.public.len().saturating_sub(bytes)..).unwrap_or_default();
        if self.is_rsa {
            // Of `SubjectPublicKeyInfo` what is inside the bit string.
            let head = RSA_HEAD.get(24..).unwrap_or_default();
            return crypto::sha256(&[head, last(256), &RSA_TAIL]);
        }
        // Both coordinates, with the size of the second between them.
        let (x, y) = (last(66).get(..32).unwrap_or_default(), last(32));
        crypto::sha256(&[&[4], x, y])
    }

    /// Reads `TPMT_PUBLIC` as [`PolicyKey::public`] gives it.
    #[must_use]
    pub fn from_public(bytes: &[u8]) -> Option<Self> {
        let key = |unique: &[&[u8]]| match *unique {
            [x, y] => Self::ecc(x, y),
            [modulus] => Self::rsa(modulus),
            _ => Self::rsa(&[]),
        };
        let mut reader = Reader::new(bytes);
        let read = match reader.u16()? {
            ALG_ECC => {
                reader.take(16)?;
                key(&[
                    reader.sized(32).filter(|x| x.len() == 32)?,
                    reader.sized(32).filter(|y| y.len() == 32)?,
                ])
            }
            ALG_RSA => {
                reader.take(18)?;
                key(&[reader.sized(256).filter(|modulus| modulus.len() == 256)?])
            }
            _ => return None,
        };
        // Whatever was passed over has to be what we write.
        (read.public == bytes).then_some(read)
    }

    /// `TPMT_PUBLIC`.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The name that policies know it by.
    pub(crate) fn name(&self) -> Name {
        public::name(&self.public)
    }

    /// The policy that this key fulfils for whatever policy it has signed (part 3, clause 23.16).
    pub(crate) fn policy(&self) -> Digest {
        let code = Command::PolicyAuthorize.code().to_be_bytes();
        // The second time for the reference, which is empty.
        crypto::sha256(&[&crypto::sha256(&[&[0; 32], &code, &self.name()])])
    }

    /// `TPMT_SIGNATURE`: of P-256 from `ECDSA-Sig-Value` in DER, of RSA (PKCS #1, version 1.5) from its bytes.
    pub(crate) fn signature(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.is_rsa {
            let writer = Writer::new().u16(ALG_RSASSA).u16(ALG_SHA256);
            return (bytes.len() == 256).then(|| writer.sized(bytes).done());
        }
        let (r, s) = Reader::whole(bytes, |reader| {
            (reader.u8()? == 0x30).then_some(())?;
            let length = usize::from(reader.u8()?);
            Reader::whole(reader.take(length)?, |reader| Some((integer(reader)?, integer(reader)?)))
        })?;
        Some(Writer::new().u16(ALG_ECDSA).u16(ALG_SHA256).sized(&r).sized(&s).done())
    }

    fn ecc(x: &[u8], y: &[u8]) -> Self {
        let area = Writer::new().u16(ALG_ECC).u16(ALG_SHA256).u32(ATTRIBUTES).sized(&[]);
        let area = area.u16(ALG_NULL).u16(ALG_NULL).u16(ECC_NIST_P256).u16(ALG_NULL);
        Self { public: area.sized(x).sized(y).done(), is_rsa: false }
    }

    fn rsa(modulus: &[u8]) -> Self {
        let area = Writer::new().u16(ALG_RSA).u16(ALG_SHA256).u32(ATTRIBUTES).sized(&[]);
        // 0 is the exponent 65537.
        let area = area.u16(ALG_NULL).u16(ALG_NULL).u16(2048).u32(0);
        Self { public: area.sized(modulus).done(), is_rsa: true }
    }
}

/// A positive integer of at most 256 bits in DER.
fn integer(reader: &mut Reader<'_>) -> Option<[u8; 32]> {
    (reader.u8()? == 2).then_some(())?;
    let length = usize::from(reader.u8()?);
    let bytes = reader.take(length)?;
    let digits = match bytes {
        [0, digits @ ..] if digits.first().is_some_and(|byte| byte & 0x80 != 0) => digits,
        [first, ..] if first & 0x80 == 0 && (*first != 0 || length == 1) => bytes,
        _ => return None,
    };
    let mut number = [0; 32];
    number.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ecc() -> Vec<u8> {
        [&ECC_HEAD[..], &[7; 64]].concat()
    }

    fn rsa() -> Vec<u8> {
        [&RSA_HEAD[..], &[0x87; 256], &RSA_TAIL].concat()
    }

    #[test]
    fn key_reads_back_from_its_public_area_alone() {
        for der in [ecc(), rsa()] {
            let key = PolicyKey::from_der(&der).expect("a key");
            assert_eq!(PolicyKey::from_public(key.public()).as_ref(), Some(&key));
            for bit in 0..8 * 16 {
                let mut bad = key.public().to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(PolicyKey::from_public(&bad), None, "{bit}");
            }
        }
    }

    #[test]
    fn der_of_other_keys_lengths_and_exponents_is_none() {
        for der in [ecc(), rsa()] {
            assert_eq!(PolicyKey::from_der(&der[..der.len() - 1]), None);
            assert_eq!(PolicyKey::from_der(&[&der[..], &[0]].concat()), None);
        }
        let mut three = rsa();
        let last = three.len() - 3;
        three[last] = 0;
        assert_eq!(PolicyKey::from_der(&three), None);
    }

    #[test]
    fn signature_with_integers_not_in_der_is_none() {
        let key = PolicyKey::from_der(&ecc()).expect("a key");
        let good = [0x30, 7, 2, 1, 5, 2, 2, 0, 0x85];
        assert!(key.signature(&good).is_some());
        for bad in [
            &[0x30, 7, 2, 1, 0x85, 2, 2, 0, 0x85][..],
            &[0x30, 8, 2, 2, 0, 5, 2, 2, 0, 0x85],
            &[0x30, 6, 2, 1, 5, 2, 1, 6, 0],
            &[0x30, 5, 2, 0, 2, 1, 5],
        ] {
            assert_eq!(key.signature(bad), None, "{bad:?}");
        }
    }
}
