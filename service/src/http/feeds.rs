//! Feeds, and the groups that follow them.

use super::body::{Body, Created, Done, In, Json};
use super::{Access, Service};
use crate::refusal::Refusal;
use crate::store::feeds::{self, Of};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use service_api::Name;
use service_api::feeds::{Feed, FeedEntry, Follow, Follows, NewFeed, NewFeedEntry};
use service_api::people::Role;
use service_api::problem::Problem;
use std::sync::Arc;

/// An entry with 200 releases.
const ENTRY_MAX: usize = 128 << 10;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/catalogs/{catalog}/products/{product}/feeds", get(list).post(add))
        .route("/v1/catalogs/{catalog}/products/{product}/feeds/{feed}/entries", get(entries).post(publish))
        .route(
            "/v1/catalogs/{catalog}/products/{product}/groups/{group}/feed",
            get(followed).put(follow).delete(leave),
        )
}

/// The product's feeds, and the groups that follow them
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/products/{product}/feeds", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path)),
    responses((status = 200, body = Vec<Feed>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product)): In<(Name, Name)>,
) -> Result<Json<Vec<Feed>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(feeds::list(&mut *service.store.read().await?, &Of { catalog, product }).await?))
}

/// Makes a feed
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/products/{product}/feeds", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path)), request_body = NewFeed,
    responses((status = 201, body = Feed), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product)): In<(Name, Name)>,
    Body(new): Body<NewFeed>,
) -> Result<Created<Feed>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let (at, of) = (service.now(), Of { catalog, product });
    let write = service.store.write(move |connection| {
        Box::pin(async move { feeds::add(connection, &of, &new, (&who, at)).await })
    });
    Ok(Created(write.await?))
}

/// A feed's entries, newest first
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/products/{product}/feeds/{feed}/entries", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("feed" = Name, Path)),
    responses((status = 200, body = Vec<FeedEntry>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn entries(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, feed)): In<(Name, Name, Name)>,
) -> Result<Json<Vec<FeedEntry>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let of = Of { catalog, product };
    Ok(Json(feeds::entries(&mut *service.store.read().await?, &of, &feed).await?))
}

/// Puts releases into a feed
///
/// Groups that follow it and are not pinned get them as a deployment, in the feed's waves.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/products/{product}/feeds/{feed}/entries", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("feed" = Name, Path)),
    request_body = NewFeedEntry,
    responses((status = 201, body = FeedEntry), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn publish(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, feed)): In<(Name, Name, Name)>,
    Body(new): Body<NewFeedEntry, ENTRY_MAX>,
) -> Result<Created<FeedEntry>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let (at, of) = (service.now(), Of { catalog, product });
    let write = service.store.write(move |connection| {
        Box::pin(async move { feeds::publish(connection, &of, &feed, &new, (&who, at)).await })
    });
    let entry = write.await?;
    service.waiting.stir();
    Ok(Created(entry))
}

/// What a group follows
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/products/{product}/groups/{group}/feed", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("group" = Name, Path)),
    responses((status = 200, body = Follows), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn followed(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, group)): In<(Name, Name, Name)>,
) -> Result<Json<Follows>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let all = feeds::follows(&mut *service.store.read().await?, &Of { catalog, product }).await?;
    let found = all.into_iter().find(|follows| follows.group == group);
    found.map(Json).ok_or_else(|| Refusal::missing("feed that this group follows"))
}

/// Has a group follow a feed, or stay at one of its entries
///
/// That entry, or the newest, is deployed to the group.
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/products/{product}/groups/{group}/feed", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("group" = Name, Path)),
    request_body = Follow,
    responses((status = 200, body = Follows), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn follow(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, group)): In<(Name, Name, Name)>,
    Body(follow): Body<Follow>,
) -> Result<Json<Follows>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let (at, of) = (service.now(), Of { catalog, product });
    let write = service.store.write(move |connection| {
        Box::pin(async move { feeds::follow(connection, &of, &group, &follow, (&who, at)).await })
    });
    let follows = write.await?;
    service.waiting.stir();
    Ok(Json(follows))
}

/// Has a group follow no feed any more; what it was told stays
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/products/{product}/groups/{group}/feed", tag = "deployments",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("group" = Name, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn leave(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, group)): In<(Name, Name, Name)>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let (at, of) = (service.now(), Of { catalog, product });
    let write = service.store.write(move |connection| {
        Box::pin(async move { feeds::leave(connection, &of, &group, (&who, at)).await })
    });
    write.await?;
    Ok(Done)
}
