//! The way in: every path with its method, who may ask, and what it does.
//!
//! A handler looks up who asks before it looks at what is there. What changes something does so in one write, with its
//! entry in the audit log.

mod access;
mod artefacts;
mod asking;
mod body;
mod deployments;
mod device;
mod escrow;
mod feeds;
mod fleet;
mod health;
mod oidc;
mod openapi;
mod orders;
mod owned;
mod people;
mod permits;
mod records;
mod repository;

pub use access::{Access, Caller};
pub use asking::{Asking, WAIT_S};
pub use device::Lifetime;
pub use health::inside;

use crate::artefacts::Artefacts;
use crate::ca::{Authority, CatalogIssuer, NewIssuer};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::nonces::Nonces;
use crate::oidc::Provider;
use crate::published::PublishedValues;
use crate::refusal::{Kind, Refusal};
use crate::store::{Store, fleet as fleet_store};
use crate::updates::waiting::Waiting;
use crate::verifier::Verifier;
use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use service_api::{Digest, Name};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Who is at the other end of the connection. The listener puts it beside each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where.
    pub address: IpAddr,
    /// SHA-256 of the client certificate whose key the peer proved to have, in hexadecimal.
    pub certificate: Option<String>,
}

/// Everything a request may need.
pub struct Service {
    /// The state.
    pub store: Store,
    /// Artefacts, if there is a store of them.
    pub artefacts: Option<Artefacts>,
    /// Who signs people in besides, if anybody does.
    pub oidc: Option<Provider>,
    /// The certificates.
    pub authority: Authority,
    /// Who understands TPMs.
    pub verifier: Box<dyn Verifier>,
    /// The time.
    pub clock: Clock,
    /// Nonces.
    pub nonces: Nonces,
    /// How often an address may ask for what needs no credentials.
    pub limits: Limits,
    /// How long certificates last.
    pub lifetime: Lifetime,
    /// How devices ask for updates.
    pub asking: Asking,
    /// Who waits for one.
    pub waiting: Arc<Waiting>,
    /// What releases measure.
    pub published: PublishedValues,
    /// Blobs of updates that were asked for.
    blobs: Mutex<HashMap<Digest, (Name, u64)>>,
    /// Issuing authorities that were opened: as many as catalogs, and a catalog's never changes.
    issuers: Mutex<HashMap<Name, Arc<CatalogIssuer>>>,
    /// What is counted.
    pub metrics: Metrics,
    /// When this process began, for what only counts seconds.
    pub began: Instant,
    /// The OpenAPI document.
    pub openapi: String,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl Service {
    /// Of its parts.
    pub fn new(
        store: Store,
        authority: Authority,
        verifier: Box<dyn Verifier>,
        clock: Clock,
        limits: Limits,
    ) -> Self {
        let nonces = Nonces::new(&authority.shared_secret("nonces"));
        let (metrics, began, openapi) = (Metrics::new(), Instant::now(), openapi::document());
        let lifetime = Lifetime::default();
        let (artefacts, oidc) = (None, None);
        let (asking, waiting) = (Asking::default(), Arc::default());
        let (published, issuers) = (PublishedValues::default(), Mutex::default());
        Self {
            store,
            artefacts,
            oidc,
            authority,
            verifier,
            clock,
            nonces,
            limits,
            lifetime,
            asking,
            waiting,
            published,
            blobs: Mutex::default(),
            issuers,
            metrics,
            began,
            openapi,
        }
    }

    /// Seconds since 1970.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// The same as the API has it.
    fn seconds(&self) -> u64 {
        u64::try_from(self.now()).unwrap_or(0)
    }

    /// A catalog's issuing authority, opened.
    async fn issuer(&self, catalog: &Name) -> Result<Arc<CatalogIssuer>, Refusal> {
        let opened = || self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(issuer) = opened().get(catalog) {
            return Ok(issuer.clone());
        }
        let kept = fleet_store::issuers(&mut *self.store.read().await?, Some(catalog)).await?;
        let (_, kept) = kept.into_iter().next().ok_or_else(|| Refusal::missing("such catalog"))?;
        let kept = NewIssuer { certificate: kept.certificate, sealed_key: kept.sealed_key };
        let issuer = Arc::new(self.authority.issuer(catalog, &kept)?);
        opened().insert(catalog.clone(), issuer.clone());
        Ok(issuer)
    }
}

/// A request without credentials that its address may make.
#[derive(Clone, Copy, Debug)]
pub struct Allowed;

impl FromRequestParts<Arc<Service>> for Allowed {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>();
        let address = peer.map(|peer| peer.address).ok_or_else(|| Refusal::unavailable("no peer"))?;
        let now_ms = u64::try_from(service.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if service.limits.allow(address, now_ms) {
            Ok(Self)
        } else {
            Err(Refusal::new(Kind::TooMany, "too many requests from this address"))
        }
    }
}

/// Every path.
pub fn router(service: Arc<Service>) -> Router {
    let paths = Router::new()
        .merge(device::paths())
        .merge(people::paths())
        .merge(fleet::paths())
        .merge(owned::paths())
        .merge(escrow::paths())
        .merge(permits::paths())
        .merge(orders::paths())
        .merge(oidc::paths())
        .merge(artefacts::paths())
        .merge(records::paths())
        .merge(repository::paths())
        .merge(asking::paths())
        .merge(deployments::paths())
        .merge(feeds::paths())
        .merge(health::paths())
        .merge(openapi::paths())
        .fallback(async || Refusal::missing("such path"))
        .method_not_allowed_fallback(async || Refusal::new(Kind::Method, "this path has other methods"));
    paths.layer(middleware::from_fn_with_state(service.clone(), counted)).with_state(service)
}

async fn counted(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let began = Instant::now();
    let response = next.run(request).await.into_response();
    let path = path.unwrap_or_else(|| "none".to_owned());
    service.metrics.request(&path, &method, response.status(), began.elapsed());
    response
}
