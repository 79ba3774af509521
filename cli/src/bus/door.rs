//! The door of a device in developer mode: the same frames as on a developer port, over TLS.
//!
//! Both ends are known before a byte of the bus goes over it. The device shows its own certificate, which must be of a device that
//! we have a permit for, by the authority that this permit names; we show ours. Who else listens there learns nothing but our
//! certificate.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, OtherError,
    SignatureScheme, StreamOwned,
};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::developer::{key, permits};

/// What the name of a device begins with in its certificate.
const DEVICE: &str = "gabion:device/";
/// For whom this is meant, in the handshake: the door takes any.
const NAME: &str = "door.gabion.invalid";

/// A connection through the door.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connects to `HOST:PORT`, and proves who is at both ends.
pub(crate) fn connect(at: &str, patience: Duration) -> Result<Stream> {
    let (certificate, key) = key::own()?;
    let permits = permits::all()?;
    if permits.is_empty() {
        bail!(
            "you have no permit: `gabion device permit` issues one, `gabion developer add` keeps one that you were given"
        );
    }
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let permits =
        permits.into_iter().map(|permit| (permit.terms().device.clone(), permit.authority().to_vec()));
    let verifier = Arc::new(Verifier { permits: permits.collect(), algorithms });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![certificate], key)
        .context("your key")?;
    let tls = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME)?)?;
    let mut stream = StreamOwned::new(tls, reached(at, patience)?);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).map_err(|e| explained(e, at))?;
    }
    Ok(stream)
}

fn reached(at: &str, patience: Duration) -> Result<TcpStream> {
    let mut last = anyhow!("{at}: no such host");
    for address in at.to_socket_addrs().with_context(|| format!("{at}: write tls://HOST:PORT"))? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                return Ok(stream);
            }
            Err(e) => {
                last = anyhow!(e).context(format!(
                    "nobody answers at {at}: the device is not there, or not in developer mode"
                ));
            }
        }
    }
    Err(last)
}

/// What went wrong with the handshake, and what to do about it.
pub(super) fn explained(error: io::Error, at: &str) -> anyhow::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let why = match tls {
        Some(Error::AlertReceived(_)) => "the device does not let you in: its permit is for another key",
        Some(_) => "this is not the device that the permit is for",
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the device hung up: too many are with it, or it just left"
        }
        None => "the connection to the device failed",
    };
    anyhow!(error).context(format!("{at}: {why}"))
}

/// Takes the devices that we have permits for.
#[derive(Debug)]
struct Verifier {
    /// Each device's id, and the certificate (DER) of whom its own must come from.
    permits: Vec<(String, Vec<u8>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Why not, in `rustls`' terms.
#[derive(Debug)]
struct NotTheDevice(String);

impl std::fmt::Display for NotTheDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotTheDevice {}

fn refused(why: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(NotTheDevice(why)))).into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = EndEntityCert::try_from(end).map_err(|_| CertificateError::BadEncoding)?;
        let device = certificate.valid_uri_names().find_map(|name| name.strip_prefix(DEVICE));
        let device = device.ok_or_else(|| refused("what is there is no device".to_owned()))?;
        let permit = self.permits.iter().find(|(id, _)| id == device);
        let (_, authority) = permit.ok_or_else(|| {
            let shown: String = device.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
            refused(format!("you have no permit for device {shown}"))
        })?;
        let authority = CertificateDer::from(authority.as_slice());
        let anchor = anchor_from_trusted_cert(&authority)
            .map_err(|_| refused("the permit's authority is none".to_owned()))?;
        let (anchors, usage) = ([anchor], KeyUsage::server_auth());
        certificate
            .verify_for_usage(self.algorithms.all, &anchors, between, now, usage, None, None)
            .map_err(|e| {
                refused(format!("the device's certificate is not by the permit's authority: {e}"))
            })?;
        Ok(ServerCertVerified::assertion())
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
