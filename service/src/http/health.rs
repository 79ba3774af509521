//! Whether the service runs, and whether it can do its work.

use super::Service;
use crate::refusal::Refusal;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

/// The process runs
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn alive() -> &'static str {
    "ok"
}

/// The database answers
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 503, body = service_api::problem::Problem, content_type = "application/problem+json")))]
pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<&'static str, Refusal> {
    service.store.ping().await?;
    Ok("ok")
}

/// For the listener that is not for the world: the same, and what was counted.
pub fn inside(service: Arc<Service>) -> Router {
    let metrics = async |State(service): State<Arc<Service>>| {
        service.metrics.text().map_err(|_| Refusal::unavailable("the metrics could not be written"))
    };
    paths().route("/metrics", get(metrics)).with_state(service)
}
