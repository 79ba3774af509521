//! MQTT 3.1.1, as much of it as publishing takes: over TLS with the app's certificate, or plainly to the loopback.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use gabion::certificate::Identity;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Clean session, keep alive for two minutes, a name that the broker gives.
const CONNECT: [u8; 14] = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 120, 0, 0];
/// How long a broker may take over an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Where the broker is.
pub(crate) struct Address {
    host: String,
    port: u16,
    /// Whom its certificate comes from; `None` where it is plain, on the loopback.
    roots: Option<Arc<RootCertStore>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection to a broker.
pub(crate) struct Broker(Box<dyn Stream>);

impl Address {
    /// `mqtts://HOST:PORT` or `mqtt://HOST:PORT`. `authorities` is a file of those that are trusted (PEM); without one it is the
    /// public ones.
    pub(crate) fn read(url: &str, authorities: Option<&str>) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("{url} is no mqtts://HOST:PORT"));
        let (tls, rest) = match (url.strip_prefix("mqtts://"), url.strip_prefix("mqtt://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            _ => return Err(wrong()),
        };
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let mut roots = RootCertStore::empty();
        match authorities {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(file) => {
                for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
                    roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
            }
        }
        let port = port.parse().map_err(|_| wrong())?;
        Ok(Self { host: host.to_owned(), port, roots: tls.then(|| Arc::new(roots)) })
    }
}

impl Broker {
    /// Connects, and says CONNECT.
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        let tcp = timeout(ANSWER, TcpStream::connect((address.host.as_str(), address.port))).await??;
        let stream: Box<dyn Stream> = match &address.roots {
            None => Box::new(tcp),
            Some(roots) => {
                let identity = Identity::of_app().map_err(io::Error::other)?;
                let mut config = ClientConfig::builder()
                    .with_root_certificates(Arc::clone(roots))
                    .with_client_cert_resolver(Arc::new(identity));
                // Tomorrow's certificate is another one.
                config.resumption = Resumption::disabled();
                let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
                Box::new(timeout(ANSWER, TlsConnector::from(Arc::new(config)).connect(name, tcp)).await??)
            }
        };
        let mut broker = Self(stream);
        broker.ask(&CONNECT, [0x20, 2, 0, 0]).await?;
        Ok(broker)
    }

    /// Publishes with QoS 1, and is back when the broker has it.
    pub(crate) async fn publish(&mut self, topic: &str, message: &str) -> io::Result<()> {
        let length = u8::try_from(4 + topic.len() + message.len()).ok().filter(|length| *length < 128);
        let length =
            length.ok_or_else(|| io::Error::other("the length of what is published is one byte here"))?;
        let mut packet = vec![0x32, length, 0, topic.len() as u8];
        packet.extend(topic.bytes().chain([0, 1]).chain(message.bytes()));
        self.ask(&packet, [0x40, 2, 0, 1]).await
    }

    async fn ask(&mut self, packet: &[u8], answer: [u8; 4]) -> io::Result<()> {
        self.0.write_all(packet).await?;
        self.0.flush().await?;
        let mut got = [0; 4];
        timeout(ANSWER, self.0.read_exact(&mut got)).await??;
        if got == answer { Ok(()) } else { Err(io::Error::other(format!("the broker answered {got:x?}"))) }
    }
}
