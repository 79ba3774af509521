//! Error reports, the same one counted together.

use super::{checked, time};
use crate::refusal::{Kind, Refusal};
use service_api::device::{Report, ReportKind};
use service_api::fleet::{Page, Placement};
use service_api::records::{CollectedReport, ReportFilter};
use service_api::{DeviceId, Name};
use sqlx::AnyConnection;

/// Different reports of one device; beyond, those unheard of for longest go.
const REPORTS_MAX: i64 = 2_000;
/// Batches of one device that are remembered.
const BATCHES_MAX: i64 = 10_000;

/// A batch to be taken.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whose.
    pub device: DeviceId,
    /// Where it belongs.
    pub catalog: Name,
    /// Where it belongs.
    pub place: Placement,
    /// The device's number for it.
    pub batch: u64,
    /// Of its content: a device that lost its numbers and counts anew is heard all the same.
    pub digest: String,
    /// The reports.
    pub reports: Vec<Report>,
}

/// Takes a batch, once.
///
/// # Errors
/// The device sent too many batches.
pub async fn take(connection: &mut AnyConnection, batch: &Batch, now: i64) -> Result<(), Refusal> {
    let new = sqlx::query(
        "INSERT INTO report_batch (device, batch, digest, at)
         SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM report_batch WHERE device = $1) < $5
            OR EXISTS (SELECT 1 FROM report_batch WHERE device = $1 AND batch = $2 AND digest = $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(batch.device.as_str())
    .bind(batch.batch.to_string())
    .bind(batch.digest.clone())
    .bind(now)
    .bind(BATCHES_MAX)
    .execute(&mut *connection)
    .await?;
    if new.rows_affected() == 0 {
        return known_before(connection, batch).await;
    }
    // In one order, so that two batches of a device do not wait for each other's rows.
    let mut reports: Vec<&Report> = batch.reports.iter().collect();
    reports.sort_by(|a, b| key(a).cmp(&key(b)));
    for report in reports {
        add(connection, batch, report, now).await?;
    }
    forget_oldest(connection, batch).await
}

fn key(report: &Report) -> (&str, &str, &str, &str, &str) {
    let Report { os_version, app, app_version, kind, detail, .. } = report;
    (os_version.as_str(), app.as_str(), app_version.as_str(), kind.as_str(), detail.as_str())
}

async fn known_before(connection: &mut AnyConnection, batch: &Batch) -> Result<(), Refusal> {
    let (same,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM report_batch WHERE device = $1 AND batch = $2 AND digest = $3")
            .bind(batch.device.as_str())
            .bind(batch.batch.to_string())
            .bind(batch.digest.clone())
            .fetch_one(connection)
            .await?;
    if same == 1 { Ok(()) } else { Err(Refusal::new(Kind::TooMany, "the device sent too many batches")) }
}

async fn add(
    connection: &mut AnyConnection,
    batch: &Batch,
    report: &Report,
    now: i64,
) -> Result<(), Refusal> {
    sqlx::query(
        "INSERT INTO report (catalog, device, os_version, app, app_version, kind, detail, product, device_group, count,
                first, last, heard) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         ON CONFLICT (catalog, device, os_version, app, app_version, kind, detail) DO UPDATE SET
            count = report.count + excluded.count,
            first = CASE WHEN report.first = 0 OR (excluded.first > 0 AND excluded.first < report.first)
                    THEN excluded.first ELSE report.first END,
            last = CASE WHEN excluded.last > report.last THEN excluded.last ELSE report.last END,
            product = excluded.product, device_group = excluded.device_group, heard = excluded.heard",
    )
    .bind(batch.catalog.as_str())
    .bind(batch.device.as_str())
    .bind(report.os_version.as_str())
    .bind(report.app.as_str())
    .bind(report.app_version.as_str())
    .bind(report.kind.as_str())
    .bind(report.detail.as_str())
    .bind(batch.place.product.as_str())
    .bind(batch.place.group.as_str())
    .bind(i64::from(report.count))
    .bind(super::whole(report.first)?)
    .bind(super::whole(report.last)?)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget_oldest(connection: &mut AnyConnection, batch: &Batch) -> Result<(), Refusal> {
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM report WHERE catalog = $1 AND device = $2")
        .bind(batch.catalog.as_str())
        .bind(batch.device.as_str())
        .fetch_one(&mut *connection)
        .await?;
    if count <= REPORTS_MAX {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM report WHERE catalog = $1 AND device = $2
            AND (os_version, app, app_version, kind, detail) NOT IN (
                SELECT os_version, app, app_version, kind, detail FROM report WHERE catalog = $1 AND device = $2
                ORDER BY heard DESC, last DESC, detail LIMIT $3)",
    )
    .bind(batch.catalog.as_str())
    .bind(batch.device.as_str())
    .bind(REPORTS_MAX)
    .execute(connection)
    .await?;
    Ok(())
}

/// The catalog's reports, those heard of last first.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut AnyConnection,
    catalog: &Name,
    filter: &ReportFilter,
) -> Result<Page<CollectedReport>, Refusal> {
    type Row = (String, String, String, String, String, String, String, String, i64, i64, i64, i64);
    let limit = super::limit(filter.limit, 1000, 10_000)?;
    let name = |name: &Option<Name>| name.as_ref().map_or(String::new(), |name| name.as_str().to_owned());
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT device, product, device_group, os_version, app, app_version, kind, detail, count, first, last, heard
         FROM report WHERE catalog = $1 AND ($2 = '' OR device = $2) AND ($3 = '' OR product = $3)
           AND ($4 = '' OR device_group = $4) AND heard >= $5
         ORDER BY heard DESC, device, os_version, app, app_version, kind, detail LIMIT $6 OFFSET $7",
    )
    .bind(catalog.as_str())
    .bind(filter.device.as_ref().map_or("", |device| device.as_str()))
    .bind(name(&filter.product))
    .bind(name(&filter.group))
    .bind(super::whole(filter.since.unwrap_or(0))?)
    .bind(limit + 1)
    .bind(i64::from(filter.skip.unwrap_or(0)))
    .fetch_all(connection)
    .await?;
    super::page(rows, limit, |row| {
        let (device, product, group, os_version, app, app_version, kind, detail, count, first, last, heard) =
            row;
        Ok(CollectedReport {
            device: checked(device)?,
            product: checked(product)?,
            group: checked(group)?,
            os_version,
            app,
            app_version,
            kind: ReportKind::from_word(&kind).ok_or_else(super::damaged)?,
            detail,
            count: time(count),
            first: time(first),
            last: time(last),
            heard: time(heard),
        })
    })
}
