//! A round with the service: who we are, what we booted and launched, and certificates for a day.
//!
//! ```text
//! enrol (once): EK, AK ──▶ ◀── a secret that only the TPM with both opens ──▶ device id
//! nonce ──▶ quote over it, logs, requests ──▶ verdict, certificates
//! ```
//!
//! The service may be anybody who has its key: what it sends is bounded, and it gets nothing but public things of the TPM's.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use service_api::device::{
    Activation, CertificateSubject, Challenge, Enrolled, Evidence, Granted, NewEnrolment, Nonce,
    NonceRequest, Pcr,
};
use service_api::{DeviceId, Few};
use tokio_rustls::rustls::ClientConfig;

use crate::identity::{Identity, QUOTED};
use crate::request::{RequestError, bytes, request};
use contact::config::Service;
use contact::http::{CallError, Connection, Refusal};

/// Why a round failed.
#[derive(Debug)]
pub enum RoundError {
    /// The service, or the way to it.
    Call(CallError),
    /// The TPM.
    Tpm(tpm::Error),
    /// Something can not be sent.
    Form,
}

impl fmt::Display for RoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(e) => write!(f, "{e}"),
            Self::Tpm(e) => write!(f, "{e}"),
            Self::Form => f.write_str("what this device has to say is longer than the service takes"),
        }
    }
}

impl std::error::Error for RoundError {}

impl RoundError {
    /// The service's no, if that is what it was.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Call(CallError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

impl From<CallError> for RoundError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<tpm::Error> for RoundError {
    fn from(error: tpm::Error) -> Self {
        Self::Tpm(error)
    }
}

impl From<RequestError> for RoundError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Tpm(e) => Self::Tpm(e),
            RequestError::Form => Self::Form,
        }
    }
}

/// What a round needs.
pub struct Round<'a> {
    /// The TPM.
    pub identity: &'a Identity,
    /// Who is asked.
    pub service: &'a Service,
    /// Who resolves its name.
    pub name_server: Ipv4Addr,
    /// Whom to trust.
    pub tls: Arc<ClientConfig>,
    /// The firmware's event log.
    pub boot_log: &'a [u8],
    /// The package log.
    pub package_log: Vec<u8>,
    /// Apps with a certificate: id and uid.
    pub apps: Vec<(String, u32)>,
}

impl Round<'_> {
    /// Shows what we booted and launched, as the device that we are.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn attest(&self, device: &DeviceId) -> Result<Granted, RoundError> {
        let mut connection = self.connect().await?;
        let nonce: Nonce =
            connection.post("/device/v1/nonces", &NonceRequest { device: device.clone() }).await?;
        let evidence = self.evidence(device.clone(), nonce)?;
        Ok(connection.post("/device/v1/attestations", &evidence).await?)
    }

    /// Says which TPM this is, and hears which device it is to the service.
    ///
    /// # Errors
    /// See [`RoundError`].
    pub async fn enrol(&self) -> Result<Enrolled, RoundError> {
        let mut connection = self.connect().await?;
        let (ek, ak) = self.identity.with(|tpm| Ok((tpm.ek()?, tpm.ak()?)))?;
        let certificate = ek.certificate.map(|der| bytes(trimmed(der))).transpose()?;
        let new = NewEnrolment {
            ek_certificate: certificate,
            ek_public: bytes(ek.public.bytes())?,
            ak_public: bytes(ak.public.bytes())?,
        };
        let challenge: Challenge = connection.post("/device/v1/enrolments", &new).await?;
        let blob = inside(challenge.credential_blob.as_slice()).ok_or(RoundError::Form)?;
        let secret = inside(challenge.encrypted_secret.as_slice()).ok_or(RoundError::Form)?;
        let opened = self.identity.with(|tpm| tpm.activate(blob, secret))?;
        let path = format!("/device/v1/enrolments/{}", challenge.enrolment.as_str());
        Ok(connection.post(&path, &Activation { secret: bytes(opened.as_slice())? }).await?)
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        Connection::open(self.service, self.name_server, self.tls.clone()).await
    }

    fn evidence(&self, device: DeviceId, nonce: Nonce) -> Result<Evidence, RoundError> {
        let asked = nonce.nonce.as_slice();
        let mut subjects = vec![(CertificateSubject::Device, 0)];
        for (id, uid) in &self.apps {
            subjects.push((id.clone().try_into().map_err(|_| RoundError::Form)?, *uid));
        }
        let mut requests = Vec::new();
        for (subject, uid) in subjects {
            let id = Identity::key_id(subject.as_str(), uid);
            requests.push(request(self.identity, subject, id, asked)?);
        }
        // The values after the quote: what is extended between the two is found out by the service, and we come again.
        let (quoted, values) =
            self.identity.with(|tpm| Ok((tpm.quote(asked, &QUOTED)?, tpm.read_pcrs(&QUOTED)?)))?;
        let mut pcrs = BTreeMap::new();
        for (number, value) in values {
            pcrs.insert(Pcr::new(number).ok_or(RoundError::Form)?, bytes(value)?);
        }
        Ok(Evidence {
            device,
            nonce: nonce.nonce,
            quote: bytes(quoted.attest)?,
            signature: bytes(quoted.signature)?,
            pcrs,
            boot_log: bytes(self.boot_log)?,
            package_log: bytes(self.package_log.as_slice())?,
            requests: Few::new(requests).ok_or(RoundError::Form)?,
        })
    }
}

/// What is in a `TPM2B_…`: all behind its size, which has to be right.
fn inside(sized: &[u8]) -> Option<&[u8]> {
    let (size, bytes) = sized.split_first_chunk()?;
    (usize::from(u16::from_be_bytes(*size)) == bytes.len()).then_some(bytes)
}

/// A certificate without what manufacturers put behind it to fill the TPM's place.
fn trimmed(mut der: Vec<u8>) -> Vec<u8> {
    // A sequence whose length is in two bytes, as of every certificate.
    if let [0x30, 0x82, high, low, ..] = der[..] {
        der.truncate(4 + usize::from(high) * 256 + usize::from(low));
    }
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sized_bytes_are_those_behind_the_right_size() {
        assert_eq!(inside(&[0, 2, 7, 8]), Some(&[7, 8][..]));
        assert_eq!((inside(&[0, 3, 7, 8]), inside(&[0]), inside(&[0, 0])), (None, None, Some(&[][..])));
    }

    #[test]
    fn certificate_is_cut_where_it_ends() {
        let der = [&[0x30, 0x82, 0x01, 0x00][..], &[7; 256], &[0xff; 100]].concat();
        assert_eq!(trimmed(der.clone()).len(), 260);
        assert_eq!(trimmed(der[..100].to_vec()).len(), 100);
        assert_eq!(trimmed(vec![1, 2, 3]), [1, 2, 3]);
    }
}
