//! A connection that is TLS before it is anything else: nothing of it is read by anybody else until the developer has proved that he
//! has the key of his certificate.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring as provider, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};

/// A peer that is silent for so long is asked whether it is there, seconds; then as often, three times.
const SILENT_S: u32 = 30;

/// TLS as `identity`, for whoever has this certificate, by its SHA-256.
///
/// # Errors
/// The provider lacks TLS 1.3, which it does not.
pub fn config(identity: Arc<dyn ResolvesServerCert>, developer: [u8; 32]) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(provider::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_client_cert_verifier(Arc::new(Only { developer, algorithms }))
        .with_cert_resolver(identity);
    // Each connection proves anew who is there.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// Takes one certificate, and whoever proves to have its key.
#[derive(Debug)]
struct Only {
    developer: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Only {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Nobody vouches for it, and whoever asks need not know whose it is.
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Both are public: how long the comparison takes tells nothing.
        if ring::digest::digest(&ring::digest::SHA256, end).as_ref() == self.developer {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Who connected. What can be read is what the developer sent, once he is known.
pub struct Caller {
    tls: StreamOwned<ServerConnection, TcpStream>,
    over: bool,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("known", &self.is_known())
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

impl Caller {
    /// Of a connection that was accepted.
    ///
    /// # Errors
    /// The socket can not be set up.
    pub fn new(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        setsockopt(&socket, sockopt::KeepAlive, &true)?;
        setsockopt(&socket, sockopt::TcpKeepIdle, &SILENT_S)?;
        setsockopt(&socket, sockopt::TcpKeepInterval, &SILENT_S)?;
        setsockopt(&socket, sockopt::TcpKeepCount, &3)?;
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { tls: StreamOwned::new(tls, socket), over: false })
    }

    /// Whether the other end has proved that it is the developer.
    pub fn is_known(&self) -> bool {
        !self.tls.conn.is_handshaking()
    }

    /// Whether there is nothing more to come: it ended, was cut, or is somebody else.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Goes on with the handshake; whether it is done.
    pub fn greet(&mut self) -> bool {
        while !self.over && self.tls.conn.is_handshaking() {
            let done = self.tls.conn.complete_io(&mut self.tls.sock);
            match self.noted(done) {
                // The peer has ended its side.
                Ok((0, 0)) => self.over = true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        self.is_known()
    }

    fn noted<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &done
            && !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        {
            self.over = true;
        }
        done
    }
}

impl Read for Caller {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over {
            return Ok(0);
        }
        if !self.is_known() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let done = self.tls.read(buffer);
        let length = self.noted(done)?;
        self.over |= length == 0;
        Ok(length)
    }
}

impl Write for Caller {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.over || !self.is_known() {
            return Err(ErrorKind::WouldBlock.into());
        }
        // What does not fit into the socket is TLS's to keep: no more than this is given before that has gone.
        if self.tls.conn.wants_write() {
            let sent = self.tls.conn.write_tls(&mut self.tls.sock);
            self.noted(sent)?;
            if self.tls.conn.wants_write() {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
        let done = self.tls.write(bytes);
        self.noted(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.tls.flush();
        self.noted(done)
    }
}

impl AsFd for Caller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tls.sock.as_fd()
    }
}
