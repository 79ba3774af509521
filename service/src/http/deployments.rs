//! Deployments: made, looked at, paused, stopped, approved; and a device that is to ask at once.

use super::body::{Asked, Body, Created, Done, In, Json};
use super::{Access, Service};
use crate::refusal::Refusal;
use crate::store::audit::{self, Change};
use crate::store::deployments::{self, Act, Asker, By};
use crate::store::{devices, updates};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use service_api::deployments::{
    Approval, Deployment, DeploymentFilter, DeviceProgress, DeviceUpdates, NewDeployment, ProgressFilter,
    Reason,
};
use service_api::fleet::{Page, Placement};
use service_api::people::Role;
use service_api::problem::Problem;
use service_api::{DeviceId, Name};
use std::sync::Arc;

/// A deployment with 200 releases.
const DEPLOYMENT_MAX: usize = 128 << 10;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/catalogs/{catalog}/deployments", get(list).post(create))
        .route("/v1/catalogs/{catalog}/deployments/{number}", get(show))
        .route("/v1/catalogs/{catalog}/deployments/{number}/devices", get(progress))
        .route("/v1/catalogs/{catalog}/deployments/{number}/pause", post(pause))
        .route("/v1/catalogs/{catalog}/deployments/{number}/resume", post(resume))
        .route("/v1/catalogs/{catalog}/deployments/{number}/stop", post(stop))
        .route("/v1/catalogs/{catalog}/deployments/{number}/approve", post(approve))
        .route("/v1/catalogs/{catalog}/devices/{device}/updates", get(device))
        .route("/v1/catalogs/{catalog}/devices/{device}/update-check", post(stir))
}

/// Makes a deployment for a group's devices
///
/// Its releases and what it takes over from the group's last one are its set for good. It replaces that one, if it is not done.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/deployments", tag = "deployments", security(("token" = [])),
    params(("catalog" = Name, Path)), request_body = NewDeployment,
    responses((status = 201, body = Deployment), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn create(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Body(new): Body<NewDeployment, DEPLOYMENT_MAX>,
) -> Result<Created<Deployment>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            deployments::create(connection, &catalog, &new, By { who: &who, at, feed: None }).await
        })
    });
    let made = write.await?.shown();
    service.waiting.stir();
    Ok(Created(made))
}

/// The catalog's deployments, newest first
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/deployments", tag = "deployments", security(("token" = [])),
    params(("catalog" = Name, Path), DeploymentFilter),
    responses((status = 200, body = Page<Deployment>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Asked(filter): Asked<DeploymentFilter>,
) -> Result<Json<Page<Deployment>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(deployments::list(&mut *service.store.read().await?, &catalog, &filter).await?))
}

/// A deployment
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/deployments/{number}", tag = "deployments", security(("token" = [])),
    params(("catalog" = Name, Path), ("number" = u64, Path)),
    responses((status = 200, body = Deployment), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, number)): In<(Name, u64)>,
) -> Result<Json<Deployment>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let found = deployments::find(&mut *service.store.read().await?, &catalog, number).await?;
    Ok(Json(found.shown()))
}

/// The devices that were told of a deployment: how far they are, and why they are no further
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/deployments/{number}/devices", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("number" = u64, Path), ProgressFilter),
    responses((status = 200, body = Page<DeviceProgress>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn progress(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, number)): In<(Name, u64)>,
    Asked(filter): Asked<ProgressFilter>,
) -> Result<Json<Page<DeviceProgress>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let mut read = service.store.read().await?;
    deployments::find(&mut read, &catalog, number).await?;
    Ok(Json(deployments::progress(&mut read, number, &filter).await?))
}

async fn act(
    service: &Service,
    access: &Access,
    (catalog, number): (Name, u64),
    act: Act,
) -> Result<Json<Deployment>, Refusal> {
    let who = access.with_role(service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move { deployments::act(connection, &catalog, number, &act, (&who, at)).await })
    });
    let row = write.await?;
    service.waiting.stir();
    Ok(Json(row.shown()))
}

/// Pauses a deployment: nobody new is told of it
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/deployments/{number}/pause", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("number" = u64, Path)), request_body = Reason,
    responses((status = 200, body = Deployment), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pause(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, u64)>,
    Body(reason): Body<Reason>,
) -> Result<Json<Deployment>, Refusal> {
    act(&service, &access, which, Act::Pause(reason.reason.to_string())).await
}

/// Lets a paused deployment go on
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/deployments/{number}/resume", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("number" = u64, Path)),
    responses((status = 200, body = Deployment), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn resume(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, u64)>,
) -> Result<Json<Deployment>, Refusal> {
    act(&service, &access, which, Act::Resume).await
}

/// Stops a deployment for good: who does not run it yet goes back to the one before
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/deployments/{number}/stop", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("number" = u64, Path)), request_body = Reason,
    responses((status = 200, body = Deployment), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stop(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, u64)>,
    Body(reason): Body<Reason>,
) -> Result<Json<Deployment>, Refusal> {
    act(&service, &access, which, Act::Stop(reason.reason.to_string())).await
}

/// Approves the next wave of a deployment, whether it waits for that or for devices
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/deployments/{number}/approve", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("number" = u64, Path)), request_body = Approval,
    responses((status = 200, body = Deployment), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn approve(
    State(service): State<Arc<Service>>,
    access: Access,
    In(which): In<(Name, u64)>,
    Body(approval): Body<Approval>,
) -> Result<Json<Deployment>, Refusal> {
    act(&service, &access, which, Act::Approve(approval.open)).await
}

/// What a device runs, as it last said, and how its updates went
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/devices/{device}/updates", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 200, body = DeviceUpdates), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn device(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Json<DeviceUpdates>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let mut read = service.store.read().await?;
    let found = devices::show(&mut read, &catalog, &device).await?;
    let place = Placement { product: found.product, group: found.group };
    Ok(Json(deployments::updates_of(&mut read, &Asker { device, catalog, place }).await?))
}

/// Has a device ask for updates at once, by the request it waits with
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/devices/{device}/update-check", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("device" = DeviceId, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stir(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, device)): In<(Name, DeviceId)>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Contributor).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            devices::show(connection, &catalog, &device).await?;
            updates::stir_device(connection, device.as_str()).await?;
            let (action, object) = ("device.update-check", format!("devices/{device}"));
            let catalog = Some(&catalog);
            audit::note(
                connection,
                Change { at, catalog, who: &who, action, object, before: None, after: None },
            )
            .await
        })
    });
    write.await?;
    service.waiting.stir();
    Ok(Done)
}
