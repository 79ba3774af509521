//! What a device is meant to run, and how far it is.

use super::told::{self, hear};
use super::{COLUMNS, Content, Raw, Row};
use crate::refusal::{Kind, Refusal};
use crate::rollout::place;
use crate::store::{checked, damaged, orders, time, updates, whole};
use serde::{Deserialize, Serialize};
use service_api::deployments::{DeviceProgress, DeviceUpdates, ProgressFilter};
use service_api::fleet::{Page, Placement};
use service_api::updates::{Check, Running, Stage, Window};
use service_api::{DeviceId, Digest, Name, Text, Version};
use sqlx::{AnyConnection, AssertSqlSafe};
use std::collections::BTreeMap;

/// Of a group's deployments, those that are looked at for a device.
pub(super) const CONSIDERED: i64 = 20;
/// A device that says nothing new is noted as having asked this often, seconds.
const ASKED_S: i64 = 3600;

/// What a device is meant to run.
#[derive(Clone, Debug, Default)]
pub struct Meant {
    /// Grows whenever it changes.
    pub generation: u64,
    /// The deployment that says so.
    pub deployment: Option<u64>,
    /// Releases.
    pub releases: Vec<Text<256>>,
    /// Apps that are to go.
    pub remove: Vec<Text<128>>,
    /// When.
    pub windows: Vec<Window>,
    /// Whether the device was told of it before.
    told: bool,
}

/// A device, where it is.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Which.
    pub device: DeviceId,
    /// Its catalog.
    pub catalog: Name,
    /// Its group.
    pub place: Placement,
}

/// What a device runs, as it is kept.
#[derive(Serialize, Deserialize)]
struct Runs {
    os: Version,
    root_hash: Digest,
    apps: Vec<Running>,
}

/// A deployment, and how far the device said it is if it was told of it.
pub(super) type Considered = (Row, Option<Option<Stage>>);

/// What the device is meant to run now.
///
/// # Errors
/// What the database said.
pub async fn meant(connection: &mut AnyConnection, asker: &Asker) -> Result<Meant, Refusal> {
    let (own,): (i64,) = sqlx::query_as("SELECT generation FROM device WHERE id = $1")
        .bind(asker.device.as_str())
        .fetch_one(&mut *connection)
        .await?;
    Ok(of(asker, own, considered(connection, asker).await?))
}

fn of(asker: &Asker, own: i64, considered: Vec<Considered>) -> Meant {
    let mut generation = own;
    for (row, told) in considered {
        let (rollout, at) = (row.rollout(), place(row.number(), &asker.device));
        let open = at < rollout.open_places();
        if open || told.is_some() {
            generation = generation.max(row.changed);
        }
        let opened = rollout.wave_of(at).and_then(|wave| row.opened.get(wave));
        generation = generation.max(opened.copied().unwrap_or(0));
        if rollout.entitles(at, told) {
            let deployment = Some(row.number());
            let Content { releases, remove, windows, .. } = row.content;
            let generation = time(generation);
            return Meant { generation, deployment, releases, remove, windows, told: told.is_some() };
        }
    }
    Meant { generation: time(generation), ..Meant::default() }
}

pub(super) async fn considered(
    connection: &mut AnyConnection,
    asker: &Asker,
) -> Result<Vec<Considered>, Refusal> {
    let statement = format!(
        "SELECT {COLUMNS} FROM deployment WHERE catalog = $1 AND product = $2 AND device_group = $3
         ORDER BY number DESC LIMIT {CONSIDERED}"
    );
    let rows: Vec<Raw> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(asker.catalog.as_str())
        .bind(asker.place.product.as_str())
        .bind(asker.place.group.as_str())
        .fetch_all(&mut *connection)
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let said: Vec<(i64, String)> = sqlx::query_as(
        "SELECT deployment, stage FROM deployment_device WHERE device = $1 ORDER BY deployment DESC LIMIT 100",
    )
    .bind(asker.device.as_str())
    .fetch_all(connection)
    .await?;
    let said: BTreeMap<i64, Option<Stage>> =
        said.into_iter().map(|(number, stage)| (number, Stage::from_word(&stage))).collect();
    let with =
        |raw| Row::read(raw).map(|row| (said.get(&row.number).copied(), row)).map(|(said, row)| (row, said));
    rows.into_iter().map(with).collect()
}

/// The answer to a device that says nothing that is not known, if this one does not; none: [`ask`] is to be called.
///
/// # Errors
/// What the database said.
pub async fn quiet(
    connection: &mut AnyConnection,
    asker: &Asker,
    check: &Check,
    now: i64,
) -> Result<Option<Meant>, Refusal> {
    if !check.outcomes.is_empty() || check.order.is_some() {
        return Ok(None);
    }
    let (own, asked, runs): (i64, Option<i64>, Option<String>) =
        sqlx::query_as("SELECT generation, asked, runs FROM device WHERE id = $1")
            .bind(asker.device.as_str())
            .fetch_one(&mut *connection)
            .await?;
    if asked.is_none_or(|asked| asked + ASKED_S <= now) || runs != Some(runs_text(check)?) {
        return Ok(None);
    }
    let meant = of(asker, own, considered(connection, asker).await?);
    Ok((meant.told || meant.deployment.is_none()).then_some(meant))
}

/// Takes down what a device says, and answers it.
///
/// # Errors
/// The device is elsewhere by now, or nobody's; what the database said.
pub async fn ask(
    connection: &mut AnyConnection,
    asker: &Asker,
    check: &Check,
    now: i64,
) -> Result<Meant, Refusal> {
    // Whoever else speaks for this device waits here, and nothing is counted of one that left meanwhile.
    let there: Option<(i64,)> = sqlx::query_as(
        "UPDATE device SET asked = $2, runs = $3 WHERE id = $1 AND state = 'active' AND catalog = $4
            AND product = $5 AND device_group = $6 RETURNING generation",
    )
    .bind(asker.device.as_str())
    .bind(now)
    .bind(runs_text(check)?)
    .bind(asker.catalog.as_str())
    .bind(asker.place.product.as_str())
    .bind(asker.place.group.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let elsewhere = || Refusal::new(Kind::Conflict, "the device was put elsewhere meanwhile");
    let (own,) = there.ok_or_else(elsewhere)?;
    if let Some(says) = &check.order {
        orders::heard(connection, &asker.device, says, now).await?;
    }
    let all = considered(connection, asker).await?;
    // The last one that it was told of is what it speaks about.
    let spoken = all.iter().find(|(_, told)| told.is_some()).map(|(row, _)| row.clone());
    told::hear_late(connection, asker, spoken.as_ref(), check).await?;
    let before = of(asker, own, all.clone());
    let (mut meant, mut known) = (before.clone(), all);
    if let Some(row) = spoken
        && hear(connection, asker, &row, check, now).await?
    {
        meant = self::meant(connection, asker).await?;
        known = considered(connection, asker).await?;
    }
    let first = |(row, told): &&Considered| told.is_none() && Some(row.number()) == meant.deployment;
    if let Some((row, _)) = known.iter().find(first) {
        told::tell(connection, asker, row, check, now).await?;
        meant.told = true;
    }
    if before.deployment != meant.deployment && before.generation >= meant.generation {
        // It went back by its own word: the answer is another, and its number has to be.
        updates::stir_device(connection, asker.device.as_str()).await?;
        meant.generation = self::meant(connection, asker).await?.generation;
    }
    Ok(meant)
}

fn runs_text(check: &Check) -> Result<String, Refusal> {
    let runs = Runs { os: check.os.clone(), root_hash: check.root_hash.clone(), apps: check.apps.to_vec() };
    serde_json::to_string(&runs).map_err(|_| Refusal::unavailable("what the device runs"))
}

type ProgressRow = (i64, String, String, String, String, i64, i64);

fn progress_of(
    (deployment, device, stage, release, reason, heard, fetched): ProgressRow,
) -> Result<DeviceProgress, Refusal> {
    Ok(DeviceProgress {
        device: checked(device)?,
        deployment: time(deployment),
        stage: Stage::from_word(&stage),
        release: Text::shown(&release),
        reason: Text::shown(&reason),
        heard: time(heard),
        fetched: time(fetched),
    })
}

/// A deployment's devices that were told of it, by id.
///
/// # Errors
/// What the database said.
pub async fn progress(
    connection: &mut AnyConnection,
    number: u64,
    filter: &ProgressFilter,
) -> Result<Page<DeviceProgress>, Refusal> {
    let limit = crate::store::limit(filter.limit, 100, 1000)?;
    let rows: Vec<ProgressRow> = sqlx::query_as(
        "SELECT deployment, device, stage, release, reason, heard, fetched FROM deployment_device
         WHERE deployment = $1 AND device > $2 AND ($3 = '' OR stage = $3) ORDER BY device LIMIT $4",
    )
    .bind(whole(number)?)
    .bind(filter.after.as_ref().map_or("", |device| device.as_str()))
    .bind(filter.stage.map_or("", Stage::as_str))
    .bind(limit + 1)
    .fetch_all(connection)
    .await?;
    crate::store::page(rows, limit, progress_of)
}

/// What a device of the catalog runs, and how its updates went.
///
/// # Errors
/// There is no such device in the catalog.
pub async fn updates_of(connection: &mut AnyConnection, asker: &Asker) -> Result<DeviceUpdates, Refusal> {
    let (asked, runs): (Option<i64>, Option<String>) =
        sqlx::query_as("SELECT asked, runs FROM device WHERE id = $1")
            .bind(asker.device.as_str())
            .fetch_one(&mut *connection)
            .await?;
    let runs: Option<Runs> =
        runs.map(|runs| serde_json::from_str(&runs).map_err(|_| damaged())).transpose()?;
    let rows: Vec<ProgressRow> = sqlx::query_as(
        "SELECT deployment, device, stage, release, deployment_device.reason, heard, fetched
         FROM deployment_device JOIN deployment ON deployment.number = deployment_device.deployment
         WHERE device = $1 AND catalog = $2 ORDER BY deployment DESC LIMIT 100",
    )
    .bind(asker.device.as_str())
    .bind(asker.catalog.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let meant = meant(connection, asker).await?;
    let (os, root_hash, apps) = match runs {
        Some(runs) => (Some(runs.os), Some(runs.root_hash), runs.apps),
        None => (None, None, Vec::new()),
    };
    Ok(DeviceUpdates {
        asked: asked.map(time),
        os,
        root_hash,
        apps,
        deployment: meant.deployment,
        progress: rows.into_iter().map(progress_of).collect::<Result<_, _>>()?,
        order: orders::last(connection, &asker.device).await?,
    })
}
