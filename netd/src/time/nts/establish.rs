//! The TLS connection by which keys and cookies are established.
//!
//! A certificate is checked at a time, which is what the device wants to know. While nobody has set the clock it may be
//! years late, and a certificate that is newer would never be taken: then, and only then, it is checked at the first moment
//! of its own validity. Who has the key of a certificate that has expired since can then serve time: he still cannot set
//! the clock beyond the bounds of `discipline`. The session counts for one answer; the next is established by the time
//! that is known then.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, version};

use super::records::{self, Reply, Useless};
use super::{Key, Session};
use crate::early::{At, not_before};

/// The port of key establishment.
pub const PORT: u16 = 4460;

/// How long all of it may take: three ways there and back, and signatures.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was established.
#[derive(Debug)]
pub struct Established {
    /// Keys and cookies.
    pub session: Session,
    /// Another server for the time.
    pub server: Option<String>,
    /// Another port than NTP's.
    pub port: Option<u16>,
    /// Whether the certificate was checked at a time of its own.
    pub is_provisional: bool,
}

/// Whom certificates are checked by, and when.
pub struct Trust {
    /// The authorities.
    pub roots: Arc<RootCertStore>,
    /// The device's clock, seconds since 1970.
    pub now_s: i64,
    /// Whether that may be early.
    pub may_be_early: bool,
}

/// Establishes keys with the server of this name at this address.
///
/// # Errors
/// The connection, the certificate, or what the server said.
pub async fn establish(name: &str, address: SocketAddr, trust: &Trust) -> io::Result<Established> {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(trust.now_s.try_into().unwrap_or(0)));
    let tried = timeout(PATIENCE, exchange(name, address, trust, now)).await?;
    let error = match tried {
        Ok((reply, keys)) => return Ok(established(reply, keys, false)),
        Err(error) => error,
    };
    let Some(first) = not_before(&error).filter(|_| trust.may_be_early) else { return Err(error) };
    let (reply, keys) = timeout(PATIENCE, exchange(name, address, trust, first)).await??;
    Ok(established(reply, keys, true))
}

fn established(reply: Reply, [to_server, from_server]: [Key; 2], is_provisional: bool) -> Established {
    Established {
        session: Session { to_server, from_server, cookies: reply.cookies },
        server: reply.server,
        port: reply.port,
        is_provisional,
    }
}

async fn exchange(
    name: &str,
    address: SocketAddr,
    trust: &Trust,
    now: UnixTime,
) -> io::Result<(Reply, [Key; 2])> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(trust.roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"ntske/1".to_vec()];
    config.resumption = Resumption::disabled();
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let connection = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(server, connection).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"ntske/1") {
        return Err(io::Error::other("the server does not speak NTS"));
    }
    stream.write_all(&records::request()).await?;
    stream.flush().await?;
    let mut said = Vec::new();
    let reply = loop {
        match records::reply(&said) {
            Ok(reply) => break reply,
            Err(Useless::Unfinished) if said.len() < records::MOST_BYTES => {}
            Err(useless) => return Err(io::Error::other(format!("the server's records: {useless:?}"))),
        }
        let mut more = [0; 512];
        let length = stream.read(&mut more).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        said.extend_from_slice(&more[..length]);
    };
    let key = |from_server| {
        let label = b"EXPORTER-network-time-security";
        let context = records::context(from_server);
        let connection = stream.get_ref().1;
        connection.export_keying_material(Key::default(), label, Some(&context)).map_err(io::Error::other)
    };
    Ok((reply, [key(false)?, key(true)?]))
}
