//! The app's certificate and key for `rustls`, by `os.gabion.Certificate`.
//!
//! The manifest needs `[uses] "os.gabion.Certificate" = ["GetChain", "GetAuthorities", "Sign"]`. The key never leaves the
//! TPM: a handshake costs one signature of it. Certificates last a day; the chain is asked for at each handshake, so that
//! a connection made tomorrow has tomorrow's.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::client::{CallError, Connection};
use bus::interfaces::certificate::{Client, Error as Failure, INTERFACE};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error as TlsError, RootCertStore, SignatureAlgorithm, SignatureScheme};

/// The one way in which the TPM's keys sign.
const ALGORITHM: &str = "ecdsa-p256-sha256";

/// Why there is no certificate.
#[derive(Debug)]
pub enum CertificateError {
    /// The manifest does not name the interface, or nobody serves it.
    Bus(io::Error),
    /// The call failed; `NotIssued` among others, with the reason.
    Call(CallError<Failure>),
    /// What came is not what the interface says.
    Form,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(e) if e.kind() == io::ErrorKind::NotFound => {
                f.write_str("the manifest does not name os.gabion.Certificate below [uses]")
            }
            Self::Bus(_) => f.write_str("os.gabion.Certificate can not be reached"),
            Self::Call(e) => e.fmt(f),
            Self::Form => f.write_str("os.gabion.Certificate answered in a form that is not understood"),
        }
    }
}

impl std::error::Error for CertificateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bus(e) => Some(e),
            Self::Call(e) => Some(e),
            Self::Form => None,
        }
    }
}

/// Whom the certificates of this catalog's devices come from.
#[derive(Debug, Clone)]
pub struct Authorities {
    /// The root and the catalog's own authority.
    pub roots: RootCertStore,
    /// What was revoked.
    pub revoked: Option<CertificateRevocationListDer<'static>>,
}

/// The app's identity. Cheap to clone; each clone shares one connection to the bus.
#[derive(Clone)]
pub struct Identity(Arc<Mutex<Client>>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// This app's.
    ///
    /// # Errors
    /// The interface is not granted.
    pub fn of_app() -> Result<Self, CertificateError> {
        Connection::granted(&INTERFACE).map(Self::over).map_err(CertificateError::Bus)
    }

    /// Over a connection to whoever serves the interface.
    pub fn over(connection: Connection) -> Self {
        Self(Arc::new(Mutex::new(Client(connection))))
    }

    /// The certificate, and those that lead to the root.
    ///
    /// # Errors
    /// There is none now.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let mut client = self.client();
        let reply = client.get_chain().map_err(CertificateError::Call)?;
        let chain: Result<Vec<_>, _> =
            reply.certificates.iter().map(|text| decoded(text).map(CertificateDer::from)).collect();
        chain.and_then(|chain| if chain.is_empty() { Err(CertificateError::Form) } else { Ok(chain) })
    }

    /// Whom to trust when another device, or an app of one, is at the other end.
    ///
    /// # Errors
    /// They are not known yet.
    pub fn authorities(&self) -> Result<Authorities, CertificateError> {
        let mut client = self.client();
        let reply = client.get_authorities().map_err(CertificateError::Call)?;
        let mut roots = RootCertStore::empty();
        for text in &reply.certificates {
            roots.add(decoded(text)?.into()).map_err(|_| CertificateError::Form)?;
        }
        let revoked = reply.revoked.as_deref().map(decoded).transpose()?;
        Ok(Authorities { roots, revoked: revoked.map(Into::into) })
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        // Without one the handshake goes on without, and the other end says that it wants one.
        let chain = self.chain().ok()?;
        Some(Arc::new(CertifiedKey::new(chain, Arc::new(TpmKey(self.clone())))))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let digest = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, message));
        let mut client = self.client();
        let reply = client.sign(&digest, ALGORITHM).map_err(CertificateError::Call)?;
        decoded(&reply.signature)
    }

    fn client(&self) -> std::sync::MutexGuard<'_, Client> {
        // A panic of another thread leaves at worst a connection that is out of step, which says so at the next call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, CertificateError> {
    STANDARD.decode(text).map_err(|_| CertificateError::Form)
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256) { self.certified() } else { None }
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

/// A key that stays where it is.
#[derive(Debug)]
struct TpmKey(Identity);

impl SigningKey for TpmKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let ours = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        ours.then(|| Box::new(TpmSigner(self.0.clone())) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

#[derive(Debug)]
struct TpmSigner(Identity);

impl Signer for TpmSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        self.0.sign(message).map_err(|e| TlsError::General(e.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
