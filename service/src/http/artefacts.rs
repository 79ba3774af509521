//! Artefacts: put by who publishes releases, had by range.

use super::body::{Asked, Created, In, Json};
use super::{Access, Service};
use crate::artefacts::{ArtefactError, Artefacts, SIZE_MAX};
use crate::refusal::{Kind, Refusal};
use crate::store::artefacts as rows;
use crate::store::audit::{self, Change};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use service_api::artefacts::{Artefact, ArtefactFilter};
use service_api::fleet::Page;
use service_api::people::Role;
use service_api::problem::Problem;
use service_api::{Digest, Name};
use std::ops::Range;
use std::sync::Arc;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/catalogs/{catalog}/artefacts", get(list))
        .route("/v1/catalogs/{catalog}/artefacts/{sha256}", get(fetch).put(put))
}

impl Service {
    /// Where artefacts are.
    pub(super) fn artefacts(&self) -> Result<&Artefacts, Refusal> {
        self.artefacts.as_ref().ok_or_else(|| Refusal::unavailable("this service has no store of artefacts"))
    }
}

impl From<ArtefactError> for Refusal {
    fn from(error: ArtefactError) -> Self {
        let kind = match error {
            ArtefactError::Cut | ArtefactError::Other(_) => Kind::Malformed,
            ArtefactError::TooLarge => Kind::TooLarge,
            ArtefactError::Busy => Kind::TooMany,
            ArtefactError::Store(_) | ArtefactError::Address(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store of artefacts failed");
                return Self::unavailable("the store of artefacts failed");
            }
        };
        Self::new(kind, error.to_string())
    }
}

/// The catalog's artefacts
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/artefacts", tag = "artefacts", security(("token" = [])),
    params(("catalog" = Name, Path), ArtefactFilter), responses((status = 200, body = Page<Artefact>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Asked(filter): Asked<ArtefactFilter>,
) -> Result<Json<Page<Artefact>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(rows::list(&mut *service.store.read().await?, &catalog, &filter).await?))
}

/// Puts an artefact
///
/// The body is the bytes themselves, which must have the SHA-256 of the path. Until they have, nothing is there.
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/artefacts/{sha256}", tag = "artefacts", security(("token" = [])),
    params(("catalog" = Name, Path), ("sha256" = Digest, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = Artefact), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, sha256)): In<(Name, Digest)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Created<Artefact>, Refusal> {
    // Before a byte of the body is read: whoever has no leave cannot make us read.
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let says = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if says.and_then(|length| length.parse().ok()).is_some_and(|length: u64| length > SIZE_MAX) {
        return Err(ArtefactError::TooLarge.into());
    }
    let size = service.artefacts()?.put(&catalog, &sha256, body.into_data_stream()).await?;
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            if rows::add(connection, &catalog, &sha256, size, at).await? {
                let (action, object) = ("artefact.put", format!("artefacts/{sha256}"));
                let after = Some(json!({"size": size}));
                let catalog = Some(&catalog);
                audit::note(
                    connection,
                    Change { at, catalog, who: &who, action, object, before: None, after },
                )
                .await?;
            }
            rows::find(connection, &catalog, &sha256).await
        })
    });
    Ok(Created(write.await?))
}

/// An artefact, or a range of it
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/artefacts/{sha256}", tag = "artefacts", security(("token" = [])),
    params(("catalog" = Name, Path), ("sha256" = Digest, Path), ("range" = Option<String>, Header)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, body = Vec<u8>, content_type = "application/octet-stream"),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn fetch(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, sha256)): In<(Name, Digest)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let artefact = rows::find(&mut *service.store.read().await?, &catalog, &sha256).await?;
    serve(service.artefacts()?, &catalog, &artefact, &headers, Keep::No).await
}

/// Whether those in between may keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is not for everybody.
    No,
    /// Anybody may have it, and it never changes.
    Forever,
}

/// The answer to a request for an artefact that the asker may have.
pub(super) async fn serve(
    store: &Artefacts,
    catalog: &Name,
    artefact: &Artefact,
    headers: &HeaderMap,
    keep: Keep,
) -> Result<Response, Refusal> {
    let (size, tag) = (artefact.size, format!("\"{}\"", artefact.sha256));
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let keep = match keep {
        Keep::No => "no-store",
        Keep::Forever => "public, max-age=31536000, immutable",
    };
    if text(header::IF_NONE_MATCH) == Some(&tag) {
        let head = [(header::ETAG, tag), (header::CACHE_CONTROL, keep.to_owned())];
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    // What is under a digest never changes, so a condition on it holds or names something else.
    let asked = text(header::RANGE).filter(|_| text(header::IF_RANGE).is_none_or(|wanted| wanted == tag));
    let range = asked.map_or(Ok(None), |asked| range(asked, size));
    let part = range.map_err(|Unsatisfiable| {
        Refusal::new(Kind::Range, format!("the artefact has {size} bytes, and the range none of them"))
    })?;
    let whole = part.is_none();
    let part = part.unwrap_or(0..size);
    let length = part.end - part.start;
    let shown = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
    let body = Body::from_stream(store.get(catalog, &artefact.sha256, part).await?);
    let head = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, tag),
        (header::CACHE_CONTROL, keep.to_owned()),
    ];
    Ok(if whole {
        (head, body).into_response()
    } else {
        (StatusCode::PARTIAL_CONTENT, head, [(header::CONTENT_RANGE, shown)], body).into_response()
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// RFC 9110, 14.1.2: one range of bytes. None for anything else, which the RFC lets a server pass over: then it is the whole.
fn range(asked: &str, size: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
    let Some(asked) = asked.strip_prefix("bytes=") else { return Ok(None) };
    let Some((first, last)) = asked.split_once('-') else { return Ok(None) };
    let number = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let (start, end) = match (first, last) {
        ("", "") => return Ok(None),
        ("", last) => match number(last) {
            Some(last) => (size - last.min(size), size),
            None => return Ok(None),
        },
        (first, "") => match number(first) {
            Some(first) => (first, size),
            None => return Ok(None),
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
            _ => return Ok(None),
        },
    };
    if start < end { Ok(Some(start..end)) } else { Err(Unsatisfiable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_is_one_and_within_the_artefact() {
        for (asked, part) in
            [("bytes=0-0", 0..1), ("bytes=5-", 5..10), ("bytes=-3", 7..10), ("bytes=2-99", 2..10)]
        {
            assert_eq!(range(asked, 10), Ok(Some(part)), "{asked}");
        }
        for passed_over in
            ["bytes=", "bytes=-", "bytes=a-b", "bytes=3-2", "bytes=0-1,3-4", "lines=0-1", "bytes=+1-2"]
        {
            assert_eq!(range(passed_over, 10), Ok(None), "{passed_over}");
        }
        for none in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=99999999999999999999-"] {
            assert_eq!(range(none, 10), Err(Unsatisfiable), "{none}");
        }
    }
}
