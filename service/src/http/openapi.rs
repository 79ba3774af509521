//! The OpenAPI document, from the handlers and the types that read the bodies.

use super::{
    Service, artefacts, asking, deployments, device, escrow, feeds, fleet, health, oidc, orders, owned,
    people, permits, records, repository,
};
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new().route("/openapi.json", get(show))
}

async fn show(State(service): State<Arc<Service>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], service.openapi.clone())
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Gabion Security Service", description = "Devices, who owns them, and what they run"),
    paths(
        device::enrol,
        device::activate,
        device::nonce,
        device::attest,
        device::report,
        device::crl,
        device::authority,
        device::verdict_key,
        people::begin,
        people::refresh,
        oidc::begin,
        oidc::step,
        people::end,
        people::me,
        people::members,
        people::set_role,
        people::remove_member,
        people::invite,
        people::list_machines,
        people::add_machine,
        people::remove_machine,
        fleet::add_catalog,
        fleet::catalog,
        fleet::products,
        fleet::add_product,
        fleet::remove_product,
        fleet::groups,
        fleet::add_group,
        fleet::group,
        fleet::remove_group,
        fleet::set_policy,
        fleet::list_releases,
        fleet::publish,
        fleet::release,
        fleet::withdraw,
        owned::claim,
        owned::list,
        owned::show,
        owned::release,
        owned::place,
        owned::revoke,
        owned::reinstate,
        owned::offer,
        owned::cancel_offer,
        owned::attestation,
        owned::certificates,
        escrow::hand_over,
        escrow::read,
        permits::list,
        permits::issue,
        permits::end,
        artefacts::list,
        artefacts::put,
        artefacts::fetch,
        repository::metadata,
        repository::target,
        repository::keys,
        repository::add_key,
        repository::publish,
        repository::list,
        asking::check,
        asking::wait,
        deployments::create,
        deployments::list,
        deployments::show,
        deployments::progress,
        deployments::pause,
        deployments::resume,
        deployments::stop,
        deployments::approve,
        deployments::device,
        deployments::stir,
        orders::give,
        orders::take_back,
        feeds::list,
        feeds::add,
        feeds::entries,
        feeds::publish,
        feeds::followed,
        feeds::follow,
        feeds::leave,
        records::changes,
        records::collected,
        health::alive,
        health::ready,
    )
)]
struct Document;

/// The document as JSON.
pub(super) fn document() -> String {
    let mut document = Document::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme("token", bearer);
    document.to_json().unwrap_or_default()
}
