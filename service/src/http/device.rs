//! What devices ask: `/device/v1`.

use super::body::{Asked, Body, Created, Json};
use super::{Access, Allowed, Service};
use crate::ca::{self, CatalogIssuer, Leaf, LeafRequest};
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use crate::store::{devices, escrow, permits, reports};
use crate::verifier::{Appraisal, Question};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service_api::device::{
    Activation, AuthorityQuery, Certificate, Challenge, Enrolled, Evidence, Granted, NewEnrolment, Nonce,
    NonceRequest, ReportBatch, Taken,
};
use service_api::problem::Problem;
use service_api::records::Verdict;
use service_api::{Bytes, Code, Few};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Evidence with two logs and 65 requests.
const EVIDENCE_MAX: usize = 1 << 20;
/// A batch of a thousand reports.
const REPORTS_MAX: usize = 1 << 20;
/// Seconds to open a credential: some TPMs take ten for one.
const ENROLMENT_S: i64 = 300;

/// How long certificates last, and when devices come for the next ones, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From now until the end.
    pub certificate_s: u32,
    /// From now until a device comes again: early enough for several tries before its certificate ends.
    pub renew_after_s: u32,
}

impl Default for Lifetime {
    /// A day, and 20 hours.
    fn default() -> Self {
        Self { certificate_s: 86_400, renew_after_s: 72_000 }
    }
}

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/device/v1/enrolments", post(enrol))
        .route("/device/v1/enrolments/{enrolment}", post(activate))
        .route("/device/v1/nonces", post(nonce))
        .route("/device/v1/attestations", post(attest))
        .route("/device/v1/reports", post(report))
        .route("/device/v1/crl", get(crl))
        .route("/device/v1/ca", get(authority))
        .route("/device/v1/verdict-key", get(verdict_key))
}

/// Begins an enrolment
///
/// The answer can be opened by the TPM with both keys only.
#[utoipa::path(post, path = "/device/v1/enrolments", tag = "device", request_body = NewEnrolment,
    responses((status = 201, body = Challenge), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn enrol(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Body(new): Body<NewEnrolment>,
) -> Result<Created<Challenge>, Refusal> {
    let secret: [u8; 32] = secrets::random()?;
    let untrusted = |reasons| Refusal::with_reasons(Kind::Untrusted, reasons);
    let credential = service.verifier.challenge(&new, &secret).map_err(untrusted)?;
    let enrolment = secrets::code()?;
    let (id, digest) = (secrets::digest_of(&enrolment), secrets::sha256(&secret));
    let (device, expires) = (credential.device, service.now() + ENROLMENT_S);
    let write = service.store.write(move |connection| {
        Box::pin(
            async move { devices::open_enrolment(connection, &id, &device, &new, &digest, expires).await },
        )
    });
    write.await?;
    let long = || Refusal::unavailable("the credential is too long");
    Ok(Created(Challenge {
        enrolment,
        credential_blob: Bytes::new(credential.blob).ok_or_else(long)?,
        encrypted_secret: Bytes::new(credential.encrypted_secret).ok_or_else(long)?,
    }))
}

/// Finishes an enrolment with the opened secret
///
/// One try; then it begins again. While nobody owns the device, the answer has the code to claim it with.
#[utoipa::path(post, path = "/device/v1/enrolments/{enrolment}", tag = "device", request_body = Activation,
    params(("enrolment" = Code, Path)),
    responses((status = 200, body = Enrolled), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn activate(
    State(service): State<Arc<Service>>,
    _: Allowed,
    super::body::In(enrolment): super::body::In<Code>,
    Body(activation): Body<Activation>,
) -> Result<Json<Enrolled>, Refusal> {
    let (id, secret) = (secrets::digest_of(&enrolment), secrets::sha256(activation.secret.as_slice()));
    let claim_code = secrets::spoken_code()?;
    let (digest, now) = (secrets::digest_of(&claim_code), service.now());
    let write = service.store.write(move |connection| {
        Box::pin(async move { devices::finish_enrolment(connection, &id, &secret, &digest, now).await })
    });
    let wrong = || Refusal::new(Kind::Untrusted, "no such enrolment, or not its secret, or too late");
    let (device, free) = write.await?.ok_or_else(wrong)?;
    Ok(Json(Enrolled { device, claim_code: free.then_some(claim_code) }))
}

/// A nonce for the next quote
#[utoipa::path(post, path = "/device/v1/nonces", tag = "device", request_body = NonceRequest,
    responses((status = 201, body = Nonce), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn nonce(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Body(request): Body<NonceRequest>,
) -> Result<Created<Nonce>, Refusal> {
    let nonce = service.nonces.make(&request.device, service.now())?;
    let nonce = Bytes::new(nonce).ok_or_else(|| Refusal::unavailable("the nonce is too long"))?;
    Ok(Created(Nonce { nonce, expires_s: crate::nonces::LIFETIME_S }))
}

/// Evidence for certificates
#[utoipa::path(post, path = "/device/v1/attestations", tag = "device", request_body = Evidence,
    responses((status = 200, body = Granted), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn attest(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Body(evidence): Body<Evidence, EVIDENCE_MAX>,
) -> Result<Json<Granted>, Refusal> {
    let outcome = round(&service, evidence).await;
    match &outcome {
        Ok(granted) => service.metrics.round("passed", granted.certificates.len()),
        Err(_) => service.metrics.round("refused", 0),
    }
    outcome.map(Json)
}

async fn round(service: &Service, evidence: Evidence) -> Result<Granted, Refusal> {
    let now = service.now();
    let untrusted = |reason: &str| Refusal::new(Kind::Untrusted, reason);
    let stale = || untrusted("the nonce was not given to this device, or it ended");
    let ends = service.nonces.check(evidence.nonce.as_slice(), &evidence.device, now).ok_or_else(stale)?;
    let subjects: BTreeSet<_> = evidence.requests.iter().map(|request| &request.subject).collect();
    if subjects.len() != evidence.requests.len() {
        return Err(Refusal::new(Kind::Malformed, "two requests for one subject"));
    }
    let mut read = service.store.read().await?;
    let known = devices::known(&mut read, &evidence.device).await?;
    let releases = service.published.of(&mut read, &known.catalog, &known.releases).await?;
    let escrow = known.policy.escrow && escrow::wanted(&mut read, &evidence.device).await?;
    let permit = permits::in_force(&mut read, &known.catalog, &evidence.device, now).await?;
    drop(read);
    let policy_name = format!("{}/{}/{}", known.catalog, known.place.product, known.place.group);
    let question = Question {
        evidence: &evidence,
        ak_public: &known.ak_public,
        policy: &known.policy,
        policy_name: &policy_name,
        releases: &releases,
        last_clock: known.clock.as_ref(),
        at: service.seconds(),
        signer: service.authority.verdict_signer(),
    };
    let refused = |reasons| Refusal::with_reasons(Kind::Untrusted, reasons);
    let appraisal = service.verifier.appraise(question).map_err(refused)?;
    let issuer = service.issuer(&known.catalog).await?;
    let Lifetime { certificate_s, renew_after_s } = service.lifetime;
    let leaves = issue(&issuer, &evidence, &known, &appraisal, (now, certificate_s))?;
    let ear = appraisal.ear;
    let (passed, clock) = (appraisal.passed, appraisal.clock);
    let reasons = appraisal.reasons.clone();
    let verdict = Verdict {
        at: u64::try_from(now).unwrap_or(0),
        passed,
        reasons: appraisal.reasons,
        release: appraisal.release,
        measurements: appraisal.measurements,
        ear: Some(ear.clone()),
    };
    let issued = |(request, leaf): (&String, &Leaf)| devices::Issued {
        serial: leaf.serial.clone(),
        subject: request.clone(),
        sha256: leaf.sha256.clone(),
        not_before: leaf.not_before,
        not_after: leaf.not_after,
    };
    let names: Vec<String> = appraisal.keys.iter().map(|key| key.subject.as_str().to_owned()).collect();
    let noted = devices::Round {
        device: evidence.device.clone(),
        ak_public: known.ak_public.clone(),
        catalog: known.catalog.clone(),
        nonce: (evidence.nonce.encode(), ends),
        verdict,
        clock,
        certificates: names.iter().zip(&leaves).map(issued).collect(),
    };
    let write = service
        .store
        .write(move |connection| Box::pin(async move { devices::note_round(connection, &noted).await }));
    write.await?;
    if !passed {
        return Err(refused(reasons));
    }
    let certificates = appraisal.keys.into_iter().zip(leaves).map(|(key, leaf)| {
        let chain = [leaf.certificate, issuer.certificate().to_vec()].into_iter().map(Bytes::new);
        let chain = chain.collect::<Option<Vec<_>>>().and_then(Few::new);
        let chain = chain.ok_or_else(|| Refusal::unavailable("a certificate is too long"))?;
        Ok(Certificate { subject: key.subject, chain })
    });
    let certificates = certificates.collect::<Result<_, Refusal>>()?;
    Ok(Granted { verdict: ear, certificates, renew_after_s, lifetime_s: certificate_s, escrow, permit })
}

fn issue(
    issuer: &CatalogIssuer,
    evidence: &Evidence,
    known: &devices::Known,
    appraisal: &Appraisal,
    (now, lifetime_s): (i64, u32),
) -> Result<Vec<Leaf>, Refusal> {
    if !appraisal.passed {
        return Ok(Vec::new());
    }
    let leaf = |key: &crate::verifier::TpmKey| {
        let request = LeafRequest {
            device: &evidence.device,
            subject: &key.subject,
            catalog: &known.catalog,
            place: &known.place,
            public_key: &key.public_key,
        };
        Ok(issuer.leaf(&request, now, i64::from(lifetime_s))?)
    };
    appraisal.keys.iter().map(leaf).collect()
}

/// Error reports
///
/// By the device's certificate. Sent again under the same number, they are not counted again.
#[utoipa::path(post, path = "/device/v1/reports", tag = "device", request_body = ReportBatch,
    responses((status = 200, body = Taken), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn report(
    State(service): State<Arc<Service>>,
    access: Access,
    Body(batch): Body<ReportBatch, REPORTS_MAX>,
) -> Result<Json<Taken>, Refusal> {
    let (device, catalog, place) = access.device(&service).await?;
    let number = batch.batch;
    let content = serde_json::to_vec(&batch.reports).map_err(|_| Refusal::unavailable("reports"))?;
    let digest = secrets::sha256(&content);
    let reports = batch.reports.into_vec();
    let (count, now) = (reports.len(), service.now());
    let batch = reports::Batch { device, catalog, place, batch: number, digest, reports };
    let write = service
        .store
        .write(move |connection| Box::pin(async move { reports::take(connection, &batch, now).await }));
    write.await?;
    service.metrics.reports(count);
    Ok(Json(Taken { taken: number }))
}

/// What a catalog's authority revoked (DER)
#[utoipa::path(get, path = "/device/v1/crl", tag = "device", params(AuthorityQuery),
    responses((status = 200, body = Vec<u8>, content_type = "application/pkix-crl"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn crl(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Asked(query): Asked<AuthorityQuery>,
) -> Result<Response, Refusal> {
    let catalog = query.catalog.ok_or_else(|| Refusal::new(Kind::Malformed, "which catalog?"))?;
    let issuer = service.issuer(&catalog).await?;
    let now = service.now();
    let revoked = devices::revoked(&mut *service.store.read().await?, &catalog, now).await?;
    let list = issuer.revocation_list(&revoked, now)?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], list).into_response())
}

/// Whom to trust (PEM): for a catalog's devices and nobody else's its authority, as a root of its own; or the root of all
#[utoipa::path(get, path = "/device/v1/ca", tag = "device", params(AuthorityQuery),
    responses((status = 200, body = String, content_type = "application/x-pem-file"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn authority(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Asked(query): Asked<AuthorityQuery>,
) -> Result<Response, Refusal> {
    let text = match query.catalog {
        Some(catalog) => ca::pem(&service.issuer(&catalog).await?.anchor(&catalog, service.now())?),
        None => ca::pem(service.authority.root()),
    };
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], text).into_response())
}

/// The certificate of the key that signs verdicts, by the root (PEM); its SHA-256 is their `kid`
#[utoipa::path(get, path = "/device/v1/verdict-key", tag = "device",
    responses((status = 200, body = String, content_type = "application/x-pem-file"),
    (status = 429, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn verdict_key(State(service): State<Arc<Service>>, _: Allowed) -> Response {
    let text = ca::pem(service.authority.verdicts_certificate());
    ([(header::CONTENT_TYPE, "application/x-pem-file")], text).into_response()
}
