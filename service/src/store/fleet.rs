//! Catalogs, products and groups.

use super::{checked, time};
use crate::refusal::{Kind, Refusal};
use service_api::fleet::{Entry, Group, GroupPolicy, New, NewGroup};
use service_api::{Name, Subject};
use sqlx::AnyConnection;

/// Most products of a catalog, and groups of a product: what one list has.
const ENTRIES_MAX: i64 = 1000;

/// A catalog's issuing authority as it is kept.
#[derive(Clone, Debug)]
pub struct IssuerRow {
    /// DER.
    pub certificate: Vec<u8>,
    /// The key, sealed by the service's own.
    pub sealed_key: Vec<u8>,
}

/// Makes a catalog, which `administrator` administers.
///
/// # Errors
/// There is one of that name.
pub async fn add_catalog(
    connection: &mut AnyConnection,
    new: &New,
    issuer: &IssuerRow,
    administrator: &Subject,
    now: i64,
) -> Result<(), Refusal> {
    sqlx::query(
        "INSERT INTO catalog (name, description, created, issuer_certificate, issuer_key) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(new.name.as_str())
    .bind(new.description.as_str())
    .bind(now)
    .bind(issuer.certificate.clone())
    .bind(issuer.sealed_key.clone())
    .execute(&mut *connection)
    .await?;
    sqlx::query("INSERT INTO member (catalog, subject, role) VALUES ($1, $2, 'administrator')")
        .bind(new.name.as_str())
        .bind(administrator.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps others from changing what belongs to the catalog as a whole until this transaction ends.
pub(crate) async fn lock(connection: &mut AnyConnection, catalog: &Name) -> Result<(), Refusal> {
    let found = sqlx::query("UPDATE catalog SET description = description WHERE name = $1")
        .bind(catalog.as_str())
        .execute(connection)
        .await?;
    if found.rows_affected() == 0 { Err(Refusal::missing("such catalog")) } else { Ok(()) }
}

/// A catalog.
///
/// # Errors
/// There is none.
pub async fn catalog(connection: &mut AnyConnection, name: &Name) -> Result<Entry, Refusal> {
    let found: Option<(String, String, i64)> =
        sqlx::query_as("SELECT name, description, created FROM catalog WHERE name = $1")
            .bind(name.as_str())
            .fetch_optional(connection)
            .await?;
    entry(found.ok_or_else(|| Refusal::missing("such catalog"))?)
}

/// Every catalog's issuing authority, or one's.
///
/// # Errors
/// What the database said.
pub async fn issuers(
    connection: &mut AnyConnection,
    catalog: Option<&Name>,
) -> Result<Vec<(Name, IssuerRow)>, Refusal> {
    let rows: Vec<(String, Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT name, issuer_certificate, issuer_key FROM catalog WHERE $1 = '' OR name = $1 ORDER BY name",
    )
    .bind(catalog.map_or("", |name| name.as_str()))
    .fetch_all(connection)
    .await?;
    let issuer =
        |(name, certificate, sealed_key)| Ok((checked(name)?, IssuerRow { certificate, sealed_key }));
    rows.into_iter().map(issuer).collect()
}

/// Makes a product.
///
/// # Errors
/// There is one of that name, or there are too many.
pub async fn add_product(
    connection: &mut AnyConnection,
    catalog: &Name,
    new: &New,
    now: i64,
) -> Result<(), Refusal> {
    lock(connection, catalog).await?;
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM product WHERE catalog = $1")
        .bind(catalog.as_str())
        .fetch_one(&mut *connection)
        .await?;
    bounded(count, "products")?;
    sqlx::query("INSERT INTO product (catalog, name, description, created) VALUES ($1, $2, $3, $4)")
        .bind(catalog.as_str())
        .bind(new.name.as_str())
        .bind(new.description.as_str())
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

fn bounded(count: i64, what: &str) -> Result<(), Refusal> {
    if count < ENTRIES_MAX {
        return Ok(());
    }
    Err(Refusal::new(Kind::Conflict, format!("there are {count} {what} already, and no more may be made")))
}

/// The catalog's products.
///
/// # Errors
/// What the database said.
pub async fn products(connection: &mut AnyConnection, catalog: &Name) -> Result<Vec<Entry>, Refusal> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT name, description, created FROM product WHERE catalog = $1 ORDER BY name")
            .bind(catalog.as_str())
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(entry).collect()
}

/// Removes a product that has no groups.
///
/// # Errors
/// It has some, or there is none.
pub async fn remove_product(
    connection: &mut AnyConnection,
    catalog: &Name,
    product: &Name,
) -> Result<(), Refusal> {
    let gone = sqlx::query("DELETE FROM product WHERE catalog = $1 AND name = $2")
        .bind(catalog.as_str())
        .bind(product.as_str())
        .execute(connection)
        .await?;
    if gone.rows_affected() == 0 { Err(Refusal::missing("such product")) } else { Ok(()) }
}

/// Makes a group.
///
/// # Errors
/// There is one of that name, no such product, or there are too many.
pub async fn add_group(
    connection: &mut AnyConnection,
    catalog: &Name,
    product: &Name,
    new: &NewGroup,
    now: i64,
) -> Result<(), Refusal> {
    lock(connection, catalog).await?;
    let (count,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM device_group WHERE catalog = $1 AND product = $2")
            .bind(catalog.as_str())
            .bind(product.as_str())
            .fetch_one(&mut *connection)
            .await?;
    bounded(count, "groups")?;
    sqlx::query(
        "INSERT INTO device_group (catalog, product, name, description, policy, created)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(catalog.as_str())
    .bind(product.as_str())
    .bind(new.name.as_str())
    .bind(new.description.as_str())
    .bind(policy_text(&new.policy)?)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// The product's groups, or the one of a name.
///
/// # Errors
/// What the database said.
pub async fn groups(
    connection: &mut AnyConnection,
    catalog: &Name,
    product: &Name,
    group: Option<&Name>,
) -> Result<Vec<Group>, Refusal> {
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(
        "SELECT name, description, policy, created FROM device_group
         WHERE catalog = $1 AND product = $2 AND ($3 = '' OR name = $3) ORDER BY name",
    )
    .bind(catalog.as_str())
    .bind(product.as_str())
    .bind(group.map_or("", |name| name.as_str()))
    .fetch_all(connection)
    .await?;
    let group = |(name, description, policy, created): (String, String, String, i64)| {
        Ok(Group {
            name: checked(name)?,
            description: checked(description)?,
            policy: serde_json::from_str(&policy).map_err(|_| super::damaged())?,
            created: time(created),
        })
    };
    rows.into_iter().map(group).collect()
}

/// A group.
///
/// # Errors
/// There is none.
pub async fn group(
    connection: &mut AnyConnection,
    catalog: &Name,
    product: &Name,
    group: &Name,
) -> Result<Group, Refusal> {
    let found = groups(connection, catalog, product, Some(group)).await?;
    found.into_iter().next().ok_or_else(|| Refusal::missing("such group"))
}

/// Changes what a group's devices must be.
///
/// # Errors
/// There is no such group.
pub async fn set_policy(
    connection: &mut AnyConnection,
    catalog: &Name,
    product: &Name,
    group: &Name,
    policy: &GroupPolicy,
) -> Result<(), Refusal> {
    let changed =
        sqlx::query("UPDATE device_group SET policy = $4 WHERE catalog = $1 AND product = $2 AND name = $3")
            .bind(catalog.as_str())
            .bind(product.as_str())
            .bind(group.as_str())
            .bind(policy_text(policy)?)
            .execute(connection)
            .await?;
    if changed.rows_affected() == 0 { Err(Refusal::missing("such group")) } else { Ok(()) }
}

/// Removes a group that has no devices.
///
/// # Errors
/// It has some, or there is none.
pub async fn remove_group(
    connection: &mut AnyConnection,
    catalog: &Name,
    product: &Name,
    group: &Name,
) -> Result<(), Refusal> {
    let gone = sqlx::query("DELETE FROM device_group WHERE catalog = $1 AND product = $2 AND name = $3")
        .bind(catalog.as_str())
        .bind(product.as_str())
        .bind(group.as_str())
        .execute(connection)
        .await?;
    if gone.rows_affected() == 0 { Err(Refusal::missing("such group")) } else { Ok(()) }
}

fn policy_text(policy: &GroupPolicy) -> Result<String, Refusal> {
    serde_json::to_string(policy).map_err(|_| Refusal::unavailable("the policy could not be written"))
}

fn entry((name, description, created): (String, String, i64)) -> Result<Entry, Refusal> {
    Ok(Entry { name: checked(name)?, description: checked(description)?, created: time(created) })
}
