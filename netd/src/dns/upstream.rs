//! Asking servers beyond the device: UDP first, TCP for what does not fit, or TLS (RFC 7858) for everything.
//!
//! Each question has a socket of its own, on a port that the kernel picks, connected to its server, and a number of its
//! own: who is not on the way has to guess both. Where TLS is configured nothing is ever asked without it.
//!
//! An attacker may be a server, or on the way to one: what is read of each is bounded in bytes, packets and time.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::Kind;
use super::cache::Heard;
use super::reply::{self, Fault, REPLY_MAX};

/// Port of name servers.
const PORT: u16 = 53;
/// Port of name servers over TLS.
const TLS_PORT: u16 = 853;
/// How long one server has for an answer over UDP.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one server has over a stream, its handshakes included.
const STREAM_PATIENCE: Duration = Duration::from_secs(4);
/// Servers that are asked, and how often each.
const SERVERS_MAX: usize = 4;
const ROUNDS: usize = 2;
/// Packets that are looked at before a server is taken for silent.
const PACKETS_MAX: usize = 64;

/// How servers are asked.
#[derive(Clone)]
pub enum Transport {
    /// UDP, and TCP where it does not fit.
    Plain,
    /// TLS with a certificate for this name.
    Tls(TlsConnector, ServerName<'static>),
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
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .with_root_certificates(store)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(TlsError::Name)?;
        Ok(Self::Tls(TlsConnector::from(Arc::new(config)), name))
    }
}

/// The authorities that browsers trust.
pub fn public_roots() -> Arc<RootCertStore> {
    Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
}

/// Asks the servers in turn, each at most twice: what was heard, and for how many seconds it holds. `None` when none of
/// them can say.
pub async fn ask(
    servers: &[SocketAddr],
    transport: &Transport,
    host: &str,
    kind: Kind,
) -> Option<(Heard, u32)> {
    for _ in 0..ROUNDS {
        for server in servers.iter().take(SERVERS_MAX) {
            let asked = match transport {
                Transport::Plain => plain(*server, host, kind).await,
                Transport::Tls(connector, name) => {
                    let talk = tls(*server, connector, name, host, kind);
                    timeout(STREAM_PATIENCE, talk)
                        .await
                        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                }
            };
            if let Ok(heard) = asked {
                return Some(heard);
            }
        }
    }
    None
}

/// The server at this address, at the port that goes with the transport.
pub fn server(address: IpAddr, transport: &Transport) -> SocketAddr {
    let port = match transport {
        Transport::Plain => PORT,
        Transport::Tls(..) => TLS_PORT,
    };
    SocketAddr::new(address, port)
}

async fn plain(server: SocketAddr, host: &str, kind: Kind) -> io::Result<(Heard, u32)> {
    let over_udp = timeout(PATIENCE, udp(server, host, kind)).await;
    match over_udp.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
        Some(heard) => Ok(heard),
        None => {
            let over_tcp = async { stream(TcpStream::connect(server).await?, host, kind).await };
            timeout(STREAM_PATIENCE, over_tcp).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
    }
}

/// `None`: it does not fit.
async fn udp(server: SocketAddr, host: &str, kind: Kind) -> io::Result<Option<(Heard, u32)>> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = number()?;
    socket.send(&reply::question(id, host, kind)).await?;
    let mut bytes = [0; REPLY_MAX];
    for _ in 0..PACKETS_MAX {
        let length = socket.recv(&mut bytes).await?;
        match reply::read(bytes.get(..length).unwrap_or_default(), id, host, kind) {
            Ok(heard) => return Ok(Some(heard)),
            Err(Fault::Cut) => return Ok(None),
            Err(Fault::Server) => return Err(io::Error::other("the server can not say")),
            // Anybody can send these; the server's own word may still come.
            Err(Fault::Foreign) => {}
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

async fn tls(
    server: SocketAddr,
    connector: &TlsConnector,
    name: &ServerName<'static>,
    host: &str,
    kind: Kind,
) -> io::Result<(Heard, u32)> {
    let plain = TcpStream::connect(server).await?;
    stream(connector.connect(name.clone(), plain).await?, host, kind).await
}

/// One question over a stream: each message has its length before it.
async fn stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    kind: Kind,
) -> io::Result<(Heard, u32)> {
    let id = number()?;
    let question = reply::question(id, host, kind);
    let mut message = u16::try_from(question.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    message.extend(question);
    stream.write_all(&message).await?;
    stream.flush().await?;
    let length = usize::from(stream.read_u16().await?);
    if length > REPLY_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    reply::read(&bytes, id, host, kind).map_err(|_| io::Error::other("no answer to the question"))
}

fn number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    sys::time::random::fill(&mut bytes)?;
    Ok(u16::from_ne_bytes(bytes))
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
