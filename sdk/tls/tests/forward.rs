//! Programs that know nothing of TLS talk to each other by two `gabion-tls`, with certificates as the service gives them; a
//! stand-in for attestd has the keys.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bus::client::Connection;
use gabion::certificate::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use tls::forward::Forwards;
use tls::options::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// A catalog: its authority.
struct Catalog(CertifiedIssuer<'static, KeyPair>);

impl Catalog {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// An app of a device, with what attestd would say to it. `revoked`: the serial number that its catalog has revoked.
    fn app(&self, device: &str, app: &str, serial: u64, until: i32, revoked: u64) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = |text: String| SanType::URI(text.try_into().unwrap());
        params.subject_alt_names = vec![
            uri(format!("gabion:device/{device}/app/{app}")),
            uri("gabion:group/acme/meter/field".to_owned()),
        ];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = STANDARD.encode(certificate.der());
        let trust = format!(
            r#""certificates":["{}"],"revoked":"{}""#,
            STANDARD.encode(self.0.as_ref().der()),
            STANDARD.encode(self.list(revoked))
        );
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || serve(ours, &chain, &trust, &key));
        Identity::over(Connection::over(theirs))
    }

    fn list(&self, revoked: u64) -> Vec<u8> {
        let entry = RevokedCertParams {
            serial_number: SerialNumber::from(revoked),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![entry],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        params.signed_by(issuer).unwrap().der().to_vec()
    }
}

/// Answers calls of `os.gabion.Certificate`.
fn serve(mut socket: UnixStream, chain: &str, trust: &str, key: &KeyPair) {
    let mut message = Vec::new();
    let mut byte = [0];
    while socket.read_exact(&mut byte).is_ok() {
        if byte[0] != 0 {
            message.push(byte[0]);
            continue;
        }
        let call = String::from_utf8(std::mem::take(&mut message)).unwrap();
        let parameters = if call.contains("GetChain") {
            format!(r#""certificates":["{chain}"],"expires_us":1"#)
        } else if call.contains("GetAuthorities") {
            trust.to_owned()
        } else {
            let digest = call.split(r#""digest":""#).nth(1).unwrap().split('"').next().unwrap();
            format!(
                r#""signature":"{}""#,
                STANDARD.encode(sign_digest(key, &STANDARD.decode(digest).unwrap()))
            )
        };
        socket.write_all(format!("{{\"parameters\":{{{parameters}}}}}\0").as_bytes()).unwrap();
    }
}

/// By OpenSSL: what else there is here signs messages, not digests.
fn sign_digest(key: &KeyPair, digest: &[u8]) -> Vec<u8> {
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, key.serialize_pem()).unwrap();
    let mut child = Command::new("openssl")
        .args(["pkeyutl", "-sign", "-inkey"])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(digest).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn options(line: &str) -> Options {
    Options::read(line.split_whitespace().map(Into::into)).unwrap()
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// What forwards at a port that nobody has, which it comes back with. Another process may take that between our look at it and its.
async fn forwards(identity: &Identity, line: impl Fn(u16) -> String) -> (Forwards, u16) {
    let mut again = 20;
    loop {
        let port = free_port().await;
        match Forwards::open(&options(&line(port)), identity).await {
            Ok(forwards) => return (forwards, port),
            Err(why) => assert!(again > 0, "{why}"),
        }
        again -= 1;
    }
}

/// What a program on one device reads that says `hello` to a program on the other, which answers `welcome`.
fn talk(caller: &Identity, server: &Identity, caller_wants: &str, server_wants: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = program.local_addr().unwrap().port();
        let serve = |outside| format!("--serve {outside}={served} {server_wants} x");
        let (serving, outside) = forwards(server, serve).await;
        serving.start();
        let connect = |inside| format!("--connect {inside}=localhost:{outside} {caller_wants} x");
        let (connecting, inside) = forwards(caller, connect).await;
        connecting.start();
        let answering = tokio::task::spawn_local(async move {
            let (mut stream, _) = program.accept().await.unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
            stream.write_all(b"welcome").await.unwrap();
        });
        let mut stream = TcpStream::connect(("127.0.0.1", inside)).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut heard = String::new();
        // A connection that was refused behind ours may end ours roughly.
        let _ = stream.read_to_string(&mut heard).await;
        answering.abort();
        heard
    })
}

#[test]
fn port_of_a_program_is_open_at_both_loopback_addresses() {
    let identity = Catalog::new("acme").app("ab", "com.example.meter", 1, 4000, 9);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let connect = |inside| format!("--connect {inside}=localhost:1 {ANY} x");
        let (forwards, inside) = forwards(&identity, connect).await;
        for at in ["127.0.0.1", "::1"] {
            TcpStream::connect((at, inside)).await.unwrap();
        }
        drop(forwards);
    });
}

const ANY: &str = "--peer-group acme/meter/field";

#[test]
fn programs_on_two_devices_talk_when_each_is_whom_the_other_wants() {
    let catalog = Catalog::new("acme");
    let (meter, display) = (
        catalog.app("ab", "com.example.meter", 1, 4000, 9),
        catalog.app("cd", "com.example.display", 2, 4000, 9),
    );
    let wants = "--peer-device cd --peer-app com.example.display";
    assert_eq!(talk(&meter, &display, wants, "--peer-app com.example.meter"), "welcome");
    assert_eq!(talk(&meter, &display, ANY, ANY), "welcome");
    // Either may say no.
    assert_eq!(talk(&meter, &display, "--peer-app com.example.other", ANY), "");
    assert_eq!(talk(&meter, &display, ANY, "--peer-device ef"), "");
}

#[test]
fn device_of_another_catalog_or_with_a_certificate_that_is_over_or_revoked_is_refused() {
    let catalog = Catalog::new("acme");
    let good = catalog.app("ab", "com.example.meter", 1, 4000, 9);
    let other = Catalog::new("acme").app("cd", "com.example.display", 2, 4000, 8);
    let over = catalog.app("cd", "com.example.display", 3, 2025, 8);
    let revoked = catalog.app("cd", "com.example.display", 9, 4000, 8);
    for bad in [&other, &over, &revoked] {
        assert_eq!(talk(&good, bad, ANY, ANY), "");
        assert_eq!(talk(bad, &good, ANY, ANY), "");
    }
}
