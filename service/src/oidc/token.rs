//! ID tokens (OpenID Connect Core, 2 and 3.1.3.7), checked with the provider's keys. Pure: no clock, no network.
//!
//! The algorithm follows from the key and never from the token: a key of RSA checks RS256, one of P-256 checks ES256, and
//! nothing else is taken. So `none` is no algorithm, and a public key is never taken for a secret of HMAC.
//!
//! The crate `jsonwebtoken` has its own cryptography beside ring's, and `openidconnect` an HTTP client and RSA besides; what is
//! needed of either is this file.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use service_api::Bytes;
use std::fmt;

/// The longest token.
const TOKEN_MAX: usize = 16 << 10;
/// How far apart the clocks may be, seconds.
const SKEW_S: i64 = 60;
/// How old a token may be: it was asked for just now.
const AGE_S: i64 = 600;

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is no signed token, or says something twice or in a way that is not understood.
    Form,
    /// Its algorithm is none that is taken, or not of its key.
    Algorithm,
    /// The provider has no key of this name.
    Key,
    /// The signature is not by the provider's key.
    Signature,
    /// Another issuer.
    Issuer,
    /// For somebody else.
    Audience,
    /// It has ended, or is from the future, or was made long ago.
    Time,
    /// Asked for by somebody else.
    Nonce,
    /// It does not say who, or that nobody has checked it.
    Person,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "the ID token cannot be read",
            Self::Algorithm => "the ID token is not signed by RS256 or ES256 with a key of that kind",
            Self::Key => "the ID token's key is none of the provider's",
            Self::Signature => "the ID token's signature is not the provider's",
            Self::Issuer => "the ID token is another issuer's",
            Self::Audience => "the ID token is for somebody else",
            Self::Time => "the ID token ended, or is not of now",
            Self::Nonce => "the ID token was asked for by somebody else",
            Self::Person => "the ID token does not say who it is about, or that this was checked",
        })
    }
}

impl std::error::Error for TokenError {}

/// A key of the provider's set (RFC 7517). Members that are not needed are passed over, as the RFC says.
#[derive(Clone, Debug, Deserialize)]
pub struct Jwk {
    kid: Option<String>,
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Whose token.
    pub issuer: &'a str,
    /// For whom.
    pub client: &'a str,
    /// What was asked with. A provider may leave it out of this flow, and may not say another.
    pub nonce: &'a str,
    /// Which claim says who.
    pub claim: &'a str,
    /// Seconds since 1970.
    pub now: i64,
}

/// Who the token is about, by the claim.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(token: &str, keys: &[Jwk], expected: Expected<'_>) -> Result<String, TokenError> {
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Form);
    };
    if token.len() > TOKEN_MAX {
        return Err(TokenError::Form);
    }
    let head_claims = object(head)?;
    if head_claims.contains_key("crit") {
        return Err(TokenError::Form);
    }
    let key = chosen(keys, head_claims.get("kid"))?;
    let signed = &token[..head.len() + 1 + body.len()];
    key.check(head_claims.get("alg"), signed.as_bytes(), &bytes(signature)?)?;
    expected.person(&object(body)?)
}

fn bytes(text: &str) -> Result<Vec<u8>, TokenError> {
    Ok(Bytes::<TOKEN_MAX>::decode(text).ok_or(TokenError::Form)?.into_vec())
}

fn object(text: &str) -> Result<Map<String, Value>, TokenError> {
    serde_json::from_slice(&bytes(text)?).map_err(|_| TokenError::Form)
}

fn chosen<'a>(keys: &'a [Jwk], id: Option<&Value>) -> Result<&'a Jwk, TokenError> {
    let mut fit = keys.iter().filter(|key| key.usage.as_deref().is_none_or(|usage| usage == "sig"));
    match id {
        Some(id) => {
            fit.find(|key| key.kid.is_some() && key.kid.as_deref() == id.as_str()).ok_or(TokenError::Key)
        }
        // Without a name there must be no choice.
        None => fit.next().filter(|_| fit.next().is_none()).ok_or(TokenError::Key),
    }
}

impl Jwk {
    fn check(&self, algorithm: Option<&Value>, signed: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        let member = |text: &Option<String>| bytes(text.as_deref().ok_or(TokenError::Key)?);
        let checked = match (self.kty.as_str(), algorithm.and_then(Value::as_str)) {
            ("RSA", Some("RS256")) => {
                let key = RsaPublicKeyComponents { n: member(&self.n)?, e: member(&self.e)? };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            ("EC", Some("ES256")) if self.crv.as_deref() == Some("P-256") => {
                let point = [&[4][..], &member(&self.x)?, &member(&self.y)?].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            _ => return Err(TokenError::Algorithm),
        };
        checked.map_err(|_| TokenError::Signature)
    }
}

impl Expected<'_> {
    fn person(&self, claims: &Map<String, Value>) -> Result<String, TokenError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let time = |name: &str| claims.get(name).and_then(Value::as_i64).ok_or(TokenError::Time);
        if text("iss") != Some(self.issuer) {
            return Err(TokenError::Issuer);
        }
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => one == self.client,
            Some(Value::Array(all)) => {
                all.iter().any(|one| one.as_str() == Some(self.client))
                    && (all.len() == 1 || text("azp") == Some(self.client))
            }
            _ => false,
        };
        if !audience || text("azp").is_some_and(|party| party != self.client) {
            return Err(TokenError::Audience);
        }
        let (ends, made) = (time("exp")?, time("iat")?);
        if ends <= self.now || made > self.now + SKEW_S || made < self.now - AGE_S {
            return Err(TokenError::Time);
        }
        if claims.contains_key("nonce") && text("nonce") != Some(self.nonce) {
            return Err(TokenError::Nonce);
        }
        // An address that its owner only says to have is anybody's.
        if self.claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return Err(TokenError::Person);
        }
        text(self.claim).map(str::to_owned).ok_or(TokenError::Person)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    const EXPECTED: Expected<'static> =
        Expected { issuer: "https://idp", client: "gabion", nonce: "n", claim: "sub", now: 1_000 };
    const CLAIMS: &str =
        r#"{"iss":"https://idp","aud":["gabion"],"sub":"ada","iat":990,"exp":1300,"nonce":"n"}"#;

    fn base64(bytes: &[u8]) -> String {
        Bytes::<TOKEN_MAX>::new(bytes).unwrap_or_default().encode()
    }

    /// A key, and what it signs.
    fn signed(head: &str, claims: &str) -> Option<(Jwk, String)> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).ok()?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).ok()?;
        let (x, y) = key.public_key().as_ref().get(1..)?.split_at(32);
        let jwk =
            serde_json::json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": base64(x), "y": base64(y)});
        let text = format!("{}.{}", base64(head.as_bytes()), base64(claims.as_bytes()));
        let signature = key.sign(&random, text.as_bytes()).ok()?;
        Some((serde_json::from_value(jwk).ok()?, format!("{text}.{}", base64(signature.as_ref()))))
    }

    #[test]
    fn token_with_any_character_changed_or_cut_off_is_refused() {
        let (key, token) =
            signed(r#"{"alg":"ES256","kid":"k"}"#, CLAIMS).unwrap_or_else(|| panic!("no token"));
        let keys = [key];
        assert_eq!(verify(&token, &keys, EXPECTED), Ok("ada".to_owned()));
        for place in 0..token.len() {
            assert!(verify(&token[..place], &keys, EXPECTED).is_err(), "cut at {place}");
            for other in ["A", "B", "-", ".", "=", "é"] {
                let mut altered = token.clone();
                altered.replace_range(place..=place, other);
                assert!(altered == token || verify(&altered, &keys, EXPECTED).is_err(), "{other} at {place}");
            }
        }
    }

    #[test]
    fn token_without_the_name_of_its_key_needs_a_provider_with_one() {
        let token = |head| signed(head, CLAIMS).unwrap_or_else(|| panic!("no token"));
        let ((key, text), (another, _)) = (token(r#"{"alg":"ES256"}"#), token("{}"));
        assert!(verify(&text, std::slice::from_ref(&key), EXPECTED).is_ok());
        assert_eq!(verify(&text, &[key, another], EXPECTED), Err(TokenError::Key));
        assert_eq!(verify(&text, &[], EXPECTED), Err(TokenError::Key));
        let (key, text) = token(r#"{"alg":"ES256","kid":"k","crit":["b64"],"b64":false}"#);
        assert_eq!(verify(&text, &[key], EXPECTED), Err(TokenError::Form));
    }
}
