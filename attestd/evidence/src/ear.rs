//! The verdict for others: an EAT Attestation Result (draft-ietf-rats-ear) as a JWT, signed by ES256.
//!
//! What a relying party checks: the signature by the verifier's key, which it has got by another way, `iat`, the device and
//! the nonce. Only ES256 is made and taken, so no header can choose another algorithm.

use crate::Digest;
use crate::appraise::{Appraisal, Measurement, Vector};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, EcdsaKeyPair, UnparsedPublicKey};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The profile of draft-ietf-rats-ear-04.
pub const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";
/// The one attester in a result.
pub const SUBMODULE: &str = "device";
/// Longest result that is checked, bytes.
const SIZE_MAX: usize = 256 * 1024;

/// What a result says besides the verdict.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// When, in seconds since 1970.
    pub issued_at: u64,
    /// The device's id.
    pub device: &'a Digest,
    /// The nonce that the evidence was over.
    pub nonce: &'a [u8],
    /// Names the policy.
    pub policy: &'a str,
    /// The verifier's build.
    pub build: &'a str,
}

/// Why there is no result, or what somebody has is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EarError {
    /// The key cannot sign.
    Sign,
    /// It is no compact JWS with the one header that is taken.
    Form,
    /// The signature is not the key's.
    Signature,
    /// What was signed is no attestation result.
    Claims,
}

impl fmt::Display for EarError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Sign => "the verifier's key cannot sign",
            Self::Form => "the attestation result is no token that is signed by ES256",
            Self::Signature => "the attestation result's signature is not the verifier's",
            Self::Claims => "the signed token is no attestation result",
        })
    }
}

impl std::error::Error for EarError {}

#[derive(Serialize)]
struct Claims<'a> {
    eat_profile: &'static str,
    iat: u64,
    eat_nonce: String,
    ear_verifier_id: VerifierId<'a>,
    submods: BTreeMap<&'static str, Submodule<'a>>,
}

#[derive(Serialize)]
struct VerifierId<'a> {
    build: &'a str,
    developer: &'static str,
}

#[derive(Serialize)]
struct Submodule<'a> {
    eat_profile: &'static str,
    ear_status: &'static str,
    ear_trustworthiness_vector: &'a Vector,
    ear_appraisal_policy_id: &'a str,
    /// The endorsement key's digest: RFC 9711, 4.2.1, type RAND of 33 bytes.
    ueid: String,
    #[serde(rename = "os.gabion.release")]
    release: Option<&'a str>,
    #[serde(rename = "os.gabion.reasons")]
    reasons: &'a [String],
    #[serde(rename = "os.gabion.measurements")]
    measurements: &'a [Measurement],
}

/// Signs a verdict.
pub fn sign(
    verdict: &Appraisal,
    context: &Context<'_>,
    key: &EcdsaKeyPair,
    key_id: &str,
    random: &SystemRandom,
) -> Result<String, EarError> {
    let device = Submodule {
        eat_profile: "tag:os.gabion,2026:device",
        ear_status: verdict.status().as_str(),
        ear_trustworthiness_vector: &verdict.vector,
        ear_appraisal_policy_id: context.policy,
        ueid: base64url(&[&[1][..], &context.device.0].concat()),
        release: verdict.release.as_deref(),
        reasons: &verdict.reasons,
        measurements: &verdict.measurements,
    };
    let claims = Claims {
        eat_profile: PROFILE,
        iat: context.issued_at,
        eat_nonce: base64url(context.nonce),
        ear_verifier_id: VerifierId { build: context.build, developer: "Gabion" },
        submods: BTreeMap::from([(SUBMODULE, device)]),
    };
    let claims = serde_json::to_vec(&claims).map_err(|_| EarError::Sign)?;
    let header = serde_json::json!({ "alg": "ES256", "kid": key_id, "typ": "eat+jwt" });
    let mut token = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(&claims));
    let signature = key.sign(random, token.as_bytes()).map_err(|_| EarError::Sign)?;
    token.push('.');
    token.push_str(&base64url(signature.as_ref()));
    Ok(token)
}

/// Checks the signature by `key`, a point on P-256 as 65 bytes; what was signed.
///
/// Whether it is of now, of the right device and good enough is for whoever asks.
pub fn verify(token: &str, key: &[u8]) -> Result<Value, EarError> {
    if token.len() > SIZE_MAX {
        return Err(EarError::Form);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(EarError::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(EarError::Form)?;
    let header: Value = json(header)?;
    if header["alg"] != "ES256" || header.get("crit").is_some() {
        return Err(EarError::Form);
    }
    let signature = bytes(signature).ok_or(EarError::Form)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| EarError::Signature)?;
    let claims: Value = json(claims)?;
    if claims["eat_profile"] != PROFILE || !claims["submods"][SUBMODULE]["ear_status"].is_string() {
        return Err(EarError::Claims);
    }
    Ok(claims)
}

fn json(text: &str) -> Result<Value, EarError> {
    let bytes = bytes(text).ok_or(EarError::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| EarError::Form)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648, 5, without padding, as RFC 7515 has it.
fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    let digit = |bits: u32, place: usize| {
        let index = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
        ALPHABET.get(index).copied().map_or('A', char::from)
    };
    for chunk in bytes.chunks(3) {
        let at = |place: usize| chunk.get(place).copied().unwrap_or(0);
        let bits = u32::from_be_bytes([0, at(0), at(1), at(2)]);
        text.extend((0..=chunk.len()).map(|place| digit(bits, place)));
    }
    text
}

/// The reverse; none if it is written otherwise.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in text.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in chunk {
            bits = bits << 6 | u32::try_from(ALPHABET.iter().position(|known| known == byte)?).ok()?;
        }
        bits <<= 6 * (4 - chunk.len());
        let [_, all @ ..] = bits.to_be_bytes();
        bytes.extend_from_slice(all.get(..chunk.len().checked_sub(1)?)?);
    }
    (base64url(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appraise::{Evidence, Policy, appraise};
    use proptest::prelude::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, KeyPair as _};

    proptest! {
        #[test]
        fn bytes_encoded_decode_to_themselves_and_each_has_one_spelling(all in any::<Vec<u8>>(), text in "[A-Za-z0-9_-]{0,9}") {
            prop_assert_eq!(bytes(&base64url(&all)), Some(all));
            if let Some(decoded) = bytes(&text) {
                prop_assert_eq!(base64url(&decoded), text);
            }
        }
    }

    #[test]
    fn result_signed_is_taken_and_one_altered_or_of_another_key_is_refused() {
        let random = SystemRandom::new();
        let key = || {
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap()
        };
        let (own, other) = (key(), key());
        let values = BTreeMap::new();
        let evidence = Evidence { values: &values, boot_log: &[], package_log: &[] };
        let verdict = appraise(evidence, &[], &Policy::default());
        let context = Context {
            issued_at: 1,
            device: &Digest::ZERO,
            nonce: &[7; 32],
            policy: "p",
            build: "gabion-service 0",
        };
        let token = sign(&verdict, &context, &own, "k", &random).unwrap();
        let public = own.public_key().as_ref();
        let claims = verify(&token, public).unwrap();
        assert_eq!(claims["submods"]["device"]["ear_status"], "contraindicated");
        assert_eq!(verify(&token, other.public_key().as_ref()), Err(EarError::Signature));
        let parts: Vec<&str> = token.split('.').collect();
        let none = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), parts[1]);
        assert_eq!(verify(&none, public), Err(EarError::Form));
        let altered = format!("{}.{}A.{}", parts[0], parts[1], parts[2]);
        assert!(verify(&altered, public).is_err());
        assert_eq!(verify(parts[0], public), Err(EarError::Form));
    }
}
