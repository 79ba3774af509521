//! Connections to the repository: to the service as the device that we are, to other servers as nobody.
//!
//! What is fetched is signed, so TLS to another server hides what is fetched and no more: the authorities that the world's
//! servers have are enough there, and the service's own, which may be that of a store beside it. To the service it is that alone.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use contact::config::Service;
use contact::dial::dial;
use contact::lookup::lookup;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::ResolvesClientCert;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tuf::http::{Base, Connect};

/// Who we are, if anybody: asked for at each connection.
pub type Identity = Rc<dyn Fn() -> Option<Arc<dyn ResolvesClientCert>>>;

/// Opens connections.
#[derive(Clone)]
pub struct Way {
    /// The service.
    pub service: Service,
    /// Who resolves names.
    pub name_server: Ipv4Addr,
    /// Who we are to the service.
    pub identity: Identity,
}

impl Way {
    /// TLS towards the service, as the device.
    ///
    /// # Errors
    /// The TLS library lacks what it does not.
    pub fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        contact::tls::config(self.service.roots.clone(), (self.identity)()).map_err(io::Error::other)
    }

    fn is_service(&self, to: &Base) -> bool {
        to.secure && to.host == self.service.host && to.port == self.service.port
    }

    fn world(&self) -> RootCertStore {
        let own = self.service.roots.roots.iter().cloned();
        RootCertStore { roots: own.chain(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()).collect() }
    }
}

impl Connect for Way {
    type Stream = Stream;

    async fn connect(&mut self, to: &Base) -> io::Result<Stream> {
        let stream = dial(&lookup(&to.host, self.name_server).await?, to.port).await?;
        if !to.secure {
            return Ok(Stream::Plain(stream));
        }
        let tls = match self.is_service(to) {
            true => self.tls()?,
            false => contact::tls::config(self.world(), None).map_err(io::Error::other)?,
        };
        let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(TlsConnector::from(tls).connect(name, stream).await?)))
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// In the open.
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
