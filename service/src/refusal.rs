//! Why a request was not done, as RFC 9457 has it.
//!
//! What the caller may know is in the reasons. What only we may know (a database's words) is logged here and goes nowhere
//! else.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use service_api::problem::{MEDIA_TYPE, Problem};

/// A refusal with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    kind: Kind,
    reasons: Vec<String>,
}

/// The kinds: each is one word in `type`, one status, one title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body or the query is not what it has to be.
    Malformed,
    /// Nobody is known by these credentials.
    Unauthenticated,
    /// Known, but not allowed to.
    Forbidden,
    /// The evidence, claim or enrolment does not hold.
    Untrusted,
    /// The device has no owner who could say what it must be.
    Unclaimed,
    /// The device's owner has revoked it.
    Revoked,
    /// There is no such thing, or none that the caller may know of.
    Missing,
    /// It is so already, or something else depends on it.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The body is no JSON by its own word.
    MediaType,
    /// Too many requests from there.
    TooMany,
    /// Not now.
    Unavailable,
    /// The range has nothing of what is there.
    Range,
    /// There is such a path, but not for this method.
    Method,
}

impl Kind {
    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "the request is malformed"),
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "nobody is known by these credentials")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "this needs another role"),
            Self::Untrusted => (StatusCode::FORBIDDEN, "untrusted", "the proof does not hold"),
            Self::Revoked => (StatusCode::FORBIDDEN, "revoked", "the device is revoked"),
            Self::Unclaimed => (StatusCode::FORBIDDEN, "unclaimed", "the device has no owner"),
            Self::Missing => (StatusCode::NOT_FOUND, "missing", "there is no such thing"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "this does not fit what is there"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is too large"),
            Self::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "the body must be application/json")
            }
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "too many requests"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not now; come again"),
            Self::Range => (StatusCode::RANGE_NOT_SATISFIABLE, "range", "there is nothing in this range"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "not by this method"),
        }
    }
}

impl Refusal {
    /// With one reason.
    pub fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Self { kind, reasons: vec![reason.into()] }
    }

    /// With several.
    pub fn with_reasons(kind: Kind, reasons: Vec<String>) -> Self {
        Self { kind, reasons }
    }

    /// No such thing.
    pub fn missing(what: &str) -> Self {
        Self::new(Kind::Missing, format!("no {what}"))
    }

    /// Not now.
    pub fn unavailable(reason: &str) -> Self {
        Self::new(Kind::Unavailable, reason)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// As the caller sees it.
    pub fn problem(&self) -> Problem {
        let (status, word, title) = self.kind.words();
        Problem {
            kind: format!("urn:gabion:problem:{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            reasons: self.reasons.clone(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if self.kind == Kind::Unauthenticated {
            let scheme = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        if matches!(self.kind, Kind::TooMany | Kind::Unavailable) {
            response.headers_mut().insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static("10"));
        }
        response
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error();
        if code.is_some_and(sqlx::error::DatabaseError::is_unique_violation) {
            return Self::new(Kind::Conflict, "there is one already");
        }
        if code.is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation) {
            return Self::new(Kind::Conflict, "something it names is not there, or something still names it");
        }
        tracing::error!(%error, "the database failed");
        Self::unavailable("the database failed")
    }
}
