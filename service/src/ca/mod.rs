//! The service's own certificate authority: a root, and below it one issuing authority for each catalog, so that a
//! broker which trusts one tenant's authority (`anchor`) never takes another tenant's device.
//!
//! Root and issuing keys are ECDSA P-256: sealed on the disk and opened only in memory, or in a token, which they never leave
//! (`token`). The key that signs verdicts is always of the first kind: it signs each round, and certifies nothing. An issuing authority may issue
//! leaves (`pathlen:0`), which last a day and name a device, or an app on a device, by a URI. What is certified is a
//! public key and names that the service knows; nothing a device wrote gets into a certificate but its app's id, which
//! the attestation covers.

mod anchor;
mod file;
mod key;
mod leaf;
mod permit;
mod token;
mod token_uri;

pub use file::{AuthorityFile, FileError};
pub use leaf::{Leaf, LeafRequest};
pub use permit::PermitError;
pub use token::TokenError;
pub use token_uri::{TokenUri, UriError};

use crate::secrets::{self, Sealer, SecretError};
use key::{Key, Keys};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, RevokedCertParams, SerialNumber,
};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use service_api::Name;
use std::fmt;
use time::OffsetDateTime;

/// How long the root lasts.
const ROOT_S: i64 = 20 * 365 * 86_400;
/// How long an issuing authority lasts.
const ISSUER_S: i64 = 10 * 365 * 86_400;
/// How long a revocation list may be used. Certificates last a day, so a list is hardly ever old.
const LIST_S: i64 = 3_600;
/// A clock that is a little behind ours must not find a certificate to be from the future.
const SKEW_S: i64 = 300;

/// Why no certificate was made.
#[derive(Debug)]
pub enum CaError {
    /// The certificate could not be put together or signed.
    Certificate(rcgen::Error),
    /// A key could not be used.
    Key,
    /// Chance, or a key that does not open.
    Secret(SecretError),
    /// The token with the keys.
    Token(TokenError),
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate(_) => "the certificate could not be made",
            Self::Key => "the key could not be used",
            Self::Secret(_) => "the key could not be opened",
            Self::Token(_) => "the token with the keys did not do it",
        })
    }
}

impl std::error::Error for CaError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Certificate(error) => Some(error),
            Self::Secret(error) => Some(error),
            Self::Token(error) => Some(error),
            Self::Key => None,
        }
    }
}

impl From<rcgen::Error> for CaError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error)
    }
}

impl From<SecretError> for CaError {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}

impl From<TokenError> for CaError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<CaError> for crate::refusal::Refusal {
    fn from(error: CaError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "the authority failed");
        Self::unavailable("the authority could not do this now")
    }
}

/// A catalog's issuing authority as it is kept.
#[derive(Clone, Debug)]
pub struct NewIssuer {
    /// DER.
    pub certificate: Vec<u8>,
    /// The key, or its id in the token, sealed.
    pub sealed_key: Vec<u8>,
}

/// A catalog's issuing authority, opened.
pub struct CatalogIssuer {
    certificate: Vec<u8>,
    issuer: Issuer<'static, Key>,
}

impl fmt::Debug for CatalogIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CatalogIssuer")
    }
}

/// The authority, opened.
pub struct Authority {
    root_certificate: Vec<u8>,
    root: Issuer<'static, Key>,
    keys: Keys,
    verdicts: VerdictSigner,
    verdicts_certificate: Vec<u8>,
    sealer: Sealer,
    master: [u8; 32],
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// The root, DER.
    pub fn root(&self) -> &[u8] {
        &self.root_certificate
    }

    /// A secret for `purpose` that all processes with this authority share.
    pub fn shared_secret(&self, purpose: &str) -> Vec<u8> {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.master);
        ring::hmac::sign(&key, purpose.as_bytes()).as_ref().to_vec()
    }

    /// Seals a secret for the database; it opens for the same purpose only.
    ///
    /// # Errors
    /// No chance.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, CaError> {
        Ok(self.sealer.seal(purpose, secret)?)
    }

    /// Opens what [`Authority::seal`] made.
    ///
    /// # Errors
    /// It was sealed by another service or for another purpose, or it was altered.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, CaError> {
        Ok(self.sealer.open(purpose, sealed)?)
    }

    /// Makes a catalog's issuing authority.
    ///
    /// # Errors
    /// No chance, or no signature.
    pub fn new_issuer(&self, catalog: &Name, now: i64) -> Result<NewIssuer, CaError> {
        let (key, kept) = self.keys.make(&format!("gabion issuer {catalog}"))?;
        let mut params = authority_params(&issuer_name(catalog), now, ISSUER_S, Some(0))?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.root)?;
        let sealed_key = self.sealer.seal(&purpose(catalog), &kept)?;
        Ok(NewIssuer { certificate: certificate.der().to_vec(), sealed_key })
    }

    /// Opens a catalog's issuing authority.
    ///
    /// # Errors
    /// It was sealed by another service.
    pub fn issuer(&self, catalog: &Name, kept: &NewIssuer) -> Result<CatalogIssuer, CaError> {
        let key = self.sealer.open(&purpose(catalog), &kept.sealed_key)?;
        Ok(CatalogIssuer {
            certificate: kept.certificate.clone(),
            issuer: issuer_of(&kept.certificate, self.keys.open(&key)?)?,
        })
    }

    /// A certificate of the service's own for TLS, with its key (both DER), for these names and addresses.
    ///
    /// # Errors
    /// A name that is none, no chance.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: i64,
        lifetime_s: i64,
    ) -> Result<(Vec<u8>, Vec<u8>), CaError> {
        let key = new_key()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        dated(&mut params, now, lifetime_s)?;
        params.distinguished_name.remove(DnType::CommonName);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.root)?;
        Ok((certificate.der().to_vec(), key.serialize_der()))
    }

    /// What signs verdicts.
    pub fn verdict_signer(&self) -> &VerdictSigner {
        &self.verdicts
    }

    /// The certificate of the key that signs verdicts, by the root, DER.
    pub fn verdicts_certificate(&self) -> &[u8] {
        &self.verdicts_certificate
    }
}

/// The key that signs verdicts.
pub struct VerdictSigner {
    /// ECDSA P-256 with SHA-256, signatures of 64 bytes as JWS has them.
    pub key: EcdsaKeyPair,
    /// Its name in a token's header (`kid`): SHA-256 of its certificate.
    pub key_id: String,
}

impl fmt::Debug for VerdictSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerdictSigner")
    }
}

impl CatalogIssuer {
    /// DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The list of what was revoked, DER: serial numbers, with when.
    ///
    /// # Errors
    /// No signature.
    pub fn revocation_list(&self, revoked: &[(Vec<u8>, i64)], now: i64) -> Result<Vec<u8>, CaError> {
        let entry = |(serial, at): &(Vec<u8>, i64)| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: date(*at)?,
                reason_code: None,
                invalidity_date: None,
            })
        };
        let list = CertificateRevocationListParams {
            this_update: date(now)?,
            next_update: date(now + LIST_S)?,
            // Ascending with time, and the same for what was asked for in the same second.
            crl_number: SerialNumber::from_slice(&now.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, CaError>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.der().to_vec())
    }
}

/// The common name of a catalog's authority.
fn issuer_name(catalog: &Name) -> String {
    format!("Gabion devices of {catalog}")
}

fn purpose(catalog: &Name) -> String {
    format!("issuer {catalog}")
}

fn new_key() -> Result<KeyPair, CaError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn issuer_of(certificate: &[u8], key: Key) -> Result<Issuer<'static, Key>, CaError> {
    // What another key signs would be found out by whoever checks it, and then too late.
    if !certificate.windows(key.der_bytes().len()).any(|part| part == key.der_bytes()) {
        return Err(CaError::Key);
    }
    Ok(Issuer::from_ca_cert_der(&certificate.to_vec().into(), key)?)
}

fn authority_params(
    name: &str,
    now: i64,
    lifetime_s: i64,
    below: Option<u8>,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    dated(&mut params, now, lifetime_s)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(below.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn dated(params: &mut CertificateParams, now: i64, lifetime_s: i64) -> Result<(), CaError> {
    params.not_before = date(now - SKEW_S)?;
    params.not_after = date(now + lifetime_s)?;
    params.serial_number = Some(serial()?);
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(())
}

/// 127 random bits: positive and never empty (RFC 5280, 4.1.2.2).
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes: [u8; 16] = secrets::random()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(seconds: i64) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| CaError::Certificate(rcgen::Error::Time))
}

/// Base64 with padding (RFC 4648 §4).
fn standard_base64(bytes: &[u8]) -> String {
    let text = service_api::Bytes::<{ usize::MAX / 2 }>::new(bytes).unwrap_or_default().encode();
    let text = text.replace('-', "+").replace('_', "/");
    let padding = (4 - text.len() % 4) % 4;
    text + &"=".repeat(padding)
}

/// PEM of a certificate.
pub fn pem(der: &[u8]) -> String {
    let text = standard_base64(der);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line));
    let body = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

fn signing_key(der: &[u8]) -> Result<EcdsaKeyPair, CaError> {
    let random = ring::rand::SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).map_err(|_| CaError::Key)
}
