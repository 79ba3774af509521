//! How many rounds of attestation a process does: `cargo run --profile service -p gabion-service --example rounds [DATABASE]`.
//!
//! Requests go to the handlers as they come from the listener, JSON and all, 64 at once; only TLS and sockets are left out. A
//! round asks for a nonce, checks the recorded evidence of a real boot, the certification and the request of one key, makes
//! a certificate and a signed verdict, and waits until all is on the disk. What it is held against is the signatures alone,
//! three checked and two made, in the same run.
//!
//! The recorded quote has its own nonce, so what looks at evidence is given that one; the service's own check of its nonces is
//! done too.

use anyhow::{Context as _, Result, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use evidence::Digest;
use evidence::packages::Package;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use rcgen::PublicKeyData as _;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};
use service::attest::{Makers, TpmVerifier};
use service::ca::AuthorityFile;
use service::clock::Clock;
use service::http::{Peer, Service, router};
use service::limits::{Limits, Rate};
use service::secrets;
use service::store::{Store, people};
use service::verifier::{Appraisal, Credential, Question, TpmKey, Verifier};
use service_api::Bytes;
use service_api::device::{CertificateSubject, Evidence, NewEnrolment, Pcr};
use service_api::fleet::NewRelease;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3_000;
const AT_ONCE: usize = 64;
/// Where a nonce goes.
const NONCE: &str = "the nonce";
const MESSAGE: &[u8] =
    b"what a request has to say, about as long as one of them really is, and signed by its key";

/// A key, and a signature by it to be checked.
struct Signed {
    key: EcdsaKeyPair,
    signature: Vec<u8>,
}

impl Signed {
    fn new() -> Result<Self> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let made = made.ok().context("a key")?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &random);
        let key = key.ok().context("a key")?;
        let signature = key.sign(&random, MESSAGE).ok().context("a signature")?.as_ref().to_vec();
        Ok(Self { key, signature })
    }

    fn check(&self) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.key.public_key().as_ref());
        key.verify(MESSAGE, &self.signature).is_ok()
    }

    fn sign(&self) -> bool {
        self.key.sign(&SystemRandom::new(), MESSAGE).is_ok()
    }
}

/// The real one, over the recorded evidence.
struct Recorded {
    real: TpmVerifier,
    evidence: Evidence,
    ak: Vec<u8>,
    signed: Arc<Signed>,
    key: Vec<u8>,
}

impl Verifier for Recorded {
    fn challenge(&self, new: &NewEnrolment, secret: &[u8; 32]) -> Result<Credential, Vec<String>> {
        let device = secrets::sha256(new.ek_public.as_slice()).parse().map_err(|_| Vec::new())?;
        Ok(Credential { device, blob: secret.to_vec(), encrypted_secret: Vec::new() })
    }

    fn check_release(&self, release: &NewRelease) -> Result<(), Vec<String>> {
        self.real.check_release(release)
    }

    fn appraise(&self, question: Question<'_>) -> Result<Appraisal, Vec<String>> {
        let question = Question { evidence: &self.evidence, ak_public: &self.ak, ..question };
        let mut appraisal = self.real.appraise(question)?;
        // The certification and the request, which were not recorded.
        if !self.signed.check() || !self.signed.check() {
            return Err(vec!["a signature does not hold".to_owned()]);
        }
        appraisal.keys = vec![TpmKey { subject: CertificateSubject::Device, public_key: self.key.clone() }];
        Ok(appraisal)
    }
}

type Handlers = TowerToHyperService<axum::Router>;

async fn ask(handlers: &Handlers, path: &str, token: Option<&str>, body: &Value) -> Result<Value> {
    Ok(serde_json::from_slice(&send(handlers, path, token, body.to_string()).await?)?)
}

async fn send(handlers: &Handlers, path: &str, token: Option<&str>, body: String) -> Result<Vec<u8>> {
    let mut request = Request::post(path).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::from(body))?;
    request.extensions_mut().insert(Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: None });
    let answer = handlers.call(request).await?;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await?;
    ensure!(
        matches!(status, StatusCode::OK | StatusCode::CREATED),
        "{path}: {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body.to_vec())
}

/// The device's part is cheap here, so that what is measured is the service's: the evidence is text that waits for its nonce.
async fn round(handlers: &Handlers, device: &str, evidence: &str) -> Result<()> {
    let nonce = ask(handlers, "/device/v1/nonces", None, &json!({"device": device})).await?;
    let evidence = evidence.replacen(NONCE, nonce["nonce"].as_str().context("a nonce")?, 1);
    let granted = send(handlers, "/device/v1/attestations", None, evidence).await?;
    ensure!(granted.windows(7).any(|part| part == b"\"chain\""), "{}", String::from_utf8_lossy(&granted));
    Ok(())
}

async fn run(database: &str) -> Result<()> {
    let authority =
        AuthorityFile::make(&["localhost".to_owned()], "passphrase", NonZeroU32::MIN, Clock::System.now())?;
    let (store, _) = Store::migrate(database).await?;
    let (code, operator) = (secrets::spoken_code()?, "operator".parse()?);
    let (digest, ends) = (secrets::digest_of(&code), Clock::System.now() + 3600);
    let kept = store.write(move |connection| {
        Box::pin(async move { people::invite(connection, &digest, &operator, None, ends).await })
    });
    kept.await.map_err(|refusal| refusal.problem())?;
    let signed = Arc::new(Signed::new()?);
    let recorded = recorded()?;
    let verifier = Recorded {
        real: TpmVerifier::new(Makers::Anybody, Clock::System),
        evidence: recorded.clone(),
        ak: include_bytes!("../../attestd/evidence/tests/data/ak.pub").get(2..).context("a key")?.to_vec(),
        signed: signed.clone(),
        key: rcgen::KeyPair::generate()?.subject_public_key_info(),
    };
    let limits = Limits::new(Rate { burst: 1_000_000, per_second: 1_000_000 });
    let service =
        Service::new(store, authority.open("passphrase")?, Box::new(verifier), Clock::System, limits);
    let handlers = TowerToHyperService::new(router(Arc::new(service)));
    let device = claimed(&handlers, code.as_str()).await?;
    let mut evidence = serde_json::to_value(&recorded)?;
    evidence["device"] = json!(device);
    evidence["nonce"] = json!(NONCE);
    let evidence = evidence.to_string();
    round(&handlers, &device, &evidence).await.context("the first round")?;

    let (began, cpu) = (Instant::now(), used());
    let each = |_| {
        let (handlers, device, evidence) = (handlers.clone(), device.clone(), evidence.clone());
        tokio::spawn(async move {
            for _ in 0..ROUNDS / AT_ONCE {
                round(&handlers, &device, &evidence).await?;
            }
            anyhow::Ok(())
        })
    };
    for task in (0..AT_ONCE).map(each).collect::<Vec<_>>() {
        task.await??;
    }
    let rounds = ROUNDS / AT_ONCE * AT_ONCE;
    let (took, cpu) = (began.elapsed(), used() - cpu);
    let began = used();
    for _ in 0..rounds {
        ensure!((0..3).all(|_| signed.check()) && (0..2).all(|_| signed.sign()), "a signature");
    }
    let alone = used() - began;
    let each = |all: Duration| all.as_secs_f64() * 1e6 / rounds as f64;
    println!("{rounds} rounds in {took:.2?}: {:.0} rounds/s", rounds as f64 / took.as_secs_f64());
    println!(
        "processor time a round: {:.0} us, its signatures alone: {:.0} us, ratio {:.2}",
        each(cpu),
        each(alone),
        each(cpu) / each(alone)
    );
    Ok(())
}

/// Makes a catalog with the recorded release, and a device in it.
async fn claimed(handlers: &Handlers, code: &str) -> Result<String> {
    let session = ask(handlers, "/v1/sessions", None, &json!({"code": code})).await?;
    let token = session["token"].as_str().context("a token")?;
    let make = async |path: &str, body: Value| ask(handlers, path, Some(token), &body).await;
    make("/v1/catalogs", json!({"name": "one"})).await?;
    make("/v1/catalogs/one/products", json!({"name": "pump"})).await?;
    make("/v1/catalogs/one/products/pump/groups", json!({"name": "field", "policy": {"debug": true}}))
        .await?;
    let values: Value =
        serde_json::from_str(include_str!("../../attestd/evidence/tests/data/reference.json"))?;
    make("/v1/catalogs/one/releases", json!({"name": "recorded", "reference_values": values})).await?;
    let keys = json!({"ek_public": "AAAA", "ak_public": "AAAA"});
    let challenge = ask(handlers, "/device/v1/enrolments", None, &keys).await?;
    let path = format!("/device/v1/enrolments/{}", challenge["enrolment"].as_str().context("a code")?);
    let enrolled = ask(handlers, &path, None, &json!({"secret": challenge["credential_blob"]})).await?;
    let claim = json!({"device": enrolled["device"], "proof": enrolled["claim_code"], "product": "pump", "group": "field"});
    make("/v1/catalogs/one/claims", claim).await?;
    Ok(enrolled["device"].as_str().context("an id")?.to_owned())
}

/// Of the one package that was measured in that boot.
fn package_log() -> String {
    let (manifest, root) = (Digest::of(b"manifest"), Some(Digest::of(b"root")));
    let pump = Package { app: "org.example.pump".to_owned(), manifest, root, version: "1.4.0".to_owned() };
    pump.record(0).unwrap_or_default() + "\n"
}

fn recorded() -> Result<Evidence> {
    let text = include_str!("../../attestd/evidence/tests/data/pcrs");
    let value = |line: &str| {
        let (number, value) = line.split_once(' ').context("a PCR")?;
        let pcr = Pcr::new(number.parse()?).context("a PCR")?;
        Ok((pcr, secrets::unhex(&value.to_ascii_lowercase()).and_then(Bytes::new).context("a value")?))
    };
    let pcrs: BTreeMap<Pcr, Bytes<32>> = text.lines().map(value).collect::<Result<_>>()?;
    let long = "recorded evidence";
    Ok(Evidence {
        device: "0".repeat(64).parse()?,
        nonce: Bytes::new([0xa5; 32]).context(long)?,
        quote: Bytes::new(*include_bytes!("../../attestd/evidence/tests/data/quote")).context(long)?,
        signature: Bytes::new(*include_bytes!("../../attestd/evidence/tests/data/signature"))
            .context(long)?,
        pcrs,
        boot_log: Bytes::new(*include_bytes!("../../attestd/evidence/tests/data/boot.log")).context(long)?,
        package_log: Bytes::new(package_log().as_bytes()).context(long)?,
        requests: service_api::Few::default(),
    })
}

/// Processor time of this process.
fn used() -> Duration {
    let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    clock.map(Duration::from).unwrap_or_default()
}

fn main() -> Result<()> {
    let folder = tempfile::Builder::new().tempdir_in(".")?;
    let file = format!("sqlite://{}?mode=rwc", folder.path().join("state.sqlite").display());
    let database = std::env::args().nth(1).unwrap_or(file);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(&database))
}
