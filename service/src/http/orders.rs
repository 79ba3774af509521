//! Orders: what an operator has a device do with its updates, once.

use super::body::{Body, Done, In, Json};
use super::{Access, Service};
use crate::refusal::{Kind, Refusal};
use crate::store::orders;
use axum::Router;
use axum::extract::State;
use axum::routing::put;
use service_api::orders::{DeviceOrder, MINUTES_MAX, NewOrder};
use service_api::people::Role;
use service_api::problem::Problem;
use service_api::updates::Act;
use service_api::{DeviceId, Name};
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new().route("/v1/catalogs/{catalog}/devices/{device}/update-order", put(give).delete(take_back))
}

/// Has a device put an update off, take one that was put off, or go back to what ran before
///
/// At once, by the request it waits with, and once: within a day, or not at all. In place of the order before.
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/devices/{device}/update-order", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)), request_body = NewOrder,
    responses((status = 200, body = DeviceOrder), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn give(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
    Body(new): Body<NewOrder>,
) -> Result<Json<DeviceOrder>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.subject()?;
    let fits = match new.act {
        Act::Defer => (1..=MINUTES_MAX).contains(&new.minutes),
        Act::Resume | Act::Rollback => new.minutes == 0,
    };
    if !fits {
        let reason = format!("minutes: 1 to {MINUTES_MAX} for a deferral, and none for anything else");
        return Err(Refusal::new(Kind::Malformed, reason));
    }
    let now = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move { orders::give(connection, (&catalog, &device), &new, &who, now).await })
    });
    let order = write.await?;
    service.waiting.stir();
    Ok(Json(order))
}

/// Takes back an order that the device has not begun
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/devices/{device}/update-order", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn take_back(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.subject()?;
    let now = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move { orders::take_back(connection, (&catalog, &device), &who, now).await })
    });
    write.await?;
    Ok(Done)
}
