//! The endorsement key's certificate: its maker says that a genuine TPM has the key.
//!
//! The TCG EK Credential Profile for TPM Family 2.0. Its peculiarities: the subject is empty, and a critical alternative name
//! has the TPM's model as a directory name; the extended key usage is `tcg-kp-EKCertificate`, where there is one; the
//! certificate outlives the device. Makers' revocation lists are not looked at: few are kept, and a device is revoked here.

use crate::tpm::Public;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use std::fmt;
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring as algorithms};

/// `tcg-kp-EKCertificate`, 2.23.133.8.1, as DER has it.
const EK_PURPOSE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// What makers sign with.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// What is wrong with a certificate.
#[derive(Debug)]
#[non_exhaustive]
pub enum EkError {
    /// A given root is no certificate.
    Root,
    /// It is no certificate, or is of another key.
    Certificate,
    /// The certificate is of another key than the endorsement key.
    Key,
    /// It does not lead to a given root, or was not valid then.
    Chain(webpki::Error),
}

impl fmt::Display for EkError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Root => "a root that is trusted for TPMs is no certificate",
            Self::Certificate => "the endorsement key's certificate is malformed",
            Self::Key => "the endorsement key's certificate is of another key",
            Self::Chain(_) => {
                "the endorsement key's certificate does not lead to a root that is trusted for TPMs"
            }
        })
    }
}

impl std::error::Error for EkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Chain(error) => Some(error),
            Self::Root | Self::Certificate | Self::Key => None,
        }
    }
}

/// `certificate` is of `ek`, and leads to one of `roots` over `intermediates`, all DER, at a time in seconds since 1970.
pub fn check_certificate(
    certificate: &[u8],
    ek: &Public,
    intermediates: &[Vec<u8>],
    roots: &[Vec<u8>],
    at: u64,
) -> Result<(), EkError> {
    let roots: Vec<CertificateDer<'_>> =
        roots.iter().map(|root| CertificateDer::from(root.as_slice())).collect();
    let anchors: Vec<_> =
        roots.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>().map_err(|_| EkError::Root)?;
    let intermediates: Vec<CertificateDer<'_>> =
        intermediates.iter().map(|between| CertificateDer::from(between.as_slice())).collect();
    let certificate = CertificateDer::from(certificate);
    let end = EndEntityCert::try_from(&certificate).map_err(|_| EkError::Certificate)?;
    if end.subject_public_key_info().as_ref() != ek.subject_public_key_info() {
        return Err(EkError::Key);
    }
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
    // 3.5.7: a certificate that says what it is for says that.
    let usage = KeyUsage::required_if_present(EK_PURPOSE);
    end.verify_for_usage(ALGORITHMS, &anchors, &intermediates, at, usage, None, None)
        .map_err(EkError::Chain)?;
    Ok(())
}
