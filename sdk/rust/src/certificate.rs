//! The app's certificate and key for `rustls`, by `os.gabion.Certificate`.
//!
//! The manifest needs `[uses] "os.gabion.Certificate" = ["GetChain", "GetAuthorities", "Sign"]`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use gabion::certificate::Identity;
//!
//! let identity = Identity::of_app()?;
//! let roots = identity.authorities()?.roots; // or the public ones, or the broker's own
//! let mut config =
//!     rustls::ClientConfig::builder().with_root_certificates(roots).with_client_cert_resolver(Arc::new(identity));
//! config.resumption = rustls::client::Resumption::disabled();
//! # Ok::<(), gabion::certificate::CertificateError>(())
//! ```
//!
//! The key never leaves the
//! TPM: a handshake costs one signature of it. Certificates last a day; the chain is asked for at each handshake, so that
//! a connection made tomorrow has tomorrow's. A session that is resumed has the certificate of its first handshake, or none if
//! there was none: turn resumption off (`ClientConfig::resumption`, `ServerConfig::send_tls13_tickets` and `session_storage`).

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::client::{CallError, Connection};
use bus::interfaces::certificate::{Attest, AttestParameters, Client, Error as Failure, INTERFACE};
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
            Self::Call(CallError::Interface(Failure::NotIssued { reason })) => f.write_str(reason),
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
    /// The catalog's own authority, and nobody else's.
    pub roots: RootCertStore,
    /// What was revoked.
    pub revoked: Option<CertificateRevocationListDer<'static>>,
}

/// The app's identity. Cheap to clone; each clone shares one connection to the bus, which is made anew when whoever serves it
/// was started anew.
#[derive(Clone)]
pub struct Identity(Arc<Line>);

struct Line {
    client: Mutex<Client>,
    /// How to connect again, if there is a way.
    again: Option<fn() -> io::Result<Connection>>,
}

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
        let again: fn() -> io::Result<Connection> =
            || Connection::at(&crate::bus_folder().join(INTERFACE.name));
        let client = Mutex::new(Client(again().map_err(CertificateError::Bus)?));
        Ok(Self(Arc::new(Line { client, again: Some(again) })))
    }

    /// Over a connection to whoever serves the interface.
    pub fn over(connection: Connection) -> Self {
        Self(Arc::new(Line { client: Mutex::new(Client(connection)), again: None }))
    }

    /// The certificate, and those that lead to the root: `os.gabion.Certificate.GetChain`.
    ///
    /// ```no_run
    /// let chain = gabion::certificate::Identity::of_app()?.chain()?;
    /// println!("{} bytes of DER", chain[0].len());
    /// # Ok::<(), gabion::certificate::CertificateError>(())
    /// ```
    ///
    /// # Errors
    /// There is none now.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        let chain = self.call(|client| {
            let reply = client.get_chain()?;
            let certificates = reply.certificates.iter();
            Ok(certificates
                .map(|text| decoded(text).map(CertificateDer::from))
                .collect::<Result<Vec<_>, _>>())
        })?;
        chain.and_then(|chain| if chain.is_empty() { Err(CertificateError::Form) } else { Ok(chain) })
    }

    /// Whom to trust when another device, or an app of one, is at the other end: `os.gabion.Certificate.GetAuthorities`.
    ///
    /// # Errors
    /// They are not known yet.
    pub fn authorities(&self) -> Result<Authorities, CertificateError> {
        let (certificates, revoked) = self.call(|client| {
            let reply = client.get_authorities()?;
            let certificates = reply.certificates.iter().map(|text| decoded(text));
            let certificates: Result<Vec<Vec<u8>>, _> = certificates.collect();
            Ok((certificates, reply.revoked.as_deref().map(decoded).transpose()))
        })?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates? {
            roots.add(certificate.into()).map_err(|_| CertificateError::Form)?;
        }
        Ok(Authorities { roots, revoked: revoked?.map(Into::into) })
    }

    /// Signs a SHA-256 digest: `os.gabion.Certificate.Sign`. ECDSA on P-256; the signature is the DER sequence of r and s.
    /// `rustls` does that by itself.
    ///
    /// ```no_run
    /// # let digest = [0; 32];
    /// let signature = gabion::certificate::Identity::of_app()?.sign_digest(&digest)?;
    /// # Ok::<(), gabion::certificate::CertificateError>(())
    /// ```
    ///
    /// # Errors
    /// There is no certificate now, or the TPM has more to do than this app may add to.
    pub fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, CertificateError> {
        let digest = STANDARD.encode(digest);
        self.call(|client| Ok(decoded(&client.sign(&digest, ALGORITHM)?.signature)))?
    }

    /// Proves to somebody else what this device booted and which app is calling: `os.gabion.Certificate.Attest`, which says what is
    /// in it. `nonce` is theirs, 8 to 32 bytes. The manifest needs `[uses] "os.gabion.Certificate" = ["Attest"]`.
    ///
    /// ```no_run
    /// # let nonce = [0; 32];
    /// let evidence = gabion::certificate::Identity::of_app()?.attest(&nonce)?;
    /// println!("{} bytes of JSON", evidence.metadata().map_or(0, |file| file.len()));
    /// # Ok::<(), gabion::certificate::CertificateError>(())
    /// ```
    ///
    /// # Errors
    /// There is no certificate now, the nonce has no good length, or the TPM has more to do than this app may add to.
    pub fn attest(&self, nonce: &[u8]) -> Result<File, CertificateError> {
        let nonce = AttestParameters { nonce: STANDARD.encode(nonce).into() };
        self.call(|client| {
            let (reply, fds) = client.0.call_with_descriptors::<Attest>(&nonce, &[])?;
            let index = usize::try_from(reply.evidence).unwrap_or(usize::MAX);
            Ok(fds.into_iter().nth(index).map(File::from).ok_or(CertificateError::Form))
        })?
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        // Without one the handshake goes on without, and the other end says that it wants one.
        let chain = self.chain().ok()?;
        Some(Arc::new(CertifiedKey::new(chain, Arc::new(TpmKey(self.clone())))))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let digest = ring::digest::digest(&ring::digest::SHA256, message);
        self.sign_digest(digest.as_ref().try_into().map_err(|_| CertificateError::Form)?)
    }

    fn call<R>(
        &self,
        act: impl Fn(&mut Client) -> Result<R, CallError<Failure>>,
    ) -> Result<R, CertificateError> {
        // A panic of another thread leaves at worst a connection that is out of step, which says so at the next call.
        let mut client = self.0.client.lock().unwrap_or_else(PoisonError::into_inner);
        match (act(&mut client), self.0.again) {
            (Err(CallError::Closed | CallError::OutOfStep | CallError::Io(_)), Some(again)) => {
                *client = Client(again().map_err(CertificateError::Bus)?);
                act(&mut client).map_err(CertificateError::Call)
            }
            (done, _) => done.map_err(CertificateError::Call),
        }
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
