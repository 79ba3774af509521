//! Whose TPMs are believed to be TPMs.

use evidence::ek;
use evidence::tpm::Public;
use std::fmt;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Most certificates of makers.
const CERTIFICATES_MAX: usize = 1024;

/// Who vouches for endorsement keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Makers {
    /// These certificates of makers, DER, each as good as a root: whoever names an issuing one trusts what it has issued.
    Trusted(Vec<Vec<u8>>),
    /// Nobody: a device is whatever has enrolled first with its key. For boards whose TPM has no certificate; a program can
    /// then enrol as a device, and what it says of its boot is worth nothing.
    Anybody,
}

/// Why a file has no makers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakersError {
    /// It is no PEM of certificates.
    Pem,
    /// It has none, or too many.
    Count,
}

impl fmt::Display for MakersError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem => out.write_str("certificates of TPM makers are no PEM"),
            Self::Count => {
                write!(out, "there are no certificates of TPM makers, or more than {CERTIFICATES_MAX}")
            }
        }
    }
}

impl std::error::Error for MakersError {}

impl Makers {
    /// Those of a PEM file.
    ///
    /// # Errors
    /// It is none, or empty: that nobody is trusted would be said by the first device that is refused.
    pub fn read(pem: &[u8]) -> Result<Self, MakersError> {
        let all = CertificateDer::pem_slice_iter(pem).map(|read| read.map(|der| der.to_vec()));
        let all: Vec<Vec<u8>> = all.collect::<Result<_, _>>().map_err(|_| MakersError::Pem)?;
        if all.is_empty() || all.len() > CERTIFICATES_MAX {
            return Err(MakersError::Count);
        }
        Ok(Self::Trusted(all))
    }

    /// One of them vouches for the key.
    pub(super) fn check(&self, certificate: Option<&[u8]>, key: &Public, now: i64) -> Result<(), String> {
        let Self::Trusted(makers) = self else { return Ok(()) };
        let certificate = certificate.ok_or("the TPM has no certificate of its maker")?;
        let now = u64::try_from(now).unwrap_or(0);
        ek::check_certificate(certificate, key, &[], makers, now).map_err(|error| error.to_string())
    }
}
