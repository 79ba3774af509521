//! Recovery keys of devices' data disks: a device hands its own over, an administrator reads it.
//!
//! The key is sealed before it gets to the database and opened only for whoever may read it, so neither the database nor a
//! backup opens a disk without the authority's file and its passphrase. It is the service's key and not one of the
//! administrators': those come and go, and a disk must open although the one who was there is not. The price is that who
//! runs the service can read what administrators can.

use super::body::{Body, Done, In, Json};
use super::{Access, Service};
use crate::refusal::{Kind, Refusal};
use crate::store::{devices, escrow};
use axum::Router;
use axum::extract::State;
use axum::routing::{post, put};
use service_api::device::Escrow;
use service_api::fleet::EscrowedKey;
use service_api::people::Role;
use service_api::problem::Problem;
use service_api::{DeviceId, Name, RecoveryKey};
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/device/v1/recovery-key", put(hand_over))
        .route("/v1/catalogs/{catalog}/devices/{device}/recovery-key", post(read))
}

/// The recovery key that the device's data disk has now
///
/// By the device's certificate, if its group's policy asks for it. It replaces the one before.
#[utoipa::path(put, path = "/device/v1/recovery-key", tag = "device", request_body = Escrow,
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn hand_over(
    State(service): State<Arc<Service>>,
    access: Access,
    Body(escrow): Body<Escrow>,
) -> Result<Done, Refusal> {
    let (device, catalog, _) = access.device(&service).await?;
    let known = devices::known(&mut *service.store.read().await?, &device).await?;
    if !known.policy.escrow {
        return Err(Refusal::new(Kind::Conflict, "the group's policy does not ask for recovery keys"));
    }
    let key = escrow.recovery_key.as_str().as_bytes();
    let sealed = service.authority.seal(&purpose(&catalog, &device), key)?;
    let now = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move { escrow::keep(connection, &device, &catalog, sealed, now).await })
    });
    write.await?;
    Ok(Done)
}

/// Reads a device's recovery key
///
/// It is noted in the audit log, and the device makes another at its next attestation.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/devices/{device}/recovery-key", tag = "devices",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 200, body = EscrowedKey), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn read(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Json<EscrowedKey>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let (now, purpose) = (service.now(), purpose(&catalog, &device));
    let write = service.store.write(move |connection| {
        Box::pin(async move { escrow::read(connection, &device, &catalog, &who, now).await })
    });
    let (sealed, since) = write.await?;
    let key = String::from_utf8(service.authority.open(&purpose, &sealed)?);
    let key = key.ok().and_then(|key| RecoveryKey::try_from(key).ok());
    let recovery_key = key.ok_or_else(|| Refusal::unavailable("the recovery key is damaged"))?;
    Ok(Json(EscrowedKey { recovery_key, since }))
}

fn purpose(catalog: &Name, device: &DeviceId) -> String {
    format!("recovery key {catalog} {device}")
}
