//! Public keys of metadata, and signatures by them: Ed25519, ECDSA on P-256, RSA-PSS with SHA-256.
//!
//! What an attacker controls: keys that a delegation names are its delegator's word, signatures are anybody's. What is not
//! understood signs nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde::{Deserialize, Serialize};

use crate::hex;

/// `1.2.840.10045.2.1` with `1.2.840.10045.3.1.7`: a key on P-256.
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// `1.2.840.113549.1.1.1` with NULL: an RSA key.
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";

/// A key as metadata has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its kind.
    pub keytype: String,
    /// How it signs.
    pub scheme: String,
    /// The key.
    pub keyval: KeyValue,
}

/// The public part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// Hexadecimal for Ed25519, else PEM.
    pub public: String,
}

/// A key that is understood. Two that are equal are the same key, whatever they were called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Ed25519,
    P256,
    RsaPss,
}

/// A key ready to check signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verifier {
    scheme: Scheme,
    public: Vec<u8>,
}

impl Key {
    /// An Ed25519 key.
    pub fn ed25519(public: &[u8]) -> Self {
        let keyval = KeyValue { public: hex::encode(public) };
        Self { keytype: "ed25519".to_owned(), scheme: "ed25519".to_owned(), keyval }
    }

    /// What checks its signatures; none if it is of no kind that is understood.
    pub fn verifier(&self) -> Option<Verifier> {
        let public = &self.keyval.public;
        let (scheme, public) = match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => (Scheme::Ed25519, hex::decode(public).filter(|key| key.len() == 32)?),
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                let point = spki(&pem(public)?, P256)?;
                (Scheme::P256, point.len().eq(&65).then_some(point)?)
            }
            ("rsa", "rsassa-pss-sha256") => (Scheme::RsaPss, spki(&pem(public)?, RSA)?),
            _ => return None,
        };
        Some(Verifier { scheme, public })
    }
}

impl Verifier {
    /// Whether `signature` is by this key, over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.scheme {
            Scheme::Ed25519 => &signature::ED25519,
            Scheme::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            Scheme::RsaPss => &signature::RSA_PSS_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.public).verify(message, signature).is_ok()
    }
}

fn pem(text: &str) -> Option<Vec<u8>> {
    let body =
        text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----")?.strip_suffix("-----END PUBLIC KEY-----")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok()
}

/// The key in a `SubjectPublicKeyInfo` of this algorithm.
fn spki(der: &[u8], algorithm: &[u8]) -> Option<Vec<u8>> {
    let (whole, rest) = element(der, 0x30)?;
    let (bits, after) = element(whole.strip_prefix(algorithm)?, 0x03)?;
    let (unused, key) = bits.split_first()?;
    (rest.is_empty() && after.is_empty() && *unused == 0).then(|| key.to_vec())
}

/// A DER element of this tag, and what is after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=127 => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?
        }
        _ => return None,
    };
    (*first == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a published repository's metadata.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWRiGr5+j+3J5SsH+Ztr5nE2H2wO7\nBV+nO3s93gLca18qTOzHY1oWyAGDykMSsGTUBSt9D+An0KfKsD2mfSM42Q==\n-----END PUBLIC KEY-----\n";

    fn key(keytype: &str, scheme: &str, public: &str) -> Key {
        let keyval = KeyValue { public: public.to_owned() };
        Key { keytype: keytype.to_owned(), scheme: scheme.to_owned(), keyval }
    }

    #[test]
    fn key_of_another_class_than_it_says_is_none() {
        assert!(key("ecdsa", "ecdsa-sha2-nistp256", PEM).verifier().is_some());
        for (keytype, scheme) in [
            ("rsa", "rsassa-pss-sha256"),
            ("ed25519", "ed25519"),
            ("rsa", "ecdsa-sha2-nistp256"),
            ("ecdsa", "none"),
        ] {
            assert_eq!(key(keytype, scheme, PEM).verifier(), None, "{keytype} {scheme}");
        }
        assert_eq!(key("ecdsa", "ecdsa-sha2-nistp256", &PEM.replace("MFkw", "MFow")).verifier(), None);
    }
}
