//! Asking servers beyond the device: UDP first, TCP for what does not fit, or TLS for everything.
//!
//! Each question over UDP has a socket of its own, on a port that the kernel picks, connected to its server, and a number of
//! its own: who is not on the way has to guess both. Where TLS is configured nothing is ever asked without it.
//!
//! An attacker may be a server, or on the way to one: what is read of each is bounded in bytes, packets and time. Connections
//! by TLS are used one question after the other, and the last two are kept for a while: a handshake costs more than a
//! question.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::Kind;
use super::cache::Heard;
use super::race::Race;
use super::reply::{self, Extra, REPLY_MAX};
use super::servers::Health;
use super::transport::{Certificates, Transport, connect};
use super::trouble::{Fault, Trouble};

/// After how long a datagram is taken for lost.
const LOST: Duration = Duration::from_millis(1_500);
/// Packets that are looked at before a server is taken for silent.
const PACKETS_MAX: usize = 64;
/// Connections that are kept, for how long, and how long one that was kept is tried.
const IDLE_MAX: usize = 2;
const IDLE: Duration = Duration::from_secs(10);
const IDLE_PATIENCE: Duration = Duration::from_millis(800);

/// What a server said, and for how many seconds that holds.
pub(super) type Said = (Heard, u32);

/// Some servers, how they are asked, and what is known of them. Others are another one of these.
pub(super) struct Upstream {
    servers: Vec<SocketAddr>,
    transport: Transport,
    health: RefCell<Health>,
    idle: RefCell<Vec<Idle>>,
    began: Instant,
}

struct Idle {
    server: SocketAddr,
    since: Instant,
    stream: TlsStream<TcpStream>,
}

impl Upstream {
    pub(super) fn new(servers: Vec<SocketAddr>, transport: Transport) -> Self {
        let began = Instant::now();
        Self { servers, transport, health: RefCell::default(), idle: RefCell::default(), began }
    }

    /// Whether it is these.
    pub(super) fn is(&self, servers: &[SocketAddr], transport: &Transport) -> bool {
        self.servers == servers && self.transport == *transport
    }

    /// Whether servers are known by certificates.
    pub(super) fn has_certificates(&self) -> bool {
        matches!(self.transport, Transport::Tls(..))
    }

    /// Asks for the addresses of a name.
    pub(super) async fn ask(
        &self,
        host: &str,
        kind: Kind,
        certificates: Certificates,
    ) -> Result<Said, Trouble> {
        let race = Race { health: &self.health, servers: &self.servers, began: self.began };
        race.run(|server| async move {
            match &self.transport {
                Transport::Plain => plain(server, host, kind).await,
                Transport::Tls(config, name) => {
                    self.tls(server, (config, name), (host, kind), certificates).await
                }
            }
        })
        .await
    }

    async fn tls(
        &self,
        server: SocketAddr,
        (config, name): (&Arc<ClientConfig>, &ServerName<'static>),
        (host, kind): (&str, Kind),
        certificates: Certificates,
    ) -> Result<Said, Fault> {
        let kept = self.kept(server);
        if let Some(mut stream) = kept {
            // It may be closed at the other end, or nowhere on the way any more.
            let said = timeout(IDLE_PATIENCE, converse(&mut stream, host, kind, Extra::Padded)).await;
            if let Ok(Ok(said)) = said {
                self.keep(server, stream);
                return Ok(said);
            }
        }
        let mut stream = connect(server, config, name, certificates).await?;
        let said = converse(&mut stream, host, kind, Extra::Padded).await?;
        // One that was not checked as others are is for this question alone.
        if certificates == Certificates::Now {
            self.keep(server, stream);
        }
        Ok(said)
    }

    fn kept(&self, server: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|one| one.since.elapsed() < IDLE);
        let place = idle.iter().position(|one| one.server == server)?;
        Some(idle.swap_remove(place).stream)
    }

    fn keep(&self, server: SocketAddr, stream: TlsStream<TcpStream>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= IDLE_MAX {
            idle.remove(0);
        }
        idle.push(Idle { server, since: Instant::now(), stream });
    }
}

async fn plain(server: SocketAddr, host: &str, kind: Kind) -> Result<Said, Fault> {
    match udp(server, host, kind).await? {
        Some(said) => Ok(said),
        None => converse(&mut TcpStream::connect(server).await?, host, kind, Extra::None).await,
    }
}

/// `None`: it does not fit.
async fn udp(server: SocketAddr, host: &str, kind: Kind) -> Result<Option<Said>, Fault> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = number()?;
    // There are servers, and boxes on the way, that drop or refuse what they do not know: every second time without.
    let mut extra = Extra::Size;
    let mut left = PACKETS_MAX;
    loop {
        socket.send(&reply::question(id, host, kind, extra)).await?;
        let lost = Instant::now() + LOST;
        while let Ok(readable) = timeout_at(lost, socket.readable()).await {
            readable?;
            left = left.checked_sub(1).ok_or(Fault::Nonsense)?;
            match received(&socket, id, host, kind)? {
                Ok(said) => return Ok(Some(said)),
                Err(reply::Fault::Cut) => return Ok(None),
                Err(reply::Fault::Options) if extra != Extra::None => break,
                Err(reply::Fault::Options | reply::Fault::Server) => return Err(Fault::Unable),
                // Anybody can send these; the server's own word may still come.
                Err(reply::Fault::Foreign) => {}
            }
        }
        extra = if extra == Extra::None { Extra::Size } else { Extra::None };
    }
}

/// Not a part of whoever waits: what is waited for would have the buffer in it, for each server of each question.
fn received(socket: &UdpSocket, id: u16, host: &str, kind: Kind) -> io::Result<Result<Said, reply::Fault>> {
    let mut bytes = [0; REPLY_MAX];
    match socket.try_recv(&mut bytes) {
        Ok(length) => Ok(reply::read(bytes.get(..length).unwrap_or_default(), id, host, kind)),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Err(reply::Fault::Foreign)),
        Err(e) => Err(e),
    }
}

/// One question over a stream: each message has its length before it.
async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
    kind: Kind,
    extra: Extra,
) -> Result<Said, Fault> {
    let id = number()?;
    let question = reply::question(id, host, kind, extra);
    let mut message = u16::try_from(question.len()).map_err(|_| Fault::Nonsense)?.to_be_bytes().to_vec();
    message.extend(question);
    stream.write_all(&message).await?;
    stream.flush().await?;
    let length = usize::from(stream.read_u16().await?);
    if length > REPLY_MAX {
        return Err(Fault::Nonsense);
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    reply::read(&bytes, id, host, kind).map_err(|fault| match fault {
        reply::Fault::Server | reply::Fault::Options => Fault::Unable,
        reply::Fault::Foreign | reply::Fault::Cut => Fault::Nonsense,
    })
}

fn number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    sys::time::random::fill(&mut bytes)?;
    Ok(u16::from_ne_bytes(bytes))
}
