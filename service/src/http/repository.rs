//! The repository of updates: what devices read without credentials, and what people put there, signed.
//!
//! Anybody may read it: what it says is signed, and what it has is no secret to a device's owner. Files that have a digest or a
//! version in their name never change, and may be kept by whoever is in between for a year.

use super::artefacts::{Keep, serve};
use super::body::{Body, Created, In, Json};
use super::{Access, Caller, Service};
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use crate::store::audit::{self, Change};
use crate::store::updates as rows;
use crate::updates::{self, bench};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use service_api::artefacts::Artefact;
use service_api::people::Role;
use service_api::problem::Problem;
use service_api::publish::{NewUpdates, OnlineKey, Published, ReleaseEntry, RoleVersion};
use service_api::release::Release;
use service_api::{Digest, Name, Text};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// Metadata and documents that come at once, as JSON.
const UPDATES_MAX: usize = 8 << 20;
/// Blobs that are remembered.
const BLOBS_MAX: usize = 4096;
/// For what never changes: a year.
const FOREVER: &str = "public, max-age=31536000, immutable";

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/updates/v1/metadata/{file}", get(metadata))
        .route("/updates/v1/targets/{*path}", get(target))
        .route("/v1/updates/keys", get(keys).post(add_key))
        .route("/v1/catalogs/{catalog}/updates", post(publish).get(list))
}

/// A file of signed metadata (The Update Framework)
#[utoipa::path(get, path = "/updates/v1/metadata/{file}", tag = "updates", params(("file" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/json"), (status = 304),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn metadata(
    State(service): State<Arc<Service>>,
    In(file): In<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let content = rows::file(&mut *service.store.read().await?, &file).await?;
    let content = content.ok_or_else(|| Refusal::missing("such file of metadata"))?;
    let keep = if file == "timestamp.json" { "no-cache" } else { FOREVER };
    Ok(small(content, keep, &headers))
}

/// A release's document, or a blob that one names (`blobs/SHA256`), or a range of it
#[utoipa::path(get, path = "/updates/v1/targets/{path}", tag = "updates",
    params(("path" = String, Path), ("range" = Option<String>, Header)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, body = Vec<u8>, content_type = "application/octet-stream"), (status = 304), (status = 307),
    (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn target(
    State(service): State<Arc<Service>>,
    In(path): In<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let missing = || Refusal::missing("such target");
    if let Some(sha256) = path.strip_prefix("blobs/") {
        let sha256: Digest = sha256.parse().map_err(|_| missing())?;
        let (catalog, size) = service.blob(&sha256).await?.ok_or_else(missing)?;
        if service.asking.redirect
            && let Some(url) = service.artefacts()?.elsewhere(&catalog, &sha256).await?
        {
            // The address is good for longer than whoever is in between may keep it.
            let head = [(header::LOCATION, url), (header::CACHE_CONTROL, "public, max-age=600".to_owned())];
            return Ok((StatusCode::TEMPORARY_REDIRECT, head).into_response());
        }
        let blob = Artefact { sha256, size, created: 0 };
        return serve(service.artefacts()?, &catalog, &blob, &headers, Keep::Forever).await;
    }
    // FOLDER/DIGEST.NAME is the target FOLDER/NAME.
    let (folder, file) = path.rsplit_once('/').ok_or_else(missing)?;
    let (digest, name) = file.split_once('.').ok_or_else(missing)?;
    let target = format!("{folder}/{name}");
    let content = rows::document(&mut *service.store.read().await?, &target, digest).await?;
    Ok(small(content.ok_or_else(missing)?, FOREVER, &headers))
}

fn small(content: Vec<u8>, keep: &'static str, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", secrets::sha256(&content));
    let head = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, keep.to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, [(header::CONTENT_TYPE, "application/json")], content).into_response()
}

impl Service {
    /// Whose a blob is that anybody may have, and its length. What was published stays so, and a fleet asks for the same few.
    async fn blob(&self, sha256: &Digest) -> Result<Option<(Name, u64)>, Refusal> {
        let known = || self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blob) = known().get(sha256) {
            return Ok(Some(blob.clone()));
        }
        let found = rows::blob(&mut *self.store.read().await?, sha256).await?;
        if let Some(blob) = &found {
            let mut known = known();
            if known.len() >= BLOBS_MAX {
                known.clear();
            }
            known.insert(sha256.clone(), blob.clone());
        }
        Ok(found)
    }

    /// An operator, by name.
    async fn operator(&self, access: &Access) -> Result<String, Refusal> {
        match access.caller(self).await? {
            Caller::Person(person) if person.operator => Ok(person.subject.as_str().to_owned()),
            _ => Err(Refusal::new(Kind::Forbidden, "only an operator may do this")),
        }
    }
}

/// The service's own signing keys, newest first
///
/// For operators, who name one in the root as snapshot's and timestamp's.
#[utoipa::path(get, path = "/v1/updates/keys", tag = "updates", security(("token" = [])),
    responses((status = 200, body = Vec<OnlineKey>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn keys(
    State(service): State<Arc<Service>>,
    access: Access,
) -> Result<Json<Vec<OnlineKey>>, Refusal> {
    service.operator(&access).await?;
    Ok(Json(updates::public_keys(&service).await?))
}

/// Makes the service another signing key
///
/// It signs from when a root that names it is published.
#[utoipa::path(post, path = "/v1/updates/keys", tag = "updates", security(("token" = [])),
    responses((status = 201, body = OnlineKey), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_key(
    State(service): State<Arc<Service>>,
    access: Access,
) -> Result<Created<OnlineKey>, Refusal> {
    let who = service.operator(&access).await?;
    Ok(Created(updates::make_key(&service, who).await?))
}

/// Publishes releases and what people signed
///
/// Everything is checked as a device would. What a release names must be among the catalog's artefacts, and may be had by
/// anybody from then on. Root and targets are published by operators.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/updates", tag = "updates", security(("token" = [])),
    params(("catalog" = Name, Path)), request_body = NewUpdates,
    responses((status = 201, body = Published), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn publish(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Body(new): Body<NewUpdates, UPDATES_MAX>,
) -> Result<Created<Published>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let apps = format!("apps-{catalog}");
    for role in new.roles.iter().map(|role| role.role.as_str()) {
        match role {
            "root" | "targets" => drop(service.operator(&access).await?),
            "os" => (),
            role if role == apps => (),
            role => {
                let reason = format!("the catalog {catalog} has no say in the role {role}");
                return Err(Refusal::new(Kind::Forbidden, reason));
            }
        }
    }
    if new.roles.is_empty() {
        return Err(Refusal::new(Kind::Malformed, "no role is to be published"));
    }
    let at = service.now();
    let known = rows::newest(&mut *service.store.read().await?).await?;
    let signers = updates::signers(&service).await?;
    let roles = new.roles.to_vec();
    let made = tokio::task::spawn_blocking(move || bench::publish(&known, &roles, &signers, at)).await;
    let made = made.map_err(|_| Refusal::unavailable("the updates were not looked at"))??;
    let documents = documents(&service, &new, &made.targets).await?;
    let versions =
        made.files.iter().map(|file| RoleVersion { role: file.role.clone(), version: file.version });
    let releases = documents.iter().map(|(target, ..)| target.clone()).collect();
    let published = Published { roles: versions.collect(), releases };
    let after = Some(json!(published));
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            rows::publish(connection, &made.files, made.before, at).await?;
            for (target, sha256, content, release) in &documents {
                rows::add(connection, &catalog, (target, sha256), (content, release), at).await?;
            }
            let (action, object) = ("updates.publish", "updates".to_owned());
            let catalog = Some(&catalog);
            audit::note(connection, Change { at, catalog, who: &who, action, object, before: None, after })
                .await
        })
    });
    write.await?;
    Ok(Created(published))
}

type Kept = (Text<256>, String, Vec<u8>, Release);

/// The documents that came, each of them named by a role that came; and of what such a role names none may be missing.
async fn documents(
    service: &Service,
    new: &NewUpdates,
    targets: &BTreeMap<String, (String, u64)>,
) -> Result<Vec<Kept>, Refusal> {
    let malformed = |reason: String| Refusal::new(Kind::Malformed, reason);
    let mut kept: Vec<Kept> = Vec::new();
    let mut read = service.store.read().await?;
    for document in new.documents.iter() {
        let (target, content) = (&document.target, document.content.as_slice());
        let sha256 = secrets::sha256(content);
        if targets.get(target.as_str()) != Some(&(sha256.clone(), content.len() as u64)) {
            return Err(malformed(format!("{target}: the document that came is not the one that is signed")));
        }
        let release =
            Release::read(content, target.as_str()).map_err(|refused| malformed(refused.to_string()))?;
        if let Some(before) = rows::release(&mut read, target.as_str()).await?
            && !same(&before, &release)
        {
            return Err(Refusal::new(Kind::Conflict, format!("{target} is published with other images")));
        }
        kept.push((target.clone(), sha256, content.to_vec(), release));
    }
    for (target, (sha256, _)) in targets {
        let came = kept.iter().any(|(path, digest, ..)| path.as_str() == target && digest == sha256);
        if !came && rows::document(&mut read, target, sha256).await?.is_none() {
            return Err(malformed(format!("{target} is signed, and its document did not come")));
        }
    }
    Ok(kept)
}

/// Whether only patches were added or taken away.
fn same(before: &Release, after: &Release) -> bool {
    let bare = |release: &Release| {
        let images =
            release.images.iter().map(|image| (image.role, image.content.clone(), image.verity.clone()));
        (release.floor, release.manifest.clone(), images.collect::<Vec<_>>())
    };
    bare(before) == bare(after)
}

/// The releases that may be deployed: of the catalog's apps, and of the system, newest first
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/updates", tag = "updates", security(("token" = [])),
    params(("catalog" = Name, Path)),
    responses((status = 200, body = Vec<ReleaseEntry>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
) -> Result<Json<Vec<ReleaseEntry>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(rows::releases(&mut *service.store.read().await?, &catalog).await?))
}
