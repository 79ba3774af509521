//! Orders: what an operator has a device do with its updates. A device has one at most.

use super::audit::{self, Change};
use super::{checked, damaged, devices, time, updates};
use crate::refusal::{Kind, Refusal};
use crate::secrets;
use serde_json::json;
use service_api::orders::{DeviceOrder, NewOrder};
use service_api::updates::{Act, Followed, How, Order};
use service_api::{DeviceId, Name, Subject, Text};
use sqlx::AnyConnection;

/// A device that has not heard of an order by then does not any more: nobody expects it then.
const HOLDS_S: i64 = 86_400;

/// As the database has it.
type Row = (i64, String, String, i64, String, i64, Option<String>, Option<i64>, String);

/// Gives a device of the catalog an order, in place of the one before.
///
/// # Errors
/// There is no such device in the catalog.
pub async fn give(
    connection: &mut AnyConnection,
    (catalog, device): (&Name, &DeviceId),
    new: &NewOrder,
    who: &Subject,
    now: i64,
) -> Result<DeviceOrder, Refusal> {
    devices::hold(connection, device).await?;
    devices::show(connection, catalog, device).await?;
    updates::stir_device(connection, device.as_str()).await?;
    forget(connection, device).await?;
    // Not counted: a device that comes from another service, or whose service was restored, is not to take it for another one.
    let number = i64::try_from(u64::from_le_bytes(secrets::random::<8>()?) >> 11).map_err(|_| damaged())?;
    sqlx::query(
        "INSERT INTO device_order (device, number, act, app, minutes, who, given, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7, '')",
    )
    .bind(device.as_str())
    .bind(number)
    .bind(new.act.as_str())
    .bind(new.app.as_str())
    .bind(i64::from(new.minutes))
    .bind(who.as_str())
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let after = json!({"act": new.act, "app": new.app, "minutes": new.minutes});
    note(connection, (catalog, device), who, ("device.order", Some(after)), now).await?;
    last(connection, device).await?.ok_or_else(damaged)
}

/// Takes back the order of a device of the catalog that it has not begun.
///
/// # Errors
/// There is none.
pub async fn take_back(
    connection: &mut AnyConnection,
    (catalog, device): (&Name, &DeviceId),
    who: &Subject,
    now: i64,
) -> Result<(), Refusal> {
    devices::hold(connection, device).await?;
    devices::show(connection, catalog, device).await?;
    let gone = sqlx::query("DELETE FROM device_order WHERE device = $1 AND how IS NULL")
        .bind(device.as_str())
        .execute(&mut *connection)
        .await?;
    if gone.rows_affected() == 0 {
        return Err(Refusal::new(Kind::Missing, "the device has no order that it has not begun"));
    }
    note(connection, (catalog, device), who, ("device.order-end", None), now).await
}

async fn note(
    connection: &mut AnyConnection,
    (catalog, device): (&Name, &DeviceId),
    who: &Subject,
    (action, after): (&'static str, Option<serde_json::Value>),
    now: i64,
) -> Result<(), Refusal> {
    let (catalog, who, object) = (Some(catalog), who.as_str(), format!("devices/{device}"));
    audit::note(connection, Change { at: now, catalog, who, action, object, before: None, after }).await
}

/// The last order of a device.
///
/// # Errors
/// It cannot be read.
pub async fn last(connection: &mut AnyConnection, device: &DeviceId) -> Result<Option<DeviceOrder>, Refusal> {
    let found: Option<Row> = sqlx::query_as(
        "SELECT number, act, app, minutes, who, given, how, heard, reason FROM device_order WHERE device = $1",
    )
    .bind(device.as_str())
    .fetch_optional(connection)
    .await?;
    found.map(order_of).transpose()
}

fn order_of(
    (number, act, app, minutes, who, given, how, heard, reason): Row,
) -> Result<DeviceOrder, Refusal> {
    Ok(DeviceOrder {
        number: time(number),
        act: Act::from_word(&act).ok_or_else(damaged)?,
        app: checked(app)?,
        minutes: u32::try_from(minutes).map_err(|_| damaged())?,
        by: checked(who)?,
        given: time(given),
        until: time(given + HOLDS_S),
        how: how.map(|how| How::from_word(&how).ok_or_else(damaged)).transpose()?,
        heard: heard.map(time),
        reason: checked(reason)?,
    })
}

/// What a device is to be told to do now: what it has not spoken of, or what it says that it has begun.
///
/// # Errors
/// It cannot be read.
pub async fn open(
    connection: &mut AnyConnection,
    device: &DeviceId,
    says: Option<&Followed>,
    now: i64,
) -> Result<Option<Order>, Refusal> {
    let open = last(connection, device).await?.filter(|order| match says {
        Some(says) if says.number == order.number => {
            says.how == How::Begun && order.how.is_none_or(|how| how == How::Begun)
        }
        _ => order.how.is_none(),
    });
    let open = open.filter(|order| order.until > time(now));
    let told = |order: DeviceOrder| Order {
        number: order.number,
        act: Text::shown(order.act.as_str()),
        app: order.app,
        minutes: order.minutes,
    };
    Ok(open.map(told))
}

/// A device says how far an order is. Of what it says twice the last counts, but for what it began before.
///
/// # Errors
/// What the database said.
pub async fn heard(
    connection: &mut AnyConnection,
    device: &DeviceId,
    says: &Followed,
    now: i64,
) -> Result<(), Refusal> {
    sqlx::query(
        "UPDATE device_order SET how = $3, reason = $4, heard = $5
         WHERE device = $1 AND number = $2 AND (how IS NULL OR how = 'begun' OR $3 <> 'begun')",
    )
    .bind(device.as_str())
    // A number that is none of ours names no order.
    .bind(i64::try_from(says.number).unwrap_or(-1))
    .bind(says.how.as_str())
    .bind(says.reason.as_str())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// A device's orders are nobody's any more.
///
/// # Errors
/// What the database said.
pub async fn forget(connection: &mut AnyConnection, device: &DeviceId) -> Result<(), Refusal> {
    sqlx::query("DELETE FROM device_order WHERE device = $1")
        .bind(device.as_str())
        .execute(connection)
        .await?;
    Ok(())
}
