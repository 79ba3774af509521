//! Sign-in by an OpenID provider, in the device flow (RFC 8628): the person signs in to the provider in any browser, with a code
//! that they were shown; the service asks the provider until it says who that was.
//!
//! What is between the two requests is kept by whoever asks, sealed: nothing of a flow that nobody finishes stays here. Who a
//! token names is who was invited under that name: the provider says who somebody is, and never what they may do.

pub mod token;

use crate::outgoing::{Outgoing, OutgoingError};
use axum::body::Bytes;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::time::Instant;
use token::{Expected, Jwk, TokenError};
use tokio::sync::Mutex;

/// The longest answer of the provider.
const ANSWER_MAX: usize = 256 << 10;
/// Most keys of a provider.
const KEYS_MAX: usize = 64;
/// What [`Config::again_s`] is unless told.
pub const AGAIN_S: u64 = 30;

/// Which provider, and what the service is to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its address, as its tokens have it.
    pub issuer: String,
    /// What it calls the service.
    pub client: String,
    /// The claim that names people: one that the provider assigns and its users cannot choose.
    pub claim: String,
    /// How long before the provider is asked for its keys again, when a token names one that is not known.
    pub again_s: u64,
}

/// Why nobody was signed in.
#[derive(Debug)]
pub enum OidcError {
    /// The provider could not be asked.
    Outgoing(OutgoingError),
    /// What it answered is not what a provider answers.
    Answer(&'static str),
    /// It said no, in its word.
    Refused(String),
    /// Its token does not count.
    Token(TokenError),
}

impl fmt::Display for OidcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outgoing(_) => f.write_str("asking the provider of sign-in"),
            Self::Answer(what) => write!(f, "the provider of sign-in answered without {what}"),
            Self::Refused(word) => write!(f, "the provider of sign-in says {word}"),
            Self::Token(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OidcError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Outgoing(error) => Some(error),
            _ => None,
        }
    }
}

/// What the provider says of itself (OpenID Connect Discovery, 3).
#[derive(Clone, Debug, Deserialize)]
struct Metadata {
    issuer: String,
    device_authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

#[derive(Debug, Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// A flow that began (RFC 8628, 3.2).
#[derive(Clone, Debug, Deserialize)]
pub struct Begun {
    /// The provider's name for the flow; a secret.
    pub device_code: String,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// For how long.
    pub expires_in: u32,
    /// How often the provider may be asked.
    #[serde(default = "five")]
    pub interval: u32,
}

fn five() -> u32 {
    5
}

#[derive(Debug, Deserialize)]
struct Tokens {
    id_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Said {
    error: String,
}

/// Where a flow is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The person has not finished.
    Pending,
    /// Neither, and it was asked too often.
    SlowDown,
    /// Who it is, by the claim.
    Person(String),
}

/// A provider.
pub struct Provider {
    config: Config,
    outgoing: Outgoing,
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    metadata: Metadata,
    keys: Vec<Jwk>,
    since: Instant,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.config.issuer)
    }
}

impl Provider {
    /// The one of a configuration. It is asked nothing yet: the service starts although the provider is away.
    pub fn new(config: Config, outgoing: Outgoing) -> Self {
        Self { config, outgoing, known: Mutex::new(None) }
    }

    /// Begins a flow.
    ///
    /// # Errors
    /// The provider.
    pub async fn begin(&self, nonce: &str) -> Result<Begun, OidcError> {
        let metadata = self.known().await?.metadata;
        let fields =
            [("client_id", self.config.client.as_str()), ("scope", "openid email profile"), ("nonce", nonce)];
        let (status, body) = self.post(&metadata.device_authorization_endpoint, &fields).await?;
        if status == StatusCode::OK { read(&body, "a device code") } else { Err(refused(&body)) }
    }

    /// Asks how a flow is.
    ///
    /// # Errors
    /// The provider, the person refused, it took too long, or the token does not count.
    pub async fn poll(&self, device_code: &str, nonce: &str, now: i64) -> Result<Outcome, OidcError> {
        let known = self.known().await?;
        let fields = [
            ("client_id", self.config.client.as_str()),
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", device_code),
        ];
        let (status, body) = self.post(&known.metadata.token_endpoint, &fields).await?;
        if status != StatusCode::OK {
            return match serde_json::from_slice::<Said>(&body) {
                Ok(said) if said.error == "authorization_pending" => Ok(Outcome::Pending),
                Ok(said) if said.error == "slow_down" => Ok(Outcome::SlowDown),
                _ => Err(refused(&body)),
            };
        }
        let token = read::<Tokens>(&body, "tokens")?.id_token.ok_or(OidcError::Answer("an ID token"))?;
        let Config { issuer, client, claim, .. } = &self.config;
        let verify =
            |keys: &[Jwk]| token::verify(&token, keys, Expected { issuer, client, nonce, claim, now });
        let person = match verify(&known.keys) {
            // Its keys change; whoever makes tokens up makes us ask no more than so often.
            Err(TokenError::Key) => verify(&self.keys_anew(known.since).await?),
            answer => answer,
        };
        person.map(Outcome::Person).map_err(OidcError::Token)
    }

    async fn known(&self) -> Result<Known, OidcError> {
        let mut kept = self.known.lock().await;
        if let Some(known) = kept.as_ref() {
            return Ok(known.clone());
        }
        Ok(kept.insert(self.fetch().await?).clone())
    }

    async fn keys_anew(&self, seen: Instant) -> Result<Vec<Jwk>, OidcError> {
        let mut kept = self.known.lock().await;
        match kept.as_ref() {
            // Somebody else has fetched them meanwhile, or it is too early.
            Some(known) if known.since != seen || seen.elapsed().as_secs() < self.config.again_s => {
                Ok(known.keys.clone())
            }
            _ => Ok(kept.insert(self.fetch().await?).keys.clone()),
        }
    }

    async fn fetch(&self) -> Result<Known, OidcError> {
        let issuer = self.config.issuer.trim_end_matches('/');
        let place = format!("{issuer}/.well-known/openid-configuration");
        let metadata: Metadata = read(&self.get(&place).await?, "its configuration")?;
        if metadata.issuer != self.config.issuer {
            return Err(OidcError::Answer("the issuer's own name"));
        }
        let set: KeySet = read(&self.get(&metadata.jwks_uri).await?, "its keys")?;
        // A key of a kind that is not known here is passed over (RFC 7517, 5).
        let keys = set.keys.into_iter().take(KEYS_MAX).filter_map(|key| serde_json::from_value(key).ok());
        Ok(Known { metadata, keys: keys.collect(), since: Instant::now() })
    }

    async fn get(&self, place: &str) -> Result<Bytes, OidcError> {
        match self.ask("GET", place, Bytes::new()).await? {
            (StatusCode::OK, body) => Ok(body),
            (_, body) => Err(refused(&body)),
        }
    }

    async fn post(&self, place: &str, fields: &[(&str, &str)]) -> Result<(StatusCode, Bytes), OidcError> {
        let pairs = fields.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
        self.ask("POST", place, pairs.collect::<Vec<_>>().join("&").into()).await
    }

    async fn ask(&self, method: &str, place: &str, body: Bytes) -> Result<(StatusCode, Bytes), OidcError> {
        // The provider's own answers say where its other places are; none of them is less safe than itself.
        if self.config.issuer.starts_with("https:") && !place.starts_with("https:") {
            return Err(OidcError::Answer("an address that begins with https"));
        }
        let request = Request::builder().method(method).uri(place).header(header::ACCEPT, "application/json");
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.header(header::CONTENT_LENGTH, body.len()).body(Full::new(body));
        let request = request.map_err(|_| OidcError::Answer("an address that is one"))?;
        let answer = self.outgoing.call(request).await.map_err(OidcError::Outgoing)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        Ok((status, body.map_err(|_| OidcError::Answer("an end"))?.to_bytes()))
    }
}

fn read<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, OidcError> {
    serde_json::from_slice(body).map_err(|_| OidcError::Answer(what))
}

/// The provider's word, if it is one.
fn refused(body: &[u8]) -> OidcError {
    let word = serde_json::from_slice::<Said>(body).map(|said| said.error).unwrap_or_default();
    let plain =
        (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    OidcError::Refused(if plain { word } else { "no".to_owned() })
}

/// `application/x-www-form-urlencoded`.
fn escaped(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.bytes().map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
