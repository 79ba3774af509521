//! A catalog's devices: claiming them, looking at them, letting them go.

use super::body::{Asked, Body, Created, Done, In, Json};
use super::{Access, Service};
use crate::patience::patiently;
use crate::refusal::Refusal;
use crate::secrets;
use crate::store::devices::{self, Act};
use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post, put};
use service_api::fleet::{Device, DeviceFilter, IssuedCertificate, NewClaim, Page, Placement, Transfer};
use service_api::people::Role;
use service_api::problem::Problem;
use service_api::records::Verdict;
use service_api::{DeviceId, Name};
use std::sync::Arc;

/// How long an owner's leave to take a device over is good for.
const TRANSFER_S: u32 = 7 * 86_400;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/catalogs/{catalog}/claims", post(claim))
        .route("/v1/catalogs/{catalog}/devices", get(list))
        .route("/v1/catalogs/{catalog}/devices/{device}", get(show))
        .route("/v1/catalogs/{catalog}/devices/{device}/claim", delete(release))
        .route("/v1/catalogs/{catalog}/devices/{device}/placement", put(place))
        .route("/v1/catalogs/{catalog}/devices/{device}/revocation", put(revoke).delete(reinstate))
        .route("/v1/catalogs/{catalog}/devices/{device}/transfer", post(offer).delete(cancel_offer))
        .route("/v1/catalogs/{catalog}/devices/{device}/attestation", get(attestation))
        .route("/v1/catalogs/{catalog}/devices/{device}/certificates", get(certificates))
}

/// Claims a device into the catalog
///
/// By the code that the device shows whoever has access to it, or by its owner's transfer token. Either is good once.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/claims", tag = "devices", security(("token" = [])),
    params(("catalog" = Name, Path)), request_body = NewClaim, responses((status = 201, body = Device), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn claim(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Body(claim): Body<NewClaim>,
) -> Result<Created<Device>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Contributor).await?.who();
    let (proof, now) = (secrets::digest_of(&claim.proof), service.now());
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            devices::claim(connection, &catalog, &claim, &proof, &who, now).await?;
            devices::show(connection, &catalog, &claim.device).await
        })
    });
    Ok(Created(write.await?))
}

/// The catalog's devices
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/devices", tag = "devices", security(("token" = [])),
    params(("catalog" = Name, Path), DeviceFilter), responses((status = 200, body = Page<Device>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Asked(filter): Asked<DeviceFilter>,
) -> Result<Json<Page<Device>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(devices::list(&mut *service.store.read().await?, &catalog, &filter).await?))
}

/// A device
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/devices/{device}", tag = "devices", security(("token" = [])),
    params(("catalog" = Name, Path), ("device" = DeviceId, Path)), responses((status = 200, body = Device), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Json<Device>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(devices::show(&mut *service.store.read().await?, &catalog, &device).await?))
}

async fn act(
    service: &Service,
    access: &Access,
    (catalog, device): (Name, DeviceId),
    needed: Role,
    act: Act,
) -> Result<Done, Refusal> {
    let who = access.with_role(service, &catalog, needed).await?.who();
    let now = service.now();
    patiently(|| {
        let (catalog, device, act, who) = (catalog.clone(), device.clone(), act.clone(), who.clone());
        service.store.write(move |connection| {
            Box::pin(async move { devices::act(connection, &catalog, &device, &act, &who, now).await })
        })
    })
    .await?;
    service.waiting.stir();
    Ok(Done)
}

/// Gives a device up
///
/// Its certificates are revoked. Whoever it shows its next code may claim it.
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/devices/{device}/claim", tag = "devices", security(("token" = [])),
    params(("catalog" = Name, Path), ("device" = DeviceId, Path)), responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn release(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, DeviceId)>,
) -> Result<Done, Refusal> {
    act(&service, &access, which, Role::Administrator, Act::Release).await
}

/// Puts a device into another group
///
/// Its certificates, which say where it belongs, are revoked; it gets others at its next attestation.
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/devices/{device}/placement", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)), request_body = Placement,
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn place(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, DeviceId)>,
    Body(place): Body<Placement>,
) -> Result<Done, Refusal> {
    act(&service, &access, which, Role::Contributor, Act::Move(place)).await
}

/// Takes a device's certificates away, and grants no more
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/devices/{device}/revocation", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, DeviceId)>,
) -> Result<Done, Refusal> {
    act(&service, &access, which, Role::Administrator, Act::Revoke).await
}

/// Grants a device certificates again
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/devices/{device}/revocation", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn reinstate(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, DeviceId)>,
) -> Result<Done, Refusal> {
    act(&service, &access, which, Role::Administrator, Act::Reinstate).await
}

/// Lets another catalog take a device over
///
/// The token is the proof of its claim. Until that is made, the device stays here, and the offer can be taken back.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/devices/{device}/transfer", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 201, body = Transfer), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn offer(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, DeviceId)>,
) -> Result<Created<Transfer>, Refusal> {
    let token = secrets::code()?;
    let offer = Act::Offer(secrets::digest_of(&token), service.now() + i64::from(TRANSFER_S));
    act(&service, &access, which, Role::Administrator, offer).await?;
    Ok(Created(Transfer { token, expires_s: TRANSFER_S }))
}

/// Takes such an offer back
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/devices/{device}/transfer", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel_offer(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, DeviceId)>,
) -> Result<Done, Refusal> {
    act(&service, &access, which, Role::Administrator, Act::CancelOffer).await
}

/// What was made of the device's last evidence
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/devices/{device}/attestation", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 200, body = Verdict), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn attestation(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Json<Verdict>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(devices::verdict(&mut *service.store.read().await?, &catalog, &device).await?))
}

/// The device's certificates, newest first
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/devices/{device}/certificates", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 200, body = Vec<IssuedCertificate>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn certificates(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Json<Vec<IssuedCertificate>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(devices::certificates(&mut *service.store.read().await?, &catalog, &device).await?))
}
