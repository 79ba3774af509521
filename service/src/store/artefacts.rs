//! Which artefacts a catalog has. The bytes are in the store of artefacts, and were there before the row.

use super::{checked, time};
use crate::refusal::{Kind, Refusal};
use service_api::artefacts::{Artefact, ArtefactFilter};
use service_api::fleet::Page;
use service_api::{Digest, Name};
use sqlx::AnyConnection;

/// Most artefacts of a catalog.
const ARTEFACTS_MAX: i64 = 10_000;

type Row = (String, i64, i64);

fn artefact((sha256, size, created): Row) -> Result<Artefact, Refusal> {
    Ok(Artefact { sha256: checked(sha256)?, size: time(size), created: time(created) })
}

/// Notes an artefact; false: it was known already.
///
/// # Errors
/// There are too many.
pub async fn add(
    connection: &mut AnyConnection,
    catalog: &Name,
    sha256: &Digest,
    size: u64,
    now: i64,
) -> Result<bool, Refusal> {
    super::fleet::lock(connection, catalog).await?;
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM artefact WHERE catalog = $1")
        .bind(catalog.as_str())
        .fetch_one(&mut *connection)
        .await?;
    if count >= ARTEFACTS_MAX {
        return Err(Refusal::new(Kind::Conflict, "there are too many artefacts"));
    }
    let added = sqlx::query(
        "INSERT INTO artefact (catalog, sha256, size, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(catalog.as_str())
    .bind(sha256.as_str())
    .bind(super::whole(size)?)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// An artefact.
///
/// # Errors
/// The catalog has none of this digest.
pub async fn find(
    connection: &mut AnyConnection,
    catalog: &Name,
    sha256: &Digest,
) -> Result<Artefact, Refusal> {
    let found: Option<Row> =
        sqlx::query_as("SELECT sha256, size, created FROM artefact WHERE catalog = $1 AND sha256 = $2")
            .bind(catalog.as_str())
            .bind(sha256.as_str())
            .fetch_optional(connection)
            .await?;
    artefact(found.ok_or_else(|| Refusal::missing("such artefact"))?)
}

/// The catalog's artefacts.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut AnyConnection,
    catalog: &Name,
    filter: &ArtefactFilter,
) -> Result<Page<Artefact>, Refusal> {
    let limit = super::limit(filter.limit, 100, 1000)?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT sha256, size, created FROM artefact WHERE catalog = $1 AND sha256 > $2 ORDER BY sha256 LIMIT $3",
    )
    .bind(catalog.as_str())
    .bind(filter.after.as_ref().map_or("", |digest| digest.as_str()))
    .bind(limit + 1)
    .fetch_all(connection)
    .await?;
    super::page(rows, limit, artefact)
}

/// How many there are in all catalogs, and their bytes together.
///
/// # Errors
/// What the database said.
pub async fn count(connection: &mut AnyConnection) -> Result<(u64, u64), Refusal> {
    let (count, bytes): (i64, i64) =
        sqlx::query_as("SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM artefact")
            .fetch_one(connection)
            .await?;
    Ok((time(count), time(bytes)))
}
