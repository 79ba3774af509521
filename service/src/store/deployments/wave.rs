//! Waves open one after another; what people do to a deployment.
//!
//! Each step says what must still be so, so that of several processes that see the same one does it.

use super::{COLUMNS, Raw, Row, find};
use crate::refusal::{Kind, Refusal};
use crate::rollout::{Next, place};
use crate::store::audit::{self, Change};
use crate::store::{checked, time, updates, whole};
use serde_json::{Value, json};
use service_api::deployments::{Counts, DeploymentState as State};
use service_api::fleet::Placement;
use service_api::updates::Stage;
use service_api::{DeviceId, Name};
use sqlx::{AnyConnection, AssertSqlSafe};

/// What somebody does to a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nobody new is told of it, for this reason.
    Pause(String),
    /// It goes on.
    Resume,
    /// It goes to nobody any more, for this reason.
    Stop(String),
    /// Its next wave follows while so many are open, whether it waits for that or for devices.
    Approve(u8),
}

/// Does it, and notes it.
///
/// # Errors
/// There is no such deployment, or it is not in a state for that.
pub async fn act(
    connection: &mut AnyConnection,
    catalog: &Name,
    number: u64,
    act: &Act,
    (who, at): (&str, i64),
) -> Result<Row, Refusal> {
    let row = find(connection, catalog, number).await?;
    let unfit = || {
        let state = row.state.as_str();
        Refusal::new(
            Kind::Conflict,
            format!("deployment {number} is {state}, with {} waves open", row.opened.len()),
        )
    };
    let (action, next, reason) = match (act, row.state) {
        (Act::Pause(reason), State::Running | State::Waiting) => {
            ("deployment.pause", State::Paused, reason.as_str())
        }
        (Act::Resume, State::Paused) => ("deployment.resume", State::Running, ""),
        (Act::Stop(reason), State::Running | State::Waiting | State::Paused | State::Finished) => {
            ("deployment.stop", State::Stopped, reason.as_str())
        }
        (Act::Approve(open), State::Running | State::Waiting)
            if usize::from(*open) == row.opened.len() && row.opened.len() < row.content.waves.len() =>
        {
            ("deployment.approve", State::Running, "")
        }
        _ => return Err(unfit()),
    };
    let opens = matches!(act, Act::Approve(_));
    let Some(mut row) = turn(connection, catalog, &row, (next, reason), opens).await? else {
        return Err(unfit());
    };
    let after = Some(json!({"state": next, "open": row.opened.len(), "reason": reason}));
    note(connection, catalog, &row, (who, at, action), after).await?;
    if next == State::Running {
        recount(connection, catalog, &mut row).await?;
    }
    advance(connection, catalog, row, at).await
}

/// Does what follows from how its devices are doing, until nothing does.
pub(super) async fn advance(
    connection: &mut AnyConnection,
    catalog: &Name,
    mut row: Row,
    at: i64,
) -> Result<Row, Refusal> {
    while let Some(next) = row.rollout().next() {
        let (action, state, reason) = match &next {
            Next::Open => ("deployment.wave", State::Running, String::new()),
            Next::Wait => ("deployment.wait", State::Waiting, "the next wave waits for approval".to_owned()),
            Next::Stop(reason) => ("deployment.stop", State::Stopped, reason.clone()),
            Next::Finish => ("deployment.finish", State::Finished, String::new()),
        };
        let opens = next == Next::Open;
        // Somebody else was first; who has it does the rest.
        let turned = turn(connection, catalog, &row, (state, &reason), opens).await?;
        let Some(turned) = turned else { return find(connection, catalog, row.number()).await };
        row = turned;
        let after = Some(json!({"state": state, "open": row.opened.len(), "reason": reason}));
        note(connection, catalog, &row, ("service", at, action), after).await?;
        if opens {
            recount(connection, catalog, &mut row).await?;
        }
    }
    Ok(row)
}

/// From what it is to another state, perhaps with another wave; none: it is no longer what it was.
async fn turn(
    connection: &mut AnyConnection,
    catalog: &Name,
    row: &Row,
    (state, reason): (State, &str),
    opens: bool,
) -> Result<Option<Row>, Refusal> {
    let listed = |opened: &[i64]| opened.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let before = listed(&row.opened);
    // Held before the count goes on: devices that say something lock in the same order.
    let held =
        sqlx::query("UPDATE deployment SET state = state WHERE number = $1 AND state = $2 AND opened = $3")
            .bind(row.number)
            .bind(row.state.as_str())
            .bind(before.clone())
            .execute(&mut *connection)
            .await?;
    if held.rows_affected() == 0 {
        return Ok(None);
    }
    let generation = updates::next_generation(connection).await?;
    let mut opened = row.opened.clone();
    opened.extend(opens.then_some(generation));
    let changed = if opens { row.changed } else { generation };
    let statement = format!(
        "UPDATE deployment SET state = $2, reason = $3, opened = $4, changed = $5 WHERE number = $1 RETURNING {COLUMNS}"
    );
    let turned: Raw = sqlx::query_as(AssertSqlSafe(statement))
        .bind(row.number)
        .bind(state.as_str())
        .bind(reason.to_owned())
        .bind(listed(&opened))
        .bind(changed)
        .fetch_one(&mut *connection)
        .await?;
    stir_group(connection, catalog, &row.place, generation).await?;
    Row::read(turned).map(Some)
}

/// Has the group's devices that wait look at what they are meant to run.
pub(super) async fn stir_group(
    connection: &mut AnyConnection,
    catalog: &Name,
    place: &Placement,
    generation: i64,
) -> Result<(), Refusal> {
    sqlx::query("UPDATE device_group SET generation = $4 WHERE catalog = $1 AND product = $2 AND name = $3")
        .bind(catalog.as_str())
        .bind(place.product.as_str())
        .bind(place.group.as_str())
        .bind(generation)
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts anew in all deployments that go on: a service before this one did not count who left.
///
/// # Errors
/// What the database said.
pub async fn recount_all(connection: &mut AnyConnection, now: i64) -> Result<(), Refusal> {
    let all: Vec<(i64, String)> = sqlx::query_as(
        "SELECT number, catalog FROM deployment WHERE state IN ('running', 'waiting', 'paused') ORDER BY number",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (number, catalog) in all {
        let catalog: Name = checked(catalog)?;
        // Nobody else counts until this is done.
        let statement = format!("UPDATE deployment SET state = state WHERE number = $1 RETURNING {COLUMNS}");
        let held: Raw =
            sqlx::query_as(AssertSqlSafe(statement)).bind(number).fetch_one(&mut *connection).await?;
        let mut row = Row::read(held)?;
        recount(connection, &catalog, &mut row).await?;
        advance(connection, &catalog, row, now).await?;
    }
    Ok(())
}

/// Counts the group's devices in the open waves, and how far those are that were told.
pub(super) async fn recount(
    connection: &mut AnyConnection,
    catalog: &Name,
    row: &mut Row,
) -> Result<(), Refusal> {
    let devices: Vec<(String,)> = sqlx::query_as(
        "SELECT id FROM device WHERE catalog = $1 AND product = $2 AND device_group = $3 AND state = 'active'",
    )
    .bind(catalog.as_str())
    .bind(row.place.product.as_str())
    .bind(row.place.group.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let (open, mut counts) = (row.rollout().open_places(), Counts::default());
    for (id,) in devices {
        let id: DeviceId = checked(id)?;
        counts.chosen += u64::from(place(row.number(), &id) < open);
    }
    let stages: Vec<(String, i64)> = sqlx::query_as(
        "SELECT stage, COUNT(*) FROM deployment_device JOIN device ON device.id = deployment_device.device
         WHERE deployment = $1 AND catalog = $2 AND product = $3 AND device_group = $4 AND state = 'active'
         GROUP BY stage",
    )
    .bind(row.number)
    .bind(catalog.as_str())
    .bind(row.place.product.as_str())
    .bind(row.place.group.as_str())
    .fetch_all(&mut *connection)
    .await?;
    for (stage, count) in stages {
        let count = time(count);
        counts.told += count;
        match Stage::from_word(&stage) {
            Some(Stage::Complete) => counts.complete += count,
            Some(Stage::Failed) => counts.failed += count,
            Some(Stage::RolledBack) => counts.rolled_back += count,
            _ => (),
        }
    }
    row.counts = counts;
    sqlx::query(
        "UPDATE deployment SET chosen = $2, told = $3, complete = $4, failed = $5, rolled_back = $6
         WHERE number = $1",
    )
    .bind(row.number)
    .bind(whole(counts.chosen)?)
    .bind(whole(counts.told)?)
    .bind(whole(counts.complete)?)
    .bind(whole(counts.failed)?)
    .bind(whole(counts.rolled_back)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn note(
    connection: &mut AnyConnection,
    catalog: &Name,
    row: &Row,
    (who, at, action): (&str, i64, &'static str),
    after: Option<Value>,
) -> Result<(), Refusal> {
    let object = format!("deployments/{}", row.number);
    let catalog = Some(catalog);
    audit::note(connection, Change { at, catalog, who, action, object, before: None, after }).await
}
