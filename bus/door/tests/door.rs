//! The door as a developer, somebody else, and nobody in particular find it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use bus::devport::{Frame, Frames};
use door::{Door, HANDSHAKES, SESSIONS, config};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Who {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Who {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let key = provider::default_provider().key_provider.load_private_key(self.key.clone_key()).unwrap();
        Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key))
    }

    fn digest(&self) -> [u8; 32] {
        ring::digest::digest(&ring::digest::SHA256, &self.certificate).as_ref().try_into().unwrap()
    }
}

/// Shows a certificate, whatever key goes with it.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Takes any device: which one is there is what the tool's own tests are about.
#[derive(Debug)]
struct Any(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("never".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// A door before a bus with one interface, which says back what it hears, for this developer.
fn door(developer: &Who) -> (TempDir, SocketAddr) {
    let place = tempfile::tempdir().unwrap();
    for name in ["os.gabion.Time", "os.gabion.Certificate"] {
        let listener = UnixListener::bind(place.path().join(name)).unwrap();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                std::thread::spawn(move || {
                    let mut socket = socket.unwrap();
                    let mut back = socket.try_clone().unwrap();
                    io::copy(&mut socket, &mut back)
                });
            }
        });
    }
    let identity = Arc::new(Shown(Who::new("device").certified()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let config = config(identity, developer.digest()).unwrap();
    let door = Door::new(listener, config, place.path().into()).unwrap();
    std::thread::spawn(move || door.run());
    (place, at)
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(at: SocketAddr, who: Option<&Who>) -> Stream {
    let provider = Arc::new(provider::default_provider());
    let verifier = Arc::new(Any(provider.signature_verification_algorithms));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match who {
        Some(who) => builder.with_client_cert_resolver(Arc::new(Shown(who.certified()))),
        None => builder.with_no_client_auth(),
    };
    let socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("door.invalid").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket)
}

fn send(stream: &mut Stream, frame: &Frame<'_>) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    stream.write_all(&bytes)?;
    stream.flush()
}

/// Opens an interface; what comes back, or how the connection ended.
fn opened(stream: &mut Stream, interface: &str) -> io::Result<String> {
    send(stream, &Frame::Open([7; 8], interface))?;
    answer(stream)
}

/// The next frame that is not about somebody before.
fn answer(stream: &mut Stream) -> io::Result<String> {
    let (mut frames, mut buffer) = (Frames::default(), [0; 4096]);
    loop {
        let length = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => read?,
        };
        let mut said = None;
        frames.take(&buffer[..length], |frame| {
            if frame != Frame::Closed {
                said = Some(format!("{frame:?}"));
            }
        });
        if let Some(said) = said {
            return Ok(said);
        }
    }
}

#[test]
fn developer_reaches_the_bus_and_nobody_else_does() {
    let (developer, other) = (Who::new("developer"), Who::new("developer"));
    let (_place, at) = door(&developer);
    let mut stream = connect(at, Some(&developer));
    assert!(opened(&mut stream, "os.gabion.Time").unwrap().starts_with("Opened"));
    send(&mut stream, &Frame::Data(b"question")).unwrap();
    assert_eq!(answer(&mut stream).unwrap(), format!("{:?}", Frame::Data(b"question")));
    // The same name, another key; and none.
    for who in [Some(&other), None] {
        let refused = opened(&mut connect(at, who), "os.gabion.Time").unwrap_err();
        assert!(refused.to_string().contains("alert"), "{refused}");
    }
    // Another's certificate without its key.
    let thief = Who { certificate: developer.certificate.clone(), key: other.key.clone_key() };
    let refused = opened(&mut connect(at, Some(&thief)), "os.gabion.Time").unwrap_err();
    assert!(refused.to_string().contains("alert"), "{refused}");
    // Plain bytes, and silence.
    let mut plain = TcpStream::connect(at).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    Frame::Open([7; 8], "os.gabion.Time").encode(&mut bytes);
    plain.write_all(&bytes).unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(said.len() < 16, "{}", said.escape_ascii());
    assert!(opened(&mut stream, "os.gabion.Time").unwrap().starts_with("Opened"));
}

#[test]
fn developer_signs_nothing_in_the_device_s_name() {
    let developer = Who::new("developer");
    let (_place, at) = door(&developer);
    let mut stream = connect(at, Some(&developer));
    for interface in ["os.gabion.Certificate", "../etc/passwd", "os.gabion.None"] {
        let said = opened(&mut stream, interface).unwrap();
        assert!(said.starts_with("Refused"), "{interface}: {said}");
    }
}

#[test]
fn more_than_goes_into_a_socket_goes_through_the_door_whole() {
    let developer = Who::new("developer");
    let (_place, at) = door(&developer);
    let mut stream = connect(at, Some(&developer));
    opened(&mut stream, "os.gabion.Time").unwrap();
    let all: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut back, mut frames, mut buffer) = (Vec::new(), Frames::default(), [0; 65536]);
    for piece in all.chunks(64_000) {
        piece.chunks(4096).for_each(|piece| send(&mut stream, &Frame::Data(piece)).unwrap());
        let wanted = back.len() + piece.len();
        while back.len() < wanted {
            let length = match stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.unwrap(),
            };
            frames.take(&buffer[..length], |frame| {
                if let Frame::Data(bytes) = frame {
                    back.extend_from_slice(bytes);
                }
            });
        }
    }
    assert!(back == all);
}

#[test]
fn those_who_say_nothing_keep_nobody_out() {
    let developer = Who::new("developer");
    let (_place, at) = door(&developer);
    let _silent: Vec<TcpStream> = (0..3 * HANDSHAKES).map(|_| TcpStream::connect(at).unwrap()).collect();
    let mut streams: Vec<Stream> = (0..SESSIONS).map(|_| connect(at, Some(&developer))).collect();
    for stream in &mut streams {
        assert!(opened(stream, "os.gabion.Time").unwrap().starts_with("Opened"));
    }
    // One more than there are places for; and one once somebody has gone.
    assert!(opened(&mut connect(at, Some(&developer)), "os.gabion.Time").is_err());
    drop(streams.pop());
    let mut tries = 0;
    while opened(&mut connect(at, Some(&developer)), "os.gabion.Time").is_err() {
        tries += 1;
        assert!(tries < 600, "the place stays taken");
        std::thread::sleep(Duration::from_millis(100));
    }
}
