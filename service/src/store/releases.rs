//! Releases, with what a device that runs one measures.

use super::{checked, time};
use crate::refusal::{Kind, Refusal};
use serde_json::{Map, Value};
use service_api::Name;
use service_api::fleet::{NewRelease, Release};
use sqlx::AnyConnection;

/// Most releases of a catalog.
const RELEASES_MAX: i64 = 500;

/// Publishes a release. It is never changed afterwards.
///
/// # Errors
/// There is one of that name, or there are too many.
pub async fn publish(
    connection: &mut AnyConnection,
    catalog: &Name,
    new: &NewRelease,
    now: i64,
) -> Result<(), Refusal> {
    super::fleet::lock(connection, catalog).await?;
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM release WHERE catalog = $1")
        .bind(catalog.as_str())
        .fetch_one(&mut *connection)
        .await?;
    if count >= RELEASES_MAX {
        return Err(Refusal::new(Kind::Conflict, "there are too many releases"));
    }
    sqlx::query(
        "INSERT INTO release (catalog, name, published, withdrawn, reference_values) VALUES ($1, $2, $3, 0, $4)",
    )
    .bind(catalog.as_str())
    .bind(new.name.as_str())
    .bind(now)
    .bind(Value::Object(new.reference_values.clone()).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Withdraws a release, or takes that back.
///
/// # Errors
/// There is none.
pub async fn withdraw(
    connection: &mut AnyConnection,
    catalog: &Name,
    name: &Name,
    withdrawn: bool,
) -> Result<(), Refusal> {
    let changed = sqlx::query("UPDATE release SET withdrawn = $3 WHERE catalog = $1 AND name = $2")
        .bind(catalog.as_str())
        .bind(name.as_str())
        .bind(i64::from(withdrawn))
        .execute(connection)
        .await?;
    if changed.rows_affected() == 0 { Err(Refusal::missing("such release")) } else { Ok(()) }
}

/// The catalog's releases, or the one of a name.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut AnyConnection,
    catalog: &Name,
    name: Option<&Name>,
) -> Result<Vec<Release>, Refusal> {
    let rows: Vec<(String, i64, i64, String)> = sqlx::query_as(
        "SELECT name, published, withdrawn, reference_values FROM release
         WHERE catalog = $1 AND ($2 = '' OR name = $2) ORDER BY published DESC, name",
    )
    .bind(catalog.as_str())
    .bind(name.map_or("", |name| name.as_str()))
    .fetch_all(connection)
    .await?;
    let release = |(name, published, withdrawn, values): (String, i64, i64, String)| {
        Ok(Release {
            name: checked(name)?,
            published: time(published),
            withdrawn: withdrawn == 1,
            reference_values: values_of(&values)?,
        })
    };
    rows.into_iter().map(release).collect()
}

fn values_of(text: &str) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_str(text).map_err(|_| super::damaged())
}
