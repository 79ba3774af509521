//! Who may be at the other end of a connection between devices.
//!
//! A device's certificate has no host name: where a device is says nothing of which one it is. What it has are names of the
//! form `gabion:device/ID`, `gabion:device/ID/app/APP` and `gabion:group/CATALOG/PRODUCT/GROUP` (SAN, URI), from the
//! service, which gives them for a day to what has attested. [`Peer`] says which of them the other end must have; the chain
//! must lead to the catalog's authority, so that no other catalog's certificate is anything here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::certificate::{CertificateError as NoCertificate, Identity};

/// Which names the other end must have; all that are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The device, by its id.
    pub device: Option<String>,
    /// The app, by its id.
    pub app: Option<String>,
    /// The group, as `CATALOG/PRODUCT/GROUP`.
    pub group: Option<String>,
}

impl Peer {
    /// Whether `names`, the URIs of a certificate, are those of such a peer.
    pub fn is(&self, names: &[&str]) -> bool {
        let is_group = |group: &String| names.iter().any(|name| *name == format!("gabion:group/{group}"));
        let is_app = |name: &&str| {
            let Some(rest) = name.strip_prefix("gabion:device/") else { return false };
            let (device, app) = match rest.split_once("/app/") {
                Some((device, app)) => (device, Some(app)),
                None => (rest, None),
            };
            let device_is = self.device.as_deref().is_none_or(|wanted| wanted == device);
            device_is && self.app.as_deref().is_none_or(|wanted| Some(wanted) == app)
        };
        names.iter().any(is_app) && self.group.as_ref().is_none_or(is_group)
    }
}

/// The check of both ends' certificates. The authorities and what they have revoked are asked for at each handshake.
#[derive(Debug)]
pub struct PeerVerifier {
    identity: Identity,
    peer: Peer,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Why a certificate is not taken, in `rustls`' terms.
#[derive(Debug)]
struct NotThePeer(&'static str);

impl std::fmt::Display for NotThePeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotThePeer {}

impl PeerVerifier {
    /// Lets `peer` through; what else there is to know `identity` asks.
    pub fn new(identity: Identity, peer: Peer) -> Arc<Self> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        Arc::new(Self { identity, peer, algorithms })
    }

    fn check(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Error> {
        let authorities = self.identity.authorities().map_err(|e| unavailable(&e))?;
        let certificate =
            EndEntityCert::try_from(end).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let list = match &authorities.revoked {
            None => None,
            Some(der) => {
                let list = BorrowedCertRevocationList::from_der(der);
                Some(CertRevocationList::from(list.map_err(|_| CertificateError::InvalidPurpose)?))
            }
        };
        let lists: Vec<&CertRevocationList<'_>> = list.iter().collect();
        let revocation = match RevocationOptionsBuilder::new(&lists) {
            Ok(options) => Some(
                options
                    .with_depth(RevocationCheckDepth::EndEntity)
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    // The list is fetched anew all the time. When the service is away, an old one still says what it
                    // says, and a certificate that it could not name yet ends within a day.
                    .with_expiration_policy(ExpirationPolicy::Ignore)
                    .build(),
            ),
            // None is known: certificates last a day.
            Err(_) => None,
        };
        let algorithms: &[&dyn SignatureVerificationAlgorithm] = self.algorithms.all;
        certificate
            .verify_for_usage(algorithms, &authorities.roots.roots, between, now, usage, revocation, None)
            .map_err(refused)?;
        let names: Vec<&str> = certificate.valid_uri_names().collect();
        if self.peer.is(&names) {
            return Ok(());
        }
        let error = NotThePeer("it is another device, app or group than the one that may be there");
        Err(CertificateError::Other(OtherError(Arc::new(error))).into())
    }
}

fn unavailable(error: &NoCertificate) -> Error {
    Error::General(error.to_string())
}

fn refused(error: webpki::Error) -> Error {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired.into(),
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        webpki::Error::CertRevoked => CertificateError::Revoked.into(),
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end, between, now, KeyUsage::server_auth()).map(|()| ServerCertVerified::assertion())
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

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // There is one authority on both sides.
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end, between, now, KeyUsage::client_auth()).map(|()| ClientCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "gabion:device/ab12";
    const APP: &str = "gabion:device/ab12/app/com.example.display";
    const GROUP: &str = "gabion:group/acme/meter/field";

    fn peer(device: Option<&str>, app: Option<&str>, group: Option<&str>) -> Peer {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Peer { device: own(device), app: own(app), group: own(group) }
    }

    #[test]
    fn peer_with_every_name_asked_for_is_let_through() {
        for wanted in [
            peer(None, None, None),
            peer(Some("ab12"), None, None),
            peer(None, Some("com.example.display"), None),
            peer(Some("ab12"), Some("com.example.display"), Some("acme/meter/field")),
        ] {
            assert!(wanted.is(&[APP, GROUP]), "{wanted:?}");
        }
        assert!(peer(Some("ab12"), None, None).is(&[DEVICE, GROUP]));
    }

    #[test]
    fn peer_that_lacks_a_name_or_has_one_like_it_is_not() {
        for (wanted, names) in [
            (peer(None, None, None), vec!["https://example.com/"]),
            (peer(None, None, None), vec![]),
            (peer(None, Some("com.example.display"), None), vec![DEVICE, GROUP]),
            (peer(None, Some("com.example.displa"), None), vec![APP]),
            (peer(Some("ab1"), None, None), vec![APP]),
            (peer(None, None, Some("acme/meter")), vec![APP, GROUP]),
            (peer(None, None, Some("acme/meter/field")), vec![APP]),
            // The device of one name and the app of another are no peer.
            (peer(Some("ab12"), Some("x"), None), vec![DEVICE, "gabion:device/cd/app/x"]),
        ] {
            assert!(!wanted.is(&names), "{wanted:?} {names:?}");
        }
    }
}
