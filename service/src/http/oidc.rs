//! Sign-in by the provider that the service was told of.

use super::body::{Body, Json};
use super::people::{fresh, session};
use super::{Allowed, Service};
use crate::oidc::{OidcError, Outcome, Provider};
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use crate::store::people;
use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use service_api::people::{Flow, FlowStep, SignIn};
use service_api::problem::Problem;
use service_api::{Bytes, Code, Subject, Text};
use std::sync::Arc;

/// The longest flow, seconds, whatever the provider says.
const FLOW_S: u32 = 1_800;
const PURPOSE: &str = "oidc flow";

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new().route("/v1/sessions/oidc", post(begin)).route("/v1/sessions/oidc/step", post(step))
}

/// What is between the requests, sealed.
#[derive(Serialize, Deserialize)]
struct Between {
    device_code: String,
    nonce: Code,
    ends: i64,
    interval_s: u32,
}

impl Service {
    fn provider(&self) -> Result<&Provider, Refusal> {
        self.oidc
            .as_ref()
            .ok_or_else(|| Refusal::missing("provider of sign-in; a one-time code begins a session"))
    }
}

impl From<OidcError> for Refusal {
    fn from(error: OidcError) -> Self {
        match &error {
            OidcError::Refused(_) => Self::new(Kind::Unauthenticated, error.to_string()),
            OidcError::Token(why) => {
                tracing::warn!(%why, "the provider of sign-in gave a token that does not count");
                Self::new(Kind::Unauthenticated, why.to_string())
            }
            OidcError::Outgoing(_) | OidcError::Answer(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the provider of sign-in");
                Self::unavailable("the provider of sign-in cannot be asked now")
            }
        }
    }
}

/// Begins a sign-in by the provider
///
/// The person goes to the address, types the code, and signs in there; meanwhile the next step is asked for.
#[utoipa::path(post, path = "/v1/sessions/oidc", tag = "people",
    responses((status = 200, body = Flow), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn begin(State(service): State<Arc<Service>>, _: Allowed) -> Result<Json<Flow>, Refusal> {
    let nonce = secrets::code()?;
    let begun = service.provider()?.begin(nonce.as_str()).await?;
    let expires_s = begun.expires_in.min(FLOW_S);
    let interval_s = begun.interval.clamp(1, 60);
    let ends = service.now() + i64::from(expires_s);
    let between = Between { device_code: begun.device_code, nonce, ends, interval_s };
    let between = serde_json::to_vec(&between).map_err(|_| Refusal::unavailable("the flow"))?;
    let odd = || Refusal::unavailable("the provider of sign-in answers with too much");
    let flow = Bytes::new(service.authority.seal(PURPOSE, &between)?).ok_or_else(odd)?;
    let text = |text: String| Text::try_from(text).map_err(|_| odd());
    Ok(Json(Flow {
        verification_uri: text(begun.verification_uri)?,
        verification_uri_complete: begun.verification_uri_complete.map(text).transpose()?,
        user_code: Text::try_from(begun.user_code).map_err(|_| odd())?,
        flow,
        interval_s,
        expires_s,
    }))
}

/// The next step of such a sign-in
///
/// The session, once the person has signed in; until then when to ask again. Only who was invited gets one.
#[utoipa::path(post, path = "/v1/sessions/oidc/step", tag = "people", request_body = FlowStep,
    responses((status = 200, body = SignIn), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn step(
    State(service): State<Arc<Service>>,
    _: Allowed,
    Body(step): Body<FlowStep>,
) -> Result<Json<SignIn>, Refusal> {
    let over = || Refusal::new(Kind::Unauthenticated, "there is no such sign-in, or it took too long");
    let between = service.authority.open(PURPOSE, step.flow.as_slice()).map_err(|_| over())?;
    let between: Between = serde_json::from_slice(&between).map_err(|_| over())?;
    let now = service.now();
    if between.ends <= now {
        return Err(over());
    }
    let outcome = service.provider()?.poll(&between.device_code, between.nonce.as_str(), now).await?;
    let pending = |interval_s| Ok(Json(SignIn { session: None, interval_s }));
    let person = match outcome {
        Outcome::Pending => return pending(between.interval_s),
        // RFC 8628, 3.5: five seconds more.
        Outcome::SlowDown => return pending(between.interval_s + 5),
        Outcome::Person(person) => person,
    };
    let strange = || Refusal::new(Kind::Forbidden, "nobody of this name was invited");
    let subject = Subject::try_from(person).map_err(|_| strange())?;
    let fresh = fresh(now)?;
    let (id, tokens, who) = (secrets::hex(&secrets::random::<16>()?), fresh.digests.clone(), subject.clone());
    let write = service.store.write(move |connection| {
        Box::pin(async move { people::sign_in(connection, &who, &id, &tokens, now).await })
    });
    if !write.await? {
        return Err(strange());
    }
    Ok(Json(SignIn { session: Some(session(subject, fresh)), interval_s: between.interval_s }))
}
