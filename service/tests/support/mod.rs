//! A service on loopback with real TLS, on either database, and a client that speaks to it byte by byte.
//!
//! The verifier is a stand-in: evidence holds if its quote is the SHA-256 of attestation key and nonce, and passes if its
//! boot log says so. What a TPM says is tested beside the real one.

pub(crate) mod actors;
pub(crate) mod client;
pub(crate) mod postgres;
pub(crate) mod releases;

use anyhow::{Context as _, Result};
use client::Client;
use evidence::tpm::Clock;
use service::artefacts::Artefacts;
use service::ca::{AuthorityFile, pem};
use service::clock::Clock as Time;
use service::http::Service;
use service::limits::{Limits, Rate};
use service::outgoing::Outgoing;
use service::run::{Own, Running};
use service::secrets;
use service::store::{Store, people};
use service::verifier::{Appraisal, Credential, Question, TpmKey, Verifier};
use service_api::device::NewEnrolment;
use service_api::fleet::NewRelease;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// When every test begins.
pub(crate) const BEGIN: i64 = 1_795_000_000;
pub(crate) const PASSPHRASE: &str = "a passphrase of tests";

/// Stands in for whoever understands TPMs.
pub(crate) struct StandIn;

impl Verifier for StandIn {
    fn challenge(&self, new: &NewEnrolment, secret: &[u8; 32]) -> Result<Credential, Vec<String>> {
        let device =
            secrets::sha256(new.ek_public.as_slice()).parse().map_err(|_| vec!["no id".to_owned()])?;
        Ok(Credential { device, blob: secret.to_vec(), encrypted_secret: Vec::new() })
    }

    fn check_release(&self, release: &NewRelease) -> Result<(), Vec<String>> {
        let known = ["values", "root_hash"].iter().any(|key| release.reference_values.contains_key(*key));
        known.then_some(()).ok_or_else(|| vec!["no values".to_owned()])
    }

    fn appraise(&self, question: Question<'_>) -> Result<Appraisal, Vec<String>> {
        let evidence = question.evidence;
        let said = secrets::sha256(&[question.ak_public, evidence.nonce.as_slice()].concat());
        if evidence.quote.as_slice() != said.as_bytes() {
            return Err(vec!["the quote is not by the device's key over this nonce".to_owned()]);
        }
        // Resets and restarts, a byte each: what the quote would have.
        let counts = evidence.signature.as_slice().first_chunk().map_or((0, 0), |[a, b]| (*a, *b));
        let clock = Clock { clock_ms: 1, resets: counts.0.into(), restarts: counts.1.into(), safe: true };
        let before = question.last_clock.map_or((0, 0), |last| (last.resets, last.restarts));
        let back = (clock.resets, clock.restarts) < before;
        let passed = evidence.boot_log.as_slice() == b"good" && !back;
        let key = |request: &service_api::device::CertificateRequest| TpmKey {
            subject: request.subject.clone(),
            public_key: request.key_public.as_slice().to_vec(),
        };
        Ok(Appraisal {
            passed,
            reasons: if passed { Vec::new() } else { vec!["the boot log is not good".to_owned()] },
            clock,
            release: None,
            measurements: Vec::new(),
            keys: if passed { evidence.requests.iter().map(key).collect() } else { Vec::new() },
            ear: "a verdict".to_owned(),
        })
    }
}

/// A running service.
pub(crate) struct Site {
    pub(crate) running: Running,
    pub(crate) clock: Arc<AtomicI64>,
    /// When it was started.
    pub(crate) began: i64,
    pub(crate) root: Vec<u8>,
    pub(crate) database: String,
    pub(crate) file: AuthorityFile,
    /// The operator's one-time code.
    pub(crate) code: String,
    _artefacts: tempfile::TempDir,
}

impl Site {
    /// Of a new state in `database`.
    pub(crate) async fn start(database: &str) -> Result<Self> {
        Self::start_at(database, BEGIN).await
    }

    /// The same, at a time of its own.
    pub(crate) async fn start_at(database: &str, now: i64) -> Result<Self> {
        let file = AuthorityFile::make(&["localhost".to_owned()], PASSPHRASE, NonZeroU32::MIN, now)?;
        let (store, from) = Store::migrate(database).await?;
        assert_eq!(from, 0, "the database is new");
        store.close().await;
        Self::serve(database, file, now, generous()).await
    }

    /// Of what is there.
    pub(crate) async fn serve(database: &str, file: AuthorityFile, now: i64, limits: Limits) -> Result<Self> {
        let store = Store::open(database).await?;
        let code = invited(&store, now).await?;
        let authority = file.open(PASSPHRASE)?;
        let root = authority.root().to_vec();
        let clock = Arc::new(AtomicI64::new(now));
        let folder = tempfile::tempdir()?;
        let artefacts = folder.path().to_str().context("a path")?;
        let artefacts = Artefacts::open(artefacts, [], &Outgoing::new(b"")?)?;
        let mut service = Service::new(store, authority, Box::new(StandIn), Time::Set(clock.clone()), limits);
        service.artefacts = Some(artefacts);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let own = Own::Made(file.names.clone());
        let running = Running::start(service, own, loopback, Some(loopback)).await?;
        let database = database.to_owned();
        Ok(Self { running, clock, began: now, root, database, file, code, _artefacts: folder })
    }

    /// A client without credentials.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::new(self.running.address, &self.root, None)?.at(self.began)
    }

    /// Later.
    pub(crate) fn wait(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn root_pem(&self) -> String {
        pem(&self.root)
    }
}

async fn invited(store: &Store, now: i64) -> Result<String> {
    let (code, subject) = (secrets::spoken_code()?, "operator".parse()?);
    let digest = secrets::digest_of(&code);
    let kept = store.write(move |connection| {
        Box::pin(async move { people::invite(connection, &digest, &subject, None, now + 86_400).await })
    });
    kept.await.map_err(|refusal| refusal.problem())?;
    Ok(code.as_str().to_owned())
}

/// So many that no test meets them.
pub(crate) fn generous() -> Limits {
    Limits::new(Rate { burst: 1_000_000, per_second: 1_000_000 })
}

/// SQLite in a folder.
pub(crate) fn sqlite(folder: &std::path::Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("state.sqlite").display())
}

/// A runtime of two threads.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("a runtime")
}
