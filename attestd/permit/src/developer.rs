//! A developer: a certificate that nobody vouches for, and its key on P-256.
//!
//! The certificate says nothing that anybody believes. It is there because TLS and signed packages are made with one; what names
//! the developer is its SHA-256, and what proves him is its key.

use ring::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::Refusal;

/// Longest certificate that is taken, bytes.
pub const CERTIFICATE_MAX: usize = 2048;
/// `SubjectPublicKeyInfo` of a key on P-256 (RFC 5480) up to the point, without the outer sequence's head.
const P256: [u8; 24] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Developer {
    /// SHA-256 of the certificate.
    pub certificate: [u8; 32],
    /// The key: an uncompressed point.
    pub point: [u8; 65],
}

impl Developer {
    /// Whose certificate (DER) this is.
    ///
    /// # Errors
    /// It is none, or its key is of another kind.
    pub fn of(certificate: &[u8]) -> Result<Self, Refusal> {
        if certificate.len() > CERTIFICATE_MAX {
            return Err(Refusal::Form("the developer's certificate is too long"));
        }
        let point = point_of(certificate).ok_or(Refusal::Form("the developer's key is not on P-256"))?;
        Ok(Self { certificate: sha256(certificate), point })
    }

    /// Whether this certificate (DER) is his, byte for byte.
    pub fn is(&self, certificate: &[u8]) -> bool {
        sha256(certificate) == self.certificate
    }

    /// The certificate's SHA-256 as 64 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.certificate.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The key of a certificate, if it is on P-256.
pub fn point_of(certificate: &[u8]) -> Option<[u8; 65]> {
    let der = CertificateDer::from(certificate);
    let info = EndEntityCert::try_from(&der).ok()?.subject_public_key_info();
    let inside = info.strip_prefix(&[0x30, 0x59])?.strip_prefix(&P256)?;
    inside.try_into().ok().filter(|point: &[u8; 65]| point[0] == 0x04)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut all = [0; 32];
    all.copy_from_slice(digest(&SHA256, bytes).as_ref());
    all
}
