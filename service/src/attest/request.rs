//! A request for a certificate: the key is this TPM's, and whoever asks has it.

use super::csr;
use crate::verifier::TpmKey;
use evidence::tpm::{Hierarchy, KeyKind, Public, check_certification};
use service_api::device::CertificateRequest;

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
    let point = csr::point(asked.csr.as_slice()).map_err(|error| refused(&error))?;
    if point != Some([&[4][..], x, y].concat()) {
        return Err(refused(&"it is signed by another key than the TPM vouches for"));
    }
    Ok(TpmKey { subject: asked.subject.clone(), public_key: key.subject_public_key_info() })
}
