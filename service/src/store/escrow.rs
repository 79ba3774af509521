//! Recovery keys that devices handed over, sealed. The service has at most one of a device: the one its disk has now, for the
//! owner it has now. Who reads it is in the audit log before they have it.

use super::audit::{self, Change};
use super::{devices, time};
use crate::refusal::{Kind, Refusal};
use service_api::{DeviceId, Name};
use sqlx::AnyConnection;

/// Whether the device should make a key and hand it over: there is none, or it was read.
///
/// # Errors
/// What the database said.
pub async fn wanted(connection: &mut AnyConnection, device: &DeviceId) -> Result<bool, Refusal> {
    let (unread,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM recovery_key WHERE device = $1 AND read_at IS NULL")
            .bind(device.as_str())
            .fetch_one(connection)
            .await?;
    Ok(unread == 0)
}

/// Keeps a device's key in place of the one before.
///
/// # Errors
/// The device was moved to another catalog or revoked meanwhile.
pub async fn keep(
    connection: &mut AnyConnection,
    device: &DeviceId,
    catalog: &Name,
    sealed: Vec<u8>,
    now: i64,
) -> Result<(), Refusal> {
    let kept = sqlx::query(
        "INSERT INTO recovery_key (device, sealed, since)
         SELECT id, $3, $4 FROM device WHERE id = $1 AND catalog = $2 AND state = 'active'
         ON CONFLICT (device) DO UPDATE SET sealed = excluded.sealed, since = excluded.since, read_at = NULL",
    )
    .bind(device.as_str())
    .bind(catalog.as_str())
    .bind(sealed)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    if kept.rows_affected() == 0 {
        return Err(Refusal::new(Kind::Untrusted, "the device was moved or revoked meanwhile"));
    }
    let who = format!("device.{device}");
    audit::note(connection, change(device, catalog, &who, "device.escrow", now)).await
}

/// The sealed key and since when it is kept, for whoever reads it: that is noted, and the device will make another.
///
/// # Errors
/// There is no such device in the catalog, or no key of it.
pub async fn read(
    connection: &mut AnyConnection,
    device: &DeviceId,
    catalog: &Name,
    who: &str,
    now: i64,
) -> Result<(Vec<u8>, u64), Refusal> {
    devices::show(connection, catalog, device).await?;
    let found: Option<(Vec<u8>, i64)> =
        sqlx::query_as("UPDATE recovery_key SET read_at = $2 WHERE device = $1 RETURNING sealed, since")
            .bind(device.as_str())
            .bind(now)
            .fetch_optional(&mut *connection)
            .await?;
    let (sealed, since) = found.ok_or_else(|| Refusal::missing("recovery key of this device"))?;
    audit::note(connection, change(device, catalog, who, "device.recovery-key", now)).await?;
    Ok((sealed, time(since)))
}

/// The device has another owner, or none: what it handed over is nobody's.
pub(super) async fn forget(connection: &mut AnyConnection, device: &DeviceId) -> Result<(), Refusal> {
    sqlx::query("DELETE FROM recovery_key WHERE device = $1")
        .bind(device.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

fn change<'a>(
    device: &DeviceId,
    catalog: &'a Name,
    who: &'a str,
    action: &'static str,
    at: i64,
) -> Change<'a> {
    let object = format!("devices/{device}");
    Change { at, catalog: Some(catalog), who, action, object, before: None, after: None }
}
