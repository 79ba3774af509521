//! What a device that was told of a deployment says became of it.

use super::device::{Asker, CONSIDERED};
use super::wave::advance;
use super::{COLUMNS, Raw, Row};
use crate::refusal::Refusal;
use crate::rollout::{self, Account, Earlier};
use crate::store::{damaged, time};
use service_api::deployments::DeploymentState as State;
use service_api::updates::{Check, Outcome, Stage};
use sqlx::{AnyConnection, AssertSqlSafe};

/// The device is told of a deployment for the first time, which begins with what the device said of its releases before.
pub(super) async fn tell(
    connection: &mut AnyConnection,
    asker: &Asker,
    row: &Row,
    check: &Check,
    now: i64,
) -> Result<(), Refusal> {
    let account = match &row.content.coming {
        Some(_) => Account::begin(&row.content.releases, &earlier(connection, asker, check).await?),
        None => Account::default(),
    };
    let is = stage_of(row, check, &account);
    let told = sqlx::query(
        "INSERT INTO deployment_device (deployment, device, stage, stages, release, reason, heard, fetched)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(row.number)
    .bind(asker.device.as_str())
    .bind(is.map_or("", Stage::as_str))
    .bind(said_text(&account)?)
    .bind(account.release)
    .bind(account.reason)
    .bind(now)
    .bind(i64::try_from(account.fetched).unwrap_or(i64::MAX))
    .execute(&mut *connection)
    .await?;
    if told.rows_affected() == 1 {
        sqlx::query("UPDATE deployment SET told = told + 1 WHERE number = $1")
            .bind(row.number)
            .execute(&mut *connection)
            .await?;
        count(connection, asker, row, (None, is), now).await?;
    }
    Ok(())
}

/// What the device says now, and said in the catalog's deployments, the newest first.
async fn earlier(
    connection: &mut AnyConnection,
    asker: &Asker,
    check: &Check,
) -> Result<Vec<Earlier>, Refusal> {
    let mut now = Account::default();
    now.hear(check.outcomes.iter());
    let before = accounts(connection, asker).await?.into_iter();
    let before = before.map(|(_, state, account)| Earlier { account, stopped: state == State::Stopped });
    Ok([Earlier { account: now, stopped: false }].into_iter().chain(before).collect())
}

/// What the device said in the catalog's deployments, by their numbers and with their states, the newest first.
async fn accounts(
    connection: &mut AnyConnection,
    asker: &Asker,
) -> Result<Vec<(i64, State, Account)>, Refusal> {
    let statement = format!(
        "SELECT number, state, stages, release, deployment_device.reason, fetched
         FROM deployment_device JOIN deployment ON deployment.number = deployment_device.deployment
         WHERE device = $1 AND catalog = $2 ORDER BY heard DESC, deployment DESC LIMIT {CONSIDERED}"
    );
    let rows: Vec<(i64, String, String, String, String, i64)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(asker.device.as_str())
        .bind(asker.catalog.as_str())
        .fetch_all(connection)
        .await?;
    let account =
        |(number, state, stages, release, reason, fetched): (i64, String, String, String, String, i64)| {
            let state = State::from_word(&state).ok_or_else(damaged)?;
            Ok((number, state, account_of(&stages, release, reason, fetched)?))
        };
    rows.into_iter().map(account).collect()
}

/// Takes down what a device says of releases that the one it speaks of, `spoken`, has not: the deployment that it was told of them by last
/// knows it for those to come. Nobody waits for it there, so nothing is counted.
pub(super) async fn hear_late(
    connection: &mut AnyConnection,
    asker: &Asker,
    spoken: Option<&Row>,
    check: &Check,
) -> Result<(), Refusal> {
    let is_late =
        |outcome: &&Outcome| !spoken.is_some_and(|row| row.content.releases.contains(&outcome.release));
    let mut late: Vec<&Outcome> = check.outcomes.iter().filter(is_late).collect();
    if late.is_empty() {
        return Ok(());
    }
    for (number, _, mut account) in accounts(connection, asker).await? {
        let (its, others): (Vec<&Outcome>, Vec<&Outcome>) =
            late.iter().partition(|outcome| account.said.contains_key(outcome.release.as_str()));
        late = others;
        if account.hear(its.into_iter()) {
            sqlx::query(
                "UPDATE deployment_device SET stages = $3, release = $4, reason = $5
                 WHERE deployment = $1 AND device = $2",
            )
            .bind(number)
            .bind(asker.device.as_str())
            .bind(said_text(&account)?)
            .bind(account.release)
            .bind(account.reason)
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}

/// How far the device is with a deployment, by what it runs and what it said of its releases.
fn stage_of(row: &Row, check: &Check, account: &Account) -> Option<Stage> {
    let coming = row.content.coming.as_ref().unwrap_or(&row.content.releases);
    let mut stages = account.standing(check, &row.content.releases, coming);
    stages.extend(row.content.going().iter().map(|app| rollout::removal(check, app.as_str())));
    rollout::overall(&stages)
}

/// Takes down how far the device is with a deployment, and lets waves follow from it. Whether that is something new.
pub(super) async fn hear(
    connection: &mut AnyConnection,
    asker: &Asker,
    row: &Row,
    check: &Check,
    now: i64,
) -> Result<bool, Refusal> {
    let (was, stages, release, reason, fetched): (String, String, String, String, i64) = sqlx::query_as(
        "SELECT stage, stages, release, reason, fetched FROM deployment_device WHERE deployment = $1 AND device = $2",
    )
    .bind(row.number)
    .bind(asker.device.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let mut account = account_of(&stages, release, reason, fetched)?;
    let ours = |outcome: &&Outcome| row.content.releases.contains(&outcome.release);
    let news = account.hear(check.outcomes.iter().filter(ours));
    let (was, is) = (Stage::from_word(&was), stage_of(row, check, &account));
    if !news && was == is {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE deployment_device SET stage = $3, stages = $4, release = $5, reason = $6, heard = $7, fetched = $8
         WHERE deployment = $1 AND device = $2",
    )
    .bind(row.number)
    .bind(asker.device.as_str())
    .bind(is.map_or("", Stage::as_str))
    .bind(said_text(&account)?)
    .bind(account.release)
    .bind(account.reason)
    .bind(now)
    .bind(i64::try_from(account.fetched).unwrap_or(i64::MAX))
    .execute(&mut *connection)
    .await?;
    count(connection, asker, row, (was, is), now).await?;
    Ok(true)
}

async fn count(
    connection: &mut AnyConnection,
    asker: &Asker,
    row: &Row,
    (was, is): (Option<Stage>, Option<Stage>),
    now: i64,
) -> Result<(), Refusal> {
    let by = |stage| i64::from(is == Some(stage)) - i64::from(was == Some(stage));
    let [complete, failed, back] = [Stage::Complete, Stage::Failed, Stage::RolledBack].map(by);
    if [complete, failed, back] == [0, 0, 0] {
        return Ok(());
    }
    let statement = format!(
        "UPDATE deployment SET complete = complete + $2, failed = failed + $3, rolled_back = rolled_back + $4
         WHERE number = $1 RETURNING {COLUMNS}"
    );
    let counted: Raw = sqlx::query_as(AssertSqlSafe(statement))
        .bind(row.number)
        .bind(complete)
        .bind(failed)
        .bind(back)
        .fetch_one(&mut *connection)
        .await?;
    advance(connection, &asker.catalog, Row::read(counted)?, now).await?;
    Ok(())
}

fn account_of(stages: &str, release: String, reason: String, fetched: i64) -> Result<Account, Refusal> {
    let said = serde_json::from_str(stages).map_err(|_| damaged())?;
    Ok(Account { said, release, reason, fetched: time(fetched) })
}

fn said_text(account: &Account) -> Result<String, Refusal> {
    serde_json::to_string(&account.said).map_err(|_| damaged())
}
