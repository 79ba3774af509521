//! A permit as it travels: a JWT (RFC 7519) in a compact JWS (RFC 7515), signed by ES256 and nothing else.
//!
//! ```text
//! header  {"alg":"ES256","typ":"gabion-permit+jwt","x5c":[CERTIFICATE OF THE CATALOG'S AUTHORITY]}
//! claims  {"iss":CATALOG,"sub":DEVICE,"jti":ID,"iat":…,"exp":…,
//!          "cnf":{"jwk":{"kty":"EC","crv":"P-256","x":…,"y":…,"x5t#S256":…}}}
//! ```
//!
//! `cnf` is RFC 7800's: whoever shows this must prove that key. `x5t#S256` (RFC 7517, 4.9) names the one certificate with which
//! he does. `x5c` is for the developer, who learns by it whom the device's own certificate must come from; a device believes
//! its own authority and never what a permit brings along.
//!
//! Strict and bounded: unknown members are refused, so that nobody relies on a condition that this does not know.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::developer::CERTIFICATE_MAX;
use crate::{Developer, Refusal};

/// Longest permit, bytes.
pub const TEXT_MAX: usize = 4096;
/// Longest time that a permit lasts, seconds: a month. Who needs longer has somebody look at it again.
pub const LIFETIME_MAX_S: u64 = 30 * 86_400;
/// What kind of token this is.
const TYPE: &str = "gabion-permit+jwt";
/// Longest name of a catalog, and longest id of a permit, bytes.
const NAME_MAX: usize = 64;
/// Characters of a device's id: SHA-256 in hexadecimal.
const DEVICE: usize = 64;

/// What a permit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The catalog that lets.
    pub catalog: String,
    /// On which device.
    pub device: String,
    /// Names this permit among the catalog's.
    pub id: String,
    /// Since when, seconds since 1970-01-01 UTC. No two permits for one device have the same.
    pub issued_s: u64,
    /// Until when.
    pub expires_s: u64,
    /// Who may.
    pub developer: Developer,
}

/// A text that reads as a permit. Nobody has looked at its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    terms: Terms,
    authority: Vec<u8>,
    signed: String,
    signature: Vec<u8>,
}

/// A permit that somebody's authority has signed. Only [`Claimed::checked`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit(Terms);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    x5c: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    sub: String,
    jti: String,
    iat: u64,
    exp: u64,
    cnf: Confirmation,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jwk: Jwk,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(rename = "x5t#S256")]
    certificate: String,
}

impl Terms {
    /// The permit as it travels. `authority` is the signer's certificate (DER); `sign` gives r and s, each in 32 bytes.
    ///
    /// # Errors
    /// The terms are none that a device takes, or `sign`'s.
    pub fn issue<E: From<Refusal>>(
        &self,
        authority: &[u8],
        sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
    ) -> Result<String, E> {
        self.check()?;
        let header =
            Header { alg: "ES256".to_owned(), typ: TYPE.to_owned(), x5c: vec![STANDARD.encode(authority)] };
        let (x, y) = self.developer.point[1..].split_at(32);
        let jwk = Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            certificate: URL_SAFE_NO_PAD.encode(self.developer.certificate),
        };
        let claims = Claims {
            iss: self.catalog.clone(),
            sub: self.device.clone(),
            jti: self.id.clone(),
            iat: self.issued_s,
            exp: self.expires_s,
            cnf: Confirmation { jwk },
        };
        let part = |json: serde_json::Result<Vec<u8>>| {
            json.map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|_| Refusal::Form("it can not be written"))
        };
        let signed = format!("{}.{}", part(serde_json::to_vec(&header))?, part(serde_json::to_vec(&claims))?);
        let signature = sign(signed.as_bytes())?;
        let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        if text.len() > TEXT_MAX {
            return Err(Refusal::Form("it is too long").into());
        }
        Ok(text)
    }

    fn check(&self) -> Result<(), Refusal> {
        let plain = |text: &str| {
            (1..=NAME_MAX).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        let hexadecimal = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if !plain(&self.catalog) || !plain(&self.id) {
            return Err(Refusal::Form("a name in it is none"));
        }
        if self.device.len() != DEVICE || !self.device.bytes().all(hexadecimal) {
            return Err(Refusal::Form("its device's id is none"));
        }
        match self.expires_s.checked_sub(self.issued_s) {
            None | Some(0) => Err(Refusal::Form("it ends before it begins")),
            Some(lifetime_s) if lifetime_s > LIFETIME_MAX_S => {
                Err(Refusal::Form("it lasts for more than 30 days"))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Claimed {
    /// Reads a permit.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let text = text.trim_ascii();
        if text.len() > TEXT_MAX {
            return Err(Refusal::Form("it is too long"));
        }
        let parts = text
            .rsplit_once('.')
            .and_then(|(signed, signature)| Some((signed, signed.split_once('.')?, signature)));
        let (signed, (header, claims), signature) = parts.ok_or(Refusal::Form("it has not three parts"))?;
        let header: Header = json(header)?;
        if header.alg != "ES256" || header.typ != TYPE {
            return Err(Refusal::Form("it is a token of another kind"));
        }
        let [authority] = header.x5c.as_slice() else {
            return Err(Refusal::Form("it names not one authority"));
        };
        let authority = STANDARD.decode(authority).ok().filter(|der| der.len() <= CERTIFICATE_MAX);
        let claims: Claims = json(claims)?;
        let terms = Terms {
            catalog: claims.iss,
            device: claims.sub,
            id: claims.jti,
            issued_s: claims.iat,
            expires_s: claims.exp,
            developer: claims.cnf.jwk.developer()?,
        };
        terms.check()?;
        Ok(Self {
            terms,
            authority: authority.ok_or(Refusal::Form("its authority's certificate is none"))?,
            signed: signed.to_owned(),
            signature: bytes(signature)?,
        })
    }

    /// What it says, which nobody need believe.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The certificate (DER) that it says its signer has.
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// The permit, if the authority with this key (an uncompressed point) signed it.
    ///
    /// # Errors
    /// It did not.
    pub fn checked(self, point: &[u8]) -> Result<Permit, Refusal> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| Refusal::Signature)?;
        Ok(Permit(self.terms))
    }
}

impl Permit {
    /// What it says.
    pub fn terms(&self) -> &Terms {
        &self.0
    }
}

impl Jwk {
    fn developer(&self) -> Result<Developer, Refusal> {
        let wrong = Refusal::Form("its developer's key is none");
        if self.kty != "EC" || self.crv != "P-256" {
            return Err(wrong);
        }
        let part = |text: &str| <[u8; 32]>::try_from(bytes(text).ok()?).ok();
        let (Some(x), Some(y), Some(certificate)) = (part(&self.x), part(&self.y), part(&self.certificate))
        else {
            return Err(wrong);
        };
        let mut point = [0x04; 65];
        point[1..33].copy_from_slice(&x);
        point[33..].copy_from_slice(&y);
        Ok(Developer { certificate, point })
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Form("a part of it is not base64url"))
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    serde_json::from_slice(&bytes(text)?).map_err(|_| Refusal::Form("what it says is not understood"))
}
