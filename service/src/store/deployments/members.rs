//! Who comes to a group or leaves it: a deployment counts the devices that are there.
//!
//! A device that was revoked, given up or moved holds no wave up, and what it said counts no longer. Should it come back, it counts
//! as it did: what it said is kept.

use super::device::{Asker, considered};
use super::wave::advance;
use super::{COLUMNS, Raw, Row};
use crate::refusal::Refusal;
use crate::rollout::place;
use service_api::updates::Stage;
use sqlx::{AnyConnection, AssertSqlSafe};

/// What a device does with its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is among the group's devices from now on.
    Comes,
    /// It no longer is.
    Leaves,
}

/// Counts it in each of the groups' deployments, and does what follows from that. The device's own row says it already.
///
/// # Errors
/// What the database said.
pub async fn regroup(
    connection: &mut AnyConnection,
    turns: &[(Asker, Turn)],
    now: i64,
) -> Result<(), Refusal> {
    let mut all = Vec::new();
    for (asker, turn) in turns {
        let known = considered(connection, asker).await?;
        all.extend(known.into_iter().map(|(row, told)| (row.number, told, asker, *turn)));
    }
    // Whoever else moves a device between the same groups locks in the same order. A device that says something locks the one that it
    // speaks of first: where the two meet, the database gives one of them up, which is tried again (`patience`), or its asker is told to come again.
    all.sort_by_key(|(number, ..)| *number);
    let mut counted = Vec::new();
    for (number, told, asker, turn) in all {
        counted.push((asker, count(connection, asker, (number, told), turn).await?));
    }
    for (asker, row) in counted {
        advance(connection, &asker.catalog, row, now).await?;
    }
    Ok(())
}

async fn count(
    connection: &mut AnyConnection,
    asker: &Asker,
    (number, told): (i64, Option<Option<Stage>>),
    turn: Turn,
) -> Result<Row, Refusal> {
    let by = |counts: bool| if turn == Turn::Comes { i64::from(counts) } else { -i64::from(counts) };
    let statement = format!(
        "UPDATE deployment SET told = told + $2, complete = complete + $3, failed = failed + $4,
                rolled_back = rolled_back + $5 WHERE number = $1 RETURNING {COLUMNS}"
    );
    let counted: Raw = sqlx::query_as(AssertSqlSafe(statement))
        .bind(number)
        .bind(by(told.is_some()))
        .bind(by(told == Some(Some(Stage::Complete))))
        .bind(by(told == Some(Some(Stage::Failed))))
        .bind(by(told == Some(Some(Stage::RolledBack))))
        .fetch_one(&mut *connection)
        .await?;
    let row = Row::read(counted)?;
    // Which waves are open is certain only now that nobody else can open one.
    let chosen = place(row.number(), &asker.device) < row.rollout().open_places();
    let statement =
        format!("UPDATE deployment SET chosen = chosen + $2 WHERE number = $1 RETURNING {COLUMNS}");
    let counted: Raw =
        sqlx::query_as(AssertSqlSafe(statement)).bind(number).bind(by(chosen)).fetch_one(connection).await?;
    Row::read(counted)
}
