//! PKCS#10, of which the key alone counts: what it asks to be called is not read.

use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};

/// The point on P-256 that a request is about, whose key has signed it; none: a key of another kind.
///
/// # Errors
/// It is no request, or its signature does not hold.
pub(super) fn point(der: &[u8]) -> Result<Option<Vec<u8>>, rcgen::Error> {
    // Reading it checks its signature by the key in it.
    let request = CertificateSigningRequestParams::from_der(&der.into())?;
    let p256 = *request.public_key.algorithm() == PKCS_ECDSA_P256_SHA256;
    Ok(p256.then(|| request.public_key.der_bytes().to_vec()))
}
