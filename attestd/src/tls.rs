//! TLS towards the service: its authority and no other, and, for reports, our certificate with the TPM's key.

use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::sign::{CertifiedKey, Signer, SigningKey};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, SignatureAlgorithm, SignatureScheme};
use tpm::KeyId;

use crate::identity::Identity;

/// Trusting `roots`; as `ours` if anybody.
///
/// # Errors
/// The provider lacks TLS 1.3, which it does not.
pub fn config(roots: RootCertStore, ours: Option<Ours>) -> Result<Arc<ClientConfig>, Error> {
    contact::tls::config(roots, ours.map(|ours| Arc::new(ours) as Arc<dyn ResolvesClientCert>))
}

/// Our certificate, and the key of the TPM that it is for.
#[derive(Clone)]
pub struct Ours {
    /// Whose key it is.
    pub identity: Identity,
    /// Which.
    pub key: KeyId,
    /// DER, our own first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ours")
    }
}

impl ResolvesClientCert for Ours {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let known = schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        known.then(|| Arc::new(CertifiedKey::new(self.chain.clone(), Arc::new(self.clone()))))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl SigningKey for Ours {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let known = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        known.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Ours {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let digest = digest(&SHA256, message);
        let digest = digest.as_ref().try_into().map_err(|_| Error::General("a digest".to_owned()))?;
        self.identity.with(|tpm| tpm.sign(self.key, digest)).map_err(|e| Error::General(e.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
