//! Permits that were issued. Of a device at most one is in force: a new one ends those before, whoever they are of.

use super::audit::{self, Change};
use super::{checked, devices, time};
use crate::refusal::{Kind, Refusal};
use serde_json::json;
use service_api::permits::Permit;
use service_api::{DeviceId, Name, Text};
use sqlx::AnyConnection;

/// Most that are listed.
const LISTED_MAX: i64 = 1000;

/// The permit in force for a device of the catalog.
///
/// # Errors
/// What the database said.
pub async fn in_force(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
    now: i64,
) -> Result<Option<Text<4096>>, Refusal> {
    let found: Option<(String,)> = sqlx::query_as(
        "SELECT token FROM permit WHERE device = $1 AND catalog = $2 AND ended IS NULL AND expires > $3
         ORDER BY issued DESC LIMIT 1",
    )
    .bind(device.as_str())
    .bind(catalog.as_str())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    found.map(|(token,)| checked(token)).transpose()
}

/// The id of the permit in force for a device, of whatever catalog that has it.
///
/// # Errors
/// What the database said.
pub async fn id_in_force(
    connection: &mut AnyConnection,
    device: &DeviceId,
    now: i64,
) -> Result<Option<Text<128>>, Refusal> {
    let found: Option<(String,)> = sqlx::query_as(
        "SELECT id FROM permit WHERE device = $1 AND ended IS NULL AND expires > $2 ORDER BY issued DESC LIMIT 1",
    )
    .bind(device.as_str())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    found.map(|(id,)| checked(id)).transpose()
}

/// When the device's next permit counts as issued: now, or later than all that it ever had, of whomever.
///
/// # Errors
/// There is no such device in the catalog.
pub async fn next(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
    now: i64,
) -> Result<u64, Refusal> {
    devices::show(connection, catalog, device).await?;
    let (newest,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(issued), 0) FROM permit WHERE device = $1")
        .bind(device.as_str())
        .fetch_one(connection)
        .await?;
    Ok(time(now.max(newest + 1)))
}

/// Keeps a permit, and ends those before.
///
/// # Errors
/// There is no such device in the catalog any more, or it had another permit meanwhile.
pub async fn add(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
    permit: &Permit,
    now: i64,
) -> Result<(), Refusal> {
    devices::show(connection, catalog, device).await?;
    end(connection, device, now).await?;
    let issued = super::whole(permit.issued)?;
    let added = sqlx::query(
        "INSERT INTO permit (id, device, catalog, developer, note, issuer, issued, expires, token)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9
         WHERE NOT EXISTS (SELECT 1 FROM permit WHERE device = $2 AND issued >= $7)",
    )
    .bind(permit.id.as_str())
    .bind(device.as_str())
    .bind(catalog.as_str())
    .bind(permit.developer.as_str())
    .bind(permit.note.as_str())
    .bind(permit.issuer.as_str())
    .bind(issued)
    .bind(super::whole(permit.expires)?)
    .bind(permit.permit.as_str())
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 {
        return Err(Refusal::new(Kind::Conflict, "another permit was issued for this device meanwhile"));
    }
    super::updates::stir_device(connection, device.as_str()).await?;
    let after = json!({"permit": permit.id, "developer": permit.developer, "expires": permit.expires,
        "note": permit.note});
    let change = Change {
        at: now,
        catalog: Some(catalog),
        who: permit.issuer.as_str(),
        action: "device.permit",
        object: format!("devices/{device}"),
        before: None,
        after: Some(after),
    };
    audit::note(connection, change).await
}

/// Ends one permit of a device of the catalog.
///
/// # Errors
/// There is none of that id in force.
pub async fn revoke(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
    id: &Name,
    who: &str,
    now: i64,
) -> Result<(), Refusal> {
    let ended = sqlx::query(
        "UPDATE permit SET ended = $4 WHERE id = $1 AND device = $2 AND catalog = $3 AND ended IS NULL
         AND expires > $4",
    )
    .bind(id.as_str())
    .bind(device.as_str())
    .bind(catalog.as_str())
    .bind(now)
    .execute(&mut *connection)
    .await?;
    if ended.rows_affected() == 0 {
        return Err(Refusal::missing("permit of this id in force"));
    }
    super::updates::stir_device(connection, device.as_str()).await?;
    let object = format!("devices/{device}");
    let (action, before) = ("device.permit-end", Some(json!({"permit": id})));
    audit::note(
        connection,
        Change { at: now, catalog: Some(catalog), who, action, object, before, after: None },
    )
    .await
}

/// Ends what the device has.
pub(super) async fn end(connection: &mut AnyConnection, device: &DeviceId, now: i64) -> Result<(), Refusal> {
    sqlx::query("UPDATE permit SET ended = $2 WHERE device = $1 AND ended IS NULL AND expires > $2")
        .bind(device.as_str())
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// The device's permits by this catalog, newest first.
///
/// # Errors
/// There is no such device in the catalog.
pub async fn list(
    connection: &mut AnyConnection,
    catalog: &Name,
    device: &DeviceId,
) -> Result<Vec<Permit>, Refusal> {
    type Row = (String, String, String, String, i64, i64, Option<i64>, String);
    devices::show(connection, catalog, device).await?;
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, developer, note, issuer, issued, expires, ended, token FROM permit
         WHERE device = $1 AND catalog = $2 ORDER BY issued DESC LIMIT $3",
    )
    .bind(device.as_str())
    .bind(catalog.as_str())
    .bind(LISTED_MAX)
    .fetch_all(connection)
    .await?;
    let permit = |(id, developer, note, issuer, issued, expires, ended, token): Row| {
        Ok(Permit {
            id: checked(id)?,
            developer: checked(developer)?,
            note: checked(note)?,
            issuer: checked(issuer)?,
            issued: time(issued),
            expires: time(expires),
            ended: ended.map(time),
            permit: checked(token)?,
        })
    };
    rows.into_iter().map(permit).collect()
}
