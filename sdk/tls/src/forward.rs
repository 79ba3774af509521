//! Connections in, connections out. What comes from outside is judged by `rustls` and the peer's check before a byte of it
//! reaches the program.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gabion::certificate::Identity;
use gabion::peer::PeerVerifier;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::options::{Connect, Options, Serve};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Wait after a connection could not be accepted: for want of descriptors, which others give back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What listens, before anything is forwarded: the program is started once it all does.
pub struct Forwards {
    connects: Vec<(TcpListener, Connect)>,
    serves: Vec<(TcpListener, Serve)>,
    outward: Arc<ClientConfig>,
    inward: Arc<ServerConfig>,
    identity: Identity,
}

impl Forwards {
    /// Listens as the command line says.
    ///
    /// # Errors
    /// A port is not granted or not free, a file of authorities can not be read; a message for people.
    pub async fn open(options: &Options, identity: &Identity) -> Result<Self, String> {
        let mut connects = Vec::new();
        for connect in &options.connect {
            connects.push((listen((Ipv4Addr::LOCALHOST, connect.port).into()).await?, connect.clone()));
            if let Some(listener) = listen_where_there_is(Ipv6Addr::LOCALHOST, connect.port).await? {
                connects.push((listener, connect.clone()));
            }
        }
        let mut serves = Vec::new();
        for serve in &options.serve {
            serves.push((listen((Ipv6Addr::UNSPECIFIED, serve.port).into()).await?, *serve));
        }
        Ok(Self {
            connects,
            serves,
            outward: outward(options, identity)?,
            inward: inward(options, identity)?,
            identity: identity.clone(),
        })
    }

    /// Forwards for ever.
    pub fn start(self) {
        for (listener, connect) in self.connects {
            let (tls, connect) = (TlsConnector::from(self.outward.clone()), Rc::new(connect));
            let identity = self.identity.clone();
            spawn_local(accept(listener, move |stream| {
                let (tls, connect, identity) = (tls.clone(), connect.clone(), identity.clone());
                async move {
                    let whom = format!("{}:{}", connect.host, connect.to);
                    told(&whom, out(stream, &tls, &connect).await, &identity);
                }
            }));
        }
        for (listener, serve) in self.serves {
            let (tls, identity) = (TlsAcceptor::from(self.inward.clone()), self.identity.clone());
            spawn_local(accept(listener, move |stream| {
                let (tls, identity) = (tls.clone(), identity.clone());
                async move { told(&format!("port {}", serve.port), into(stream, &tls, serve).await, &identity) }
            }));
        }
    }
}

async fn listen(at: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(at).await.map_err(|e| unheard(at, &e))
}

fn unheard(at: SocketAddr, e: &io::Error) -> String {
    format!("can not listen at {at}: {e}; the manifest must name it below [network] listen")
}

/// `None`: this machine does not have the address.
async fn listen_where_there_is(at: Ipv6Addr, port: u16) -> Result<Option<TcpListener>, String> {
    match TcpListener::bind((at, port)).await {
        Ok(listener) => Ok(Some(listener)),
        Err(e) if matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => {
            Ok(None)
        }
        Err(e) => Err(unheard((at, port).into(), &e)),
    }
}

async fn accept<F: Future<Output = ()> + 'static>(listener: TcpListener, take: impl Fn(TcpStream) -> F) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(spawn_local(take(stream))),
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

fn told(whom: &str, ended: io::Result<()>, identity: &Identity) {
    let Err(e) = ended else { return };
    // The other end says at most that it wants one; why there is none only this end can know.
    match identity.chain() {
        Ok(_) => eprintln!("gabion-tls: {whom}: {e}"),
        Err(none) => eprintln!("gabion-tls: {whom}: {e}; this app has no certificate: {none}"),
    }
}

async fn out(inner: TcpStream, tls: &TlsConnector, connect: &Connect) -> io::Result<()> {
    let name = ServerName::try_from(connect.host.clone()).map_err(io::Error::other)?;
    let outer = async {
        let stream = TcpStream::connect((connect.host.as_str(), connect.to)).await?;
        tls.connect(name, stream).await
    };
    pass(inner, timeout(HANDSHAKE, outer).await??).await
}

async fn into(outer: TcpStream, tls: &TlsAcceptor, serve: Serve) -> io::Result<()> {
    let outer = timeout(HANDSHAKE, tls.accept(outer)).await??;
    pass(TcpStream::connect((Ipv4Addr::LOCALHOST, serve.to)).await?, outer).await
}

async fn pass(mut inner: TcpStream, mut outer: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    match copy_bidirectional(&mut inner, &mut outer).await {
        // Many end without saying so in TLS; what was to be said had been.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => other.map(drop),
    }
}

fn outward(options: &Options, identity: &Identity) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = match &options.peer {
        Some(peer) => {
            let verifier = PeerVerifier::new(identity.clone(), peer.clone());
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
        None => builder.with_root_certificates(roots(options)?),
    };
    let mut config = builder.with_client_cert_resolver(Arc::new(identity.clone()));
    // A session that is resumed is whose it was at first: of nobody, or by a certificate that is over.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn inward(options: &Options, identity: &Identity) -> Result<Arc<ServerConfig>, String> {
    let verifier = PeerVerifier::new(identity.clone(), options.peer.clone().unwrap_or_default());
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?;
    let builder = builder.with_client_cert_verifier(verifier);
    let mut config = builder.with_cert_resolver(Arc::new(identity.clone()));
    // The same from the other side: who was revoked since is not to come back by a ticket.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn roots(options: &Options) -> Result<RootCertStore, String> {
    let Some(path) = &options.authorities else {
        return Ok(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
    };
    let wrong = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let pem = fs::read(path).map_err(|e| wrong(&e))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
    }
    if roots.is_empty() { Err(wrong(&"it has no certificate in PEM")) } else { Ok(roots) }
}
