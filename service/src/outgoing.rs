//! HTTPS to others: the store of artefacts, a provider of sign-in. One connection a request: these are few and large.
//!
//! Who answers is whom the address names, by the roots that Mozilla's programme knows and those that the operator added.
//! Plain HTTP is spoken only to where the operator's own address says `http://`.

use axum::http::header::{HOST, HeaderValue};
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Request, Response, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// For connecting with the handshake, and for the head of the answer once the body is sent.
const WAIT: Duration = Duration::from_secs(60);

/// Why there was no answer.
#[derive(Debug)]
pub enum OutgoingError {
    /// The address has no host, or another scheme.
    Address,
    /// No connection.
    Connect(io::Error),
    /// It broke, or the other side does not speak HTTP.
    Http(hyper::Error),
    /// It took too long.
    Late,
}

impl fmt::Display for OutgoingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "an address is http:// or https:// with a host",
            Self::Connect(_) => "connecting",
            Self::Http(_) => "speaking http",
            Self::Late => "no answer in time",
        })
    }
}

impl Error for OutgoingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::Address | Self::Late => None,
        }
    }
}

/// The way out.
#[derive(Clone)]
pub struct Outgoing(TlsConnector);

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing")
    }
}

impl Outgoing {
    /// One that believes these roots (PEM) as well.
    ///
    /// # Errors
    /// They are no PEM of certificates.
    pub fn new(roots_pem: &[u8]) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for root in CertificateDer::pem_slice_iter(roots_pem) {
            roots.add(root.map_err(|_| rustls::Error::General("the roots are no PEM".to_owned()))?)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        Ok(Self(TlsConnector::from(Arc::new(config.with_no_client_auth()))))
    }

    /// Asks.
    ///
    /// # Errors
    /// There is no answer. What the answer says is the caller's business, its status too.
    pub async fn call<B>(&self, request: Request<B>) -> Result<Response<Incoming>, OutgoingError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (scheme, authority) = (request.uri().scheme().cloned(), request.uri().authority().cloned());
        let (Some(scheme), Some(authority)) = (scheme, authority) else { return Err(OutgoingError::Address) };
        let request = to_origin(request, &authority)?;
        let connect = self.connect(&scheme, &authority);
        let stream = timeout(WAIT, connect).await.map_err(|_| OutgoingError::Late)??;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(OutgoingError::Http)?;
        // It ends with the answer's body, or when that is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an outgoing connection broke");
            }
        });
        timeout(WAIT, sender.send_request(request))
            .await
            .map_err(|_| OutgoingError::Late)?
            .map_err(OutgoingError::Http)
    }

    async fn connect(
        &self,
        scheme: &Scheme,
        authority: &Authority,
    ) -> Result<Box<dyn Stream>, OutgoingError> {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let tls = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(OutgoingError::Address),
        };
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(OutgoingError::Connect)?;
        stream.set_nodelay(true).map_err(OutgoingError::Connect)?;
        if !tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| OutgoingError::Address)?;
        Ok(Box::new(self.0.connect(name, stream).await.map_err(OutgoingError::Connect)?))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The path alone in the request's line, and the host in its header.
fn to_origin<B>(mut request: Request<B>, authority: &Authority) -> Result<Request<B>, OutgoingError> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| OutgoingError::Address)?;
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = Uri::from(path);
    Ok(request)
}
