//! How servers are asked: plainly, or by TLS with a certificate for a name that the configuration says (RFC 7858, the strict
//! profile of RFC 8310). There is nothing between: whoever could force the one for the other could read and forge all.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::early::{At, not_before};

/// Port of name servers.
const PORT: u16 = 53;
/// Port of name servers over TLS.
const TLS_PORT: u16 = 853;
/// Certificates of one chain that may each be newer than the clock.
const EARLY_MAX: usize = 3;

/// How servers are asked.
#[derive(Clone)]
pub enum Transport {
    /// UDP, and TCP where it does not fit.
    Plain,
    /// TLS with a certificate for this name.
    Tls(Arc<ClientConfig>, ServerName<'static>),
}

/// At what time certificates are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Now.
    Now,
    /// Now, or if one is not valid yet, as soon as it is: for whoever is about to learn the time, and nobody else.
    PerhapsEarly,
}

/// What is wrong with the settings of TLS.
#[derive(Debug)]
pub enum TlsError {
    /// The name is none that a certificate can have.
    Name(InvalidDnsNameError),
    /// The text holds no certificate in PEM.
    Roots,
    /// The certificates can't be used.
    Config(rustls::Error),
}

impl Transport {
    /// TLS with servers that have a certificate for `name`, from an authority in `roots` (PEM), or else from those that
    /// browsers trust.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn tls(name: &str, roots: Option<&str>) -> Result<Self, TlsError> {
        Self::tls_by(name, roots, Arc::new(DefaultTimeProvider))
    }

    /// The same by a clock that is not the device's.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn tls_by(name: &str, roots: Option<&str>, clock: Arc<dyn TimeProvider>) -> Result<Self, TlsError> {
        let store = match roots {
            None => public_roots(),
            Some(text) => {
                let mut store = RootCertStore::empty();
                for root in CertificateDer::pem_slice_iter(text.as_bytes()) {
                    store.add(root.map_err(|_| TlsError::Roots)?).map_err(TlsError::Config)?;
                }
                if store.is_empty() {
                    return Err(TlsError::Roots);
                }
                Arc::new(store)
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_details(provider, clock)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .with_root_certificates(store)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(TlsError::Name)?;
        Ok(Self::Tls(Arc::new(config), name))
    }
}

/// The authorities that browsers trust.
pub fn public_roots() -> Arc<RootCertStore> {
    Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
}

/// The server at this address, at the port that goes with the transport.
pub fn server(address: IpAddr, transport: &Transport) -> SocketAddr {
    let port = match transport {
        Transport::Plain => PORT,
        Transport::Tls(..) => TLS_PORT,
    };
    SocketAddr::new(address, port)
}

/// A connection to a server whose certificate was checked.
pub(super) async fn connect(
    server: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &ServerName<'static>,
    certificates: Certificates,
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = config.clone();
    for _ in 0..EARLY_MAX {
        let plain = TcpStream::connect(server).await?;
        let error = match TlsConnector::from(config.clone()).connect(name.clone(), plain).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        match not_before(&error) {
            Some(first) if certificates == Certificates::PerhapsEarly => {
                config = Arc::new(standing_still(&config, first));
            }
            _ => return Err(error),
        }
    }
    Err(io::Error::other(rustls::Error::General("certificates that are never valid together".to_owned())))
}

/// Nothing of what is agreed on with it may be taken up again later: the certificate would not be looked at again.
fn standing_still(config: &ClientConfig, at: UnixTime) -> ClientConfig {
    let mut config = config.clone();
    config.time_provider = Arc::new(At(at));
    config.resumption = Resumption::disabled();
    config
}

impl PartialEq for Transport {
    /// The same, and not only alike: what was agreed on with servers belongs to it.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) => true,
            (Self::Tls(config, name), Self::Tls(other, its_name)) => {
                Arc::ptr_eq(config, other) && name == its_name
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("Plain"),
            Self::Tls(_, name) => f.debug_tuple("Tls").field(name).finish(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name(_) => "tls_name is no name that a certificate can have",
            Self::Roots => "tls_roots holds no certificate in PEM",
            Self::Config(_) => "the certificates in tls_roots can not be used",
        })
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name(e) => Some(e),
            Self::Roots => None,
            Self::Config(e) => Some(e),
        }
    }
}
