//! Bodies, paths and queries, read strictly: whatever is wrong with one is said as a problem, before a handler runs.

use crate::refusal::{Kind, Refusal};
use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest body, but for those that say another.
pub(super) const BODY_MAX: usize = 16 << 10;

/// A JSON body of at most `MAX` bytes.
#[derive(Clone, Debug)]
pub(super) struct Body<T, const MAX: usize = BODY_MAX>(pub T);

impl<S: Sync, T: DeserializeOwned, const MAX: usize> FromRequest<S> for Body<T, MAX> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return Err(Refusal::new(Kind::MediaType, "Content-Type is not application/json"));
        }
        let large = || Refusal::new(Kind::TooLarge, format!("at most {MAX} bytes"));
        let says = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if says.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > MAX) {
            return Err(large());
        }
        let body = to_bytes(request.into_body(), MAX).await.map_err(|_| large())?;
        let wrong = |error: serde_json::Error| Refusal::new(Kind::Malformed, format!("the body: {error}"));
        serde_json::from_slice(&body).map(Self).map_err(wrong)
    }
}

/// What is in the path's braces.
#[derive(Clone, Debug)]
pub(super) struct In<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for In<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        // A name that cannot be one names nothing.
        path.map(|Path(inner)| Self(inner)).map_err(|_| Refusal::missing("such path"))
    }
}

/// The query.
#[derive(Clone, Debug)]
pub(super) struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(inner)| Self(inner))
            .map_err(|error| Refusal::new(Kind::Malformed, error.body_text()))
    }
}

/// A JSON answer.
#[derive(Clone, Debug)]
pub(super) struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let headers =
                    [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
                (StatusCode::OK, headers, body).into_response()
            }
            Err(_) => Refusal::unavailable("the answer could not be written").into_response(),
        }
    }
}

/// Made, with the JSON of it.
#[derive(Clone, Debug)]
pub(super) struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// Done, and nothing to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}
