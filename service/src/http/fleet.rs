//! Catalogs, products, groups and releases.

use super::body::{Body, Created, Done, In, Json};
use super::{Access, Caller, Service};
use crate::refusal::{Kind, Refusal};
use crate::store::audit::{self, Change};
use crate::store::{fleet, releases};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post, put};
use serde_json::json;
use service_api::Name;
use service_api::fleet::{Entry, Group, GroupPolicy, New, NewGroup, NewRelease, Release, Withdrawal};
use service_api::people::Role;
use service_api::problem::Problem;
use std::sync::Arc;

/// A release with its reference values.
const RELEASE_MAX: usize = 1 << 20;

pub(super) fn paths() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/catalogs", post(add_catalog))
        .route("/v1/catalogs/{catalog}", get(catalog))
        .route("/v1/catalogs/{catalog}/products", get(products).post(add_product))
        .route("/v1/catalogs/{catalog}/products/{product}", axum::routing::delete(remove_product))
        .route("/v1/catalogs/{catalog}/products/{product}/groups", get(groups).post(add_group))
        .route("/v1/catalogs/{catalog}/products/{product}/groups/{group}", get(group).delete(remove_group))
        .route("/v1/catalogs/{catalog}/products/{product}/groups/{group}/policy", put(set_policy))
        .route("/v1/catalogs/{catalog}/releases", get(list_releases).post(publish))
        .route("/v1/catalogs/{catalog}/releases/{release}", get(release))
        .route("/v1/catalogs/{catalog}/releases/{release}/withdrawal", put(withdraw))
}

/// Makes a catalog
///
/// By an operator, who administers it from then on.
#[utoipa::path(post, path = "/v1/catalogs", tag = "fleet", security(("token" = [])), request_body = New,
    responses((status = 201, body = Entry), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_catalog(
    State(service): State<Arc<Service>>,
    access: Access,
    Body(new): Body<New>,
) -> Result<Created<Entry>, Refusal> {
    let Caller::Person(person) = access.caller(&service).await? else {
        return Err(Refusal::new(Kind::Forbidden, "only an operator makes catalogs"));
    };
    if !person.operator {
        return Err(Refusal::new(Kind::Forbidden, "only an operator makes catalogs"));
    }
    // Before a key is made, which a token would keep. The write still decides.
    if fleet::catalog(&mut *service.store.read().await?, &new.name).await.is_ok() {
        return Err(Refusal::new(Kind::Conflict, "there is one already"));
    }
    let at = service.now();
    let issuer = service.authority.new_issuer(&new.name, at)?;
    let issuer = fleet::IssuerRow { certificate: issuer.certificate, sealed_key: issuer.sealed_key };
    let entry = entry(&new, at);
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            fleet::add_catalog(connection, &new, &issuer, &person.subject, at).await?;
            let change = Change {
                at,
                catalog: Some(&new.name),
                who: person.subject.as_str(),
                action: "catalog.add",
                object: String::new(),
                before: None,
                after: Some(json!({"description": new.description})),
            };
            audit::note(connection, change).await
        })
    });
    write.await?;
    Ok(Created(entry))
}

fn entry(new: &New, at: i64) -> Entry {
    let created = u64::try_from(at).unwrap_or(0);
    Entry { name: new.name.clone(), description: new.description.clone(), created }
}

/// A catalog
#[utoipa::path(get, path = "/v1/catalogs/{catalog}", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path)), responses((status = 200, body = Entry), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn catalog(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
) -> Result<Json<Entry>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(fleet::catalog(&mut *service.store.read().await?, &catalog).await?))
}

/// The catalog's products
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/products", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path)), responses((status = 200, body = Vec<Entry>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn products(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
) -> Result<Json<Vec<Entry>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(fleet::products(&mut *service.store.read().await?, &catalog).await?))
}

/// Makes a product
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/products", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path)), request_body = New,
    responses((status = 201, body = Entry), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_product(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Body(new): Body<New>,
) -> Result<Created<Entry>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let entry = entry(&new, at);
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            fleet::add_product(connection, &catalog, &new, at).await?;
            let object = format!("products/{}", new.name);
            let after = Some(json!({"description": new.description}));
            let (action, catalog) = ("product.add", Some(&catalog));
            audit::note(connection, Change { at, catalog, who: &who, action, object, before: None, after })
                .await
        })
    });
    write.await?;
    Ok(Created(entry))
}

/// Removes a product that has no groups
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/products/{product}", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path), ("product" = Name, Path)), responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_product(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product)): In<(Name, Name)>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            fleet::remove_product(connection, &catalog, &product).await?;
            let object = format!("products/{product}");
            let (action, catalog) = ("product.remove", Some(&catalog));
            audit::note(
                connection,
                Change { at, catalog, who: &who, action, object, before: None, after: None },
            )
            .await
        })
    });
    write.await?;
    Ok(Done)
}

/// The product's groups
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/products/{product}/groups", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path), ("product" = Name, Path)), responses((status = 200, body = Vec<Group>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn groups(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product)): In<(Name, Name)>,
) -> Result<Json<Vec<Group>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(fleet::groups(&mut *service.store.read().await?, &catalog, &product, None).await?))
}

/// Makes a group
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/products/{product}/groups", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path), ("product" = Name, Path)), request_body = NewGroup,
    responses((status = 201, body = Group), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_group(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product)): In<(Name, Name)>,
    Body(new): Body<NewGroup>,
) -> Result<Created<Group>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let created = u64::try_from(at).unwrap_or(0);
    let NewGroup { name, description, policy } = new.clone();
    let group = Group { name, description, policy, created };
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            fleet::add_group(connection, &catalog, &product, &new, at).await?;
            let object = format!("products/{product}/groups/{}", new.name);
            let after = Some(json!({"description": new.description, "policy": new.policy}));
            let (action, catalog) = ("group.add", Some(&catalog));
            audit::note(connection, Change { at, catalog, who: &who, action, object, before: None, after })
                .await
        })
    });
    write.await?;
    Ok(Created(group))
}

/// A group
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/products/{product}/groups/{group}", tag = "fleet",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("group" = Name, Path)),
    responses((status = 200, body = Group), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn group(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, group)): In<(Name, Name, Name)>,
) -> Result<Json<Group>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(fleet::group(&mut *service.store.read().await?, &catalog, &product, &group).await?))
}

/// Removes a group that has no devices
#[utoipa::path(delete, path = "/v1/catalogs/{catalog}/products/{product}/groups/{group}", tag = "fleet",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("group" = Name, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_group(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, group)): In<(Name, Name, Name)>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            fleet::remove_group(connection, &catalog, &product, &group).await?;
            let object = format!("products/{product}/groups/{group}");
            let (action, catalog) = ("group.remove", Some(&catalog));
            audit::note(
                connection,
                Change { at, catalog, who: &who, action, object, before: None, after: None },
            )
            .await
        })
    });
    write.await?;
    Ok(Done)
}

/// Changes what a group's devices must be
///
/// It holds from each device's next attestation on.
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/products/{product}/groups/{group}/policy", tag = "fleet",
    security(("token" = [])), params(("catalog" = Name, Path), ("product" = Name, Path), ("group" = Name, Path)),
    request_body = GroupPolicy, responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set_policy(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, product, group)): In<(Name, Name, Name)>,
    Body(policy): Body<GroupPolicy>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            fleet::lock(connection, &catalog).await?;
            let before = fleet::group(connection, &catalog, &product, &group).await?;
            fleet::set_policy(connection, &catalog, &product, &group, &policy).await?;
            let change = Change {
                at,
                catalog: Some(&catalog),
                who: &who,
                action: "group.policy",
                object: format!("products/{product}/groups/{group}"),
                before: Some(json!(before.policy)),
                after: Some(json!(policy)),
            };
            audit::note(connection, change).await
        })
    });
    write.await?;
    Ok(Done)
}

/// The catalog's releases
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/releases", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path)), responses((status = 200, body = Vec<Release>), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_releases(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
) -> Result<Json<Vec<Release>>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    Ok(Json(releases::list(&mut *service.store.read().await?, &catalog, None).await?))
}

/// Publishes a release's reference values
///
/// They are never changed; a release that is wrong is withdrawn.
#[utoipa::path(post, path = "/v1/catalogs/{catalog}/releases", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path)), request_body = NewRelease, responses((status = 201, body = Release), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn publish(
    State(service): State<Arc<Service>>,
    access: Access,
    In(catalog): In<Name>,
    Body(new): Body<NewRelease, RELEASE_MAX>,
) -> Result<Created<Release>, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let malformed = |reasons| Refusal::with_reasons(Kind::Malformed, reasons);
    service.verifier.check_release(&new).map_err(malformed)?;
    let at = service.now();
    let NewRelease { name, reference_values } = new.clone();
    let published = u64::try_from(at).unwrap_or(0);
    let release = Release { name, published, withdrawn: false, reference_values };
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            releases::publish(connection, &catalog, &new, at).await?;
            let object = format!("releases/{}", new.name);
            let values = serde_json::Value::Object(new.reference_values).to_string();
            let after = Some(json!({"reference_values_sha256": crate::secrets::sha256(values.as_bytes())}));
            let (action, catalog) = ("release.publish", Some(&catalog));
            audit::note(connection, Change { at, catalog, who: &who, action, object, before: None, after })
                .await
        })
    });
    write.await?;
    Ok(Created(release))
}

/// A release
#[utoipa::path(get, path = "/v1/catalogs/{catalog}/releases/{release}", tag = "fleet", security(("token" = [])),
    params(("catalog" = Name, Path), ("release" = Name, Path)), responses((status = 200, body = Release), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn release(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, release)): In<(Name, Name)>,
) -> Result<Json<Release>, Refusal> {
    access.with_role(&service, &catalog, Role::Reader).await?;
    let found = releases::list(&mut *service.store.read().await?, &catalog, Some(&release)).await?;
    Ok(Json(found.into_iter().next().ok_or_else(|| Refusal::missing("such release"))?))
}

/// Withdraws a release, or takes that back
#[utoipa::path(put, path = "/v1/catalogs/{catalog}/releases/{release}/withdrawal", tag = "fleet",
    security(("token" = [])), params(("catalog" = Name, Path), ("release" = Name, Path)), request_body = Withdrawal,
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn withdraw(
    State(service): State<Arc<Service>>,
    access: Access,
    In((catalog, release)): In<(Name, Name)>,
    Body(withdrawal): Body<Withdrawal>,
) -> Result<Done, Refusal> {
    let who = access.with_role(&service, &catalog, Role::Administrator).await?.who();
    let at = service.now();
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            releases::withdraw(connection, &catalog, &release, withdrawal.withdrawn).await?;
            let object = format!("releases/{release}");
            let after = Some(json!(withdrawal));
            let (action, catalog) = ("release.withdraw", Some(&catalog));
            audit::note(connection, Change { at, catalog, who: &who, action, object, before: None, after })
                .await
        })
    });
    write.await?;
    Ok(Done)
}
