//! TLS towards the service: its authority and no other, TLS 1.3 alone.

use std::sync::Arc;

use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

/// Trusting `roots`; with the certificate that `ours` gives, if anybody's.
///
/// # Errors
/// The provider lacks TLS 1.3, which it does not.
pub fn config(
    roots: RootCertStore,
    ours: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots);
    Ok(Arc::new(match ours {
        Some(ours) => builder.with_client_cert_resolver(ours),
        None => builder.with_no_client_auth(),
    }))
}
