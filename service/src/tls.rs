//! TLS 1.3 towards everybody: rustls on ring.
//!
//! A client certificate is asked for and not required. The handshake proves that the client has the certificate's key, and
//! nothing else: whose certificate it is, the database knows, which has the digest of every one that was issued or
//! registered. So no chain and no name in it is believed, and a revocation holds at once.

use crate::secrets;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig, SignatureScheme,
    version::TLS13,
};

/// The service's own certificate, which is replaced while it runs.
#[derive(Debug)]
pub struct OwnCertificate(RwLock<Arc<CertifiedKey>>);

impl OwnCertificate {
    /// With the chain and the key (PKCS#8), DER.
    ///
    /// # Errors
    /// The key is of no kind that is known, or not the certificate's.
    pub fn new(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, Error> {
        Ok(Self(RwLock::new(certified(chain, key)?)))
    }

    /// Uses another from the next connection on.
    ///
    /// # Errors
    /// As [`OwnCertificate::new`]; then the one before stays.
    pub fn replace(&self, chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<(), Error> {
        let new = certified(chain, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Arc<CertifiedKey>, Error> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let chain = chain.into_iter().map(CertificateDer::from).collect();
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?))
}

/// What the listener is set up with.
///
/// # Errors
/// ring has no TLS 1.3: never.
pub fn server_config(own: Arc<OwnCertificate>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])?;
    let mut config =
        builder.with_client_cert_verifier(Arc::new(Possession(provider))).with_cert_resolver(own);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is resumed would bring its certificate along without a new proof; and nothing is kept for clients
    // that do not come back.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(tokio_rustls::rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// The digest of the certificate that a client proved to have.
pub fn digest_of_peer(chain: Option<&[CertificateDer<'_>]>) -> Option<String> {
    chain.and_then(<[_]>::first).map(|certificate| secrets::sha256(certificate))
}

struct Possession(Arc<CryptoProvider>);

impl fmt::Debug for Possession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Possession")
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Nothing follows from it: see above.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
