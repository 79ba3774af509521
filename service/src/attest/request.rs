//! A request for a certificate: the key is this TPM's, and whoever asks has it.

use crate::verifier::TpmKey;
use evidence::tpm::{Hierarchy, KeyKind, Public, check_certification};
use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use service_api::device::CertificateRequest;
use tokio_rustls::rustls::pki_types::CertificateSigningRequestDer;

/// Checks it against the attestation key, over the nonce of the round.
pub(super) fn check(ak: &Public, nonce: &[u8], asked: &CertificateRequest) -> Result<TpmKey, Vec<String>> {
    let subject = asked.subject.as_str();
    let refused = |why: &dyn std::fmt::Display| vec![format!("the request for {subject}: {why}")];
    let key =
        Public::read(asked.key_public.as_slice()).map_err(|error| refused(&format!("the key {error}")))?;
    key.check_application().map_err(|error| refused(&error))?;
    let (certify, signature) = (asked.certify.as_slice(), asked.certify_signature.as_slice());
    check_certification(ak, certify, signature, nonce, &key, Hierarchy::Owner)
        .map_err(|error| refused(&error))?;
    let KeyKind::P256 { x, y } = &key.key else { return Err(refused(&"only keys on P-256 are certified")) };
    // Reading it checks its signature by the key in it.
    let csr = CertificateSigningRequestDer::from(asked.csr.as_slice());
    let csr = CertificateSigningRequestParams::from_der(&csr).map_err(|error| refused(&error))?;
    let same = *csr.public_key.algorithm() == PKCS_ECDSA_P256_SHA256
        && csr.public_key.der_bytes() == [&[4][..], x, y].concat();
    if !same {
        return Err(refused(&"it is signed by another key than the TPM vouches for"));
    }
    Ok(TpmKey { subject: asked.subject.clone(), public_key: key.subject_public_key_info() })
}
