//! A request for a certificate: PKCS#10 that the TPM signs, and the TPM's word that the key is its own.

use std::fmt;

use rcgen::{
    CertificateParams, DnType, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use ring::digest::{SHA256, digest};
use service_api::Bytes;
use service_api::device::{CertificateRequest, CertificateSubject};
use tpm::KeyId;

use crate::identity::Identity;

/// Why there is none.
#[derive(Debug)]
pub enum RequestError {
    /// The TPM does not do it.
    Tpm(tpm::Error),
    /// It can't be encoded.
    Form,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tpm(e) => write!(f, "{e}"),
            Self::Form => f.write_str("a request for a certificate can not be encoded"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<tpm::Error> for RequestError {
    fn from(error: tpm::Error) -> Self {
        Self::Tpm(error)
    }
}

/// A key of the TPM's, as `rcgen` wants one.
struct Key<'a> {
    identity: &'a Identity,
    id: KeyId,
    /// Uncompressed, as in SEC 1.
    point: Vec<u8>,
}

impl PublicKeyData for Key<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let digest = digest(&SHA256, message);
        let digest = digest.as_ref().try_into().map_err(|_| rcgen::Error::RemoteKeyError)?;
        self.identity.with(|tpm| tpm.sign(self.id, digest)).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// Makes one for `subject`, whose key is `id`; `nonce` is the round's.
///
/// # Errors
/// See [`RequestError`].
pub fn request(
    identity: &Identity,
    subject: CertificateSubject,
    id: KeyId,
    nonce: &[u8],
) -> Result<CertificateRequest, RequestError> {
    let key = identity.key(id)?;
    let (x, y) = key.public.point().ok_or(RequestError::Form)?;
    let point = [&[4], &x[..], &y[..]].concat();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject.as_str());
    let csr = params.serialize_request(&Key { identity, id, point }).map_err(|_| RequestError::Form)?;
    let certified = identity.with(|tpm| tpm.certify(id, nonce))?;
    Ok(CertificateRequest {
        subject,
        csr: bytes(csr.der().to_vec())?,
        key_public: bytes(key.public.bytes())?,
        certify: bytes(certified.attest)?,
        certify_signature: bytes(certified.signature)?,
    })
}

/// Bytes as they travel.
pub(crate) fn bytes<const MAX: usize>(bytes: impl Into<Vec<u8>>) -> Result<Bytes<MAX>, RequestError> {
    Bytes::new(bytes).ok_or(RequestError::Form)
}
