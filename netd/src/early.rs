//! Certificates while the clock may be early.
//!
//! A certificate is checked at a time, which a device that was never told the time does not have: its clock may be years
//! late, and a certificate that is newer would never be taken. What is needed to learn the time, and nothing else, may then
//! be checked at the first moment of the certificate's own validity (decision 16).

use std::fmt;
use std::io;

use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{self, CertificateError};

/// When a certificate is valid for the first time that is not yet, if it was refused for that.
pub(crate) fn not_before(error: &io::Error) -> Option<UnixTime> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            Some(*not_before)
        }
        _ => None,
    }
}

/// A clock that stands still.
pub(crate) struct At(pub(crate) UnixTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "At({})", self.0.as_secs())
    }
}
