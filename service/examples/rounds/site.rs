//! A service in this process with a catalog, a release, and devices that are not there.
//!
//! Requests go to the handlers as they come from the listener, JSON and all; only TLS and sockets are left out. The device's
//! part is cheap, so that what is measured is the service's: the evidence is text that waits for its nonce.

use crate::recorded::{Recorded, Signed, recorded};
use anyhow::{Context as _, Result, ensure};
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use service::artefacts::Artefacts;
use service::ca::{Authority, AuthorityFile};
use service::clock::Clock;
use service::http::{Peer, Service, router};
use service::limits::{Limits, Rate};
use service::secrets;
use service::store::{Store, people};
use service_api::{Bytes, Code};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// Where a nonce goes, and where the device's id.
const NONCE: &str = "the nonce";
const DEVICE: &str = "the device";
pub(crate) const PASSPHRASE: &str = "passphrase";

/// The service's handlers.
#[derive(Clone)]
pub(crate) struct Site {
    handlers: TowerToHyperService<axum::Router>,
    pub(crate) router: axum::Router,
    pub(crate) service: Arc<Service>,
    pub(crate) signed: Arc<Signed>,
    /// What is before, between and behind the device and the nonce.
    evidence: Arc<[String; 3]>,
}

pub(crate) fn authority() -> Result<AuthorityFile> {
    Ok(AuthorityFile::make(&["localhost".to_owned()], PASSPHRASE, NonZeroU32::MIN, Clock::System.now())?)
}

impl Site {
    /// Of what is in `database`, whose tables are there.
    pub(crate) async fn open(database: &str, authority: Authority, clock: Clock) -> Result<Self> {
        let signed = Arc::new(Signed::new()?);
        let limits = Limits::new(Rate { burst: 1_000_000, per_second: 1_000_000 });
        let verifier = Box::new(Recorded::new(signed.clone())?);
        let service = Service::new(Store::open(database).await?, authority, verifier, clock, limits);
        let service = Arc::new(service);
        let router = router(service.clone());
        let mut evidence = serde_json::to_value(recorded()?)?;
        evidence["device"] = json!(DEVICE);
        evidence["nonce"] = json!(NONCE);
        let handlers = TowerToHyperService::new(router.clone());
        let text = evidence.to_string();
        let (before, rest) = text.split_once(DEVICE).context("a place for the device")?;
        let (between, behind) = rest.split_once(NONCE).context("a place for the nonce")?;
        let evidence = Arc::new([before, between, behind].map(str::to_owned));
        Ok(Self { handlers, router, service, signed, evidence })
    }

    /// The same with a store of artefacts; before anybody has it.
    pub(crate) fn with_artefacts(&mut self, artefacts: Artefacts) -> Result<()> {
        // The handlers hold it too, and are made anew.
        self.handlers = TowerToHyperService::new(axum::Router::new());
        self.router = axum::Router::new();
        let service = Arc::get_mut(&mut self.service).context("the service is somebody's")?;
        service.artefacts = Some(artefacts);
        self.router = router(self.service.clone());
        self.handlers = TowerToHyperService::new(self.router.clone());
        Ok(())
    }

    /// The evidence of a device over a nonce.
    pub(crate) fn evidence(&self, device: &str, nonce: &Value) -> Result<String> {
        let nonce = nonce["nonce"].as_str().context("a nonce")?;
        let [before, between, behind] = &*self.evidence;
        Ok([before, device, between, nonce, behind].concat())
    }

    /// A device asks for a nonce and shows evidence, and is granted a certificate.
    pub(crate) async fn round(&self, device: &str) -> Result<()> {
        let nonce = self.ask("/device/v1/nonces", None, &json!({"device": device})).await?;
        let granted = self.send("/device/v1/attestations", None, self.evidence(device, &nonce)?).await?;
        // Refused is another status, and another body. What is granted ends with when to come again.
        let end = granted.len().saturating_sub(200);
        let end = granted.get(end..).unwrap_or_default();
        ensure!(end.windows(11).any(|part| part == b"renew_after"), "{}", String::from_utf8_lossy(&granted));
        Ok(())
    }

    async fn ask(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Value> {
        Ok(serde_json::from_slice(&self.send(path, token, body.to_string()).await?)?)
    }

    async fn send(&self, path: &str, token: Option<&str>, body: String) -> Result<Vec<u8>> {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(Body::from(body))?;
        let peer = Peer { address: IpAddr::V4(Ipv4Addr::LOCALHOST), certificate: None };
        request.extensions_mut().insert(peer);
        let answer = self.handlers.call(request).await?;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await?;
        let done = matches!(status, StatusCode::OK | StatusCode::CREATED);
        ensure!(done, "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body.to_vec())
    }

    /// Makes a catalog with the recorded release. Comes back with the token of who administers it.
    pub(crate) async fn catalog(&self) -> Result<String> {
        let (code, operator) = (secrets::spoken_code()?, "operator".parse()?);
        let (digest, ends) = (secrets::digest_of(&code), self.service.now() + 3600);
        let kept = self.service.store.write(move |connection| {
            Box::pin(async move { people::invite(connection, &digest, &operator, None, ends).await })
        });
        kept.await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        let session = self.ask("/v1/sessions", None, &json!({"code": Code::as_str(&code)})).await?;
        let token = session["token"].as_str().context("a token")?.to_owned();
        let make = async |path: &str, body: Value| self.ask(path, Some(&token), &body).await;
        make("/v1/catalogs", json!({"name": "one"})).await?;
        make("/v1/catalogs/one/products", json!({"name": "pump"})).await?;
        let group = json!({"name": "field", "policy": {"debug": true}});
        make("/v1/catalogs/one/products/pump/groups", group).await?;
        let values: Value =
            serde_json::from_str(include_str!("../../../attestd/evidence/tests/data/reference.json"))?;
        make("/v1/catalogs/one/releases", json!({"name": "recorded", "reference_values": values})).await?;
        Ok(token)
    }

    /// Enrols a device and claims it into that catalog. Its id.
    pub(crate) async fn claimed(&self, token: &str, number: usize) -> Result<String> {
        let key = Bytes::<64>::new(number.to_be_bytes()).context("a key")?;
        let keys = json!({"ek_public": key, "ak_public": key});
        let challenge = self.ask("/device/v1/enrolments", None, &keys).await?;
        let path = format!("/device/v1/enrolments/{}", challenge["enrolment"].as_str().context("a code")?);
        let enrolled = self.ask(&path, None, &json!({"secret": challenge["credential_blob"]})).await?;
        let (device, proof) = (&enrolled["device"], &enrolled["claim_code"]);
        let claim = json!({"device": device, "proof": proof, "product": "pump", "group": "field"});
        self.ask("/v1/catalogs/one/claims", Some(token), &claim).await?;
        Ok(device.as_str().context("an id")?.to_owned())
    }
}

/// Processor time of this process.
pub(crate) fn used() -> Duration {
    let clock = nix::time::clock_gettime(nix::time::ClockId::CLOCK_PROCESS_CPUTIME_ID);
    clock.map(Duration::from).unwrap_or_default()
}

/// Does rounds, one after another for each of the devices, all devices at once.
pub(crate) async fn rounds(site: &Site, devices: &[String], each: usize) -> Result<()> {
    let all = |device: &String| {
        let (site, device) = (site.clone(), device.clone());
        tokio::spawn(async move {
            for _ in 0..each {
                site.round(&device).await?;
            }
            anyhow::Ok(())
        })
    };
    for task in devices.iter().map(all).collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}
