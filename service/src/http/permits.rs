//! Permits: whose developer may put apps onto which device. A device hears of its own at its next attestation.

use super::body::{Body, Created, Done, In, Json};
use super::{Access, Service};
use crate::ca::PermitError;
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use crate::store::permits;
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get};
use permit::text::LIFETIME_MAX_S;
use permit::{Developer, Terms};
use service_api::people::Role;
use service_api::permits::{NewPermit, Permit};
use service_api::problem::Problem;
use service_api::{DeviceId, Digest, Name, Text};
use std::sync::Arc;

/// Shorter ones would end before a device hears of them.
const LIFETIME_MIN_S: u64 = 60;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/catalogs/{catalog}/devices/{device}/permits", get(list).post(issue))
        .route("/v1/catalogs/{catalog}/devices/{device}/permits/{permit}", delete(end))
}

/// The device's permits, newest first
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/devices/{device}/permits", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 200, body = Vec<Permit>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Json<Vec<Permit>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(permits::list(&mut *service.store.read().await?, &catalog, &device).await?))
}

/// Lets a developer put apps onto a device
///
/// In place of the permit it had, which ends. It holds from the device's next attestation on, which a device that waits for updates
/// makes at once.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/devices/{device}/permits", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)), request_body = NewPermit,
    responses((status = 201, body = Permit), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn issue(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
    Body(new): Body<NewPermit>,
) -> Result<Created<Permit>, Refusal> {
    let caller = access.with_role(&service, &catalog, Role::Contributor).await?;
    let lifetime_s = u64::from(new.lifetime_s);
    if !(LIFETIME_MIN_S..=LIFETIME_MAX_S).contains(&lifetime_s) {
        let reason = format!("a permit lasts for {LIFETIME_MIN_S} s to {} days", LIFETIME_MAX_S / 86_400);
        return Err(Refusal::new(Kind::Malformed, reason));
    }
    let developer = Developer::of(new.certificate.as_slice());
    let developer = developer.map_err(|e| Refusal::new(Kind::Malformed, format!("certificate: {e}")))?;
    let now = service.now();
    let issued = permits::next(&mut *service.store.read().await?, &catalog, &device, now).await?;
    let id = secrets::hex(&secrets::random::<16>()?);
    let expires = issued + lifetime_s;
    let fingerprint = developer.fingerprint();
    let terms = Terms {
        catalog: catalog.to_string(),
        device: device.to_string(),
        id: id.clone(),
        issued_s: issued,
        expires_s: expires,
        developer,
    };
    let token = service.issuer(&catalog).await?.permit(&terms)?;
    let odd = || Refusal::unavailable("the permit could not be written");
    let permit = Permit {
        id: Name::try_from(id).map_err(|_| odd())?,
        developer: Digest::try_from(fingerprint).map_err(|_| odd())?,
        note: new.note,
        issuer: caller.subject()?,
        issued,
        expires,
        ended: None,
        permit: Text::try_from(token).map_err(|_| odd())?,
    };
    let kept = permit.clone();
    let write = service.store.write(move |connection| {
        Box::pin(async move { permits::add(connection, &catalog, &device, &kept, now).await })
    });
    write.await?;
    service.waiting.stir();
    Ok(Created(permit))
}

/// Ends a permit before its time
///
/// The device hears of it at its next attestation, which one that waits for updates makes at once; then it lets the developer in no more, and what he installed is removed.
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/devices/{device}/permits/{permit}", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path), ("permit" = Name, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn end(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device, permit)): In<(Name, DeviceId, Name)>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Contributor).await?.who();
    let now = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move { permits::revoke(connection, &catalog, &device, &permit, &who, now).await })
    });
    write.await?;
    service.waiting.stir();
    Ok(Done)
}

impl From<PermitError> for Refusal {
    fn from(error: PermitError) -> Self {
        match error {
            PermitError::Terms(why) => Self::new(Kind::Malformed, format!("the permit: {why}")),
            PermitError::Ca(error) => error.into(),
        }
    }
}
