//! The audit log: who changed what, when, from what to what. Written in the transaction of the change itself, so neither is
//! there without the other; no statement of this program changes or removes an entry.

use crate::refusal::Refusal;
use serde_json::Value;
use service_api::Name;
use service_api::fleet::Page;
use service_api::records::{AuditEntry, AuditFilter};
use sqlx::AnyConnection;

/// A change to be noted.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// When.
    pub at: i64,
    /// In which catalog; none: the service's own.
    pub catalog: Option<&'a Name>,
    /// Who.
    pub who: &'a str,
    /// What: `device.claim`.
    pub action: &'static str,
    /// On what.
    pub object: String,
    /// What it was. Never a secret.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
}

/// Notes a change.
///
/// # Errors
/// What the database said.
pub async fn note(connection: &mut AnyConnection, change: Change<'_>) -> Result<(), Refusal> {
    sqlx::query(
        "INSERT INTO audit (at, catalog, who, action, object, before_change, after_change)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(change.at)
    .bind(change.catalog.map(|name| name.as_str().to_owned()))
    .bind(change.who.to_owned())
    .bind(change.action)
    .bind(change.object)
    .bind(change.before.map(|value| value.to_string()))
    .bind(change.after.map(|value| value.to_string()))
    .execute(connection)
    .await?;
    Ok(())
}

/// The catalog's changes, oldest first.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut AnyConnection,
    catalog: &Name,
    filter: &AuditFilter,
) -> Result<Page<AuditEntry>, Refusal> {
    type Row = (i64, i64, String, String, String, Option<String>, Option<String>);
    let limit = super::limit(filter.limit, 100, 1000)?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT number, at, who, action, object, before_change, after_change FROM audit
         WHERE catalog = $1 AND number > $2 AND ($3 = '' OR who = $3) ORDER BY number LIMIT $4",
    )
    .bind(catalog.as_str())
    .bind(super::whole(filter.after.unwrap_or(0))?)
    .bind(filter.who.as_ref().map_or("", |who| who.as_str()))
    .bind(limit + 1)
    .fetch_all(connection)
    .await?;
    let entry = |(number, at, who, action, object, before, after): Row| {
        Ok(AuditEntry {
            number: super::time(number),
            at: super::time(at),
            who,
            action,
            object,
            before: json(before)?,
            after: json(after)?,
        })
    };
    super::page(rows, limit, entry)
}

fn json(text: Option<String>) -> Result<Option<Value>, Refusal> {
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| super::damaged())
}
