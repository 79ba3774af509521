//! Room for another deployment: old ones that nobody is answered by any more are let go.
//!
//! A device's answer is looked for in its group's last [`CONSIDERED`], and a new deployment takes over from the last that nobody
//! stopped. These stay; of the others the oldest go, with what devices said of them. The audit log keeps that they were.

use super::device::CONSIDERED;
use crate::refusal::{Kind, Refusal};
use crate::store::audit::{self, Change};
use service_api::Name;
use sqlx::{AnyConnection, AssertSqlSafe};

/// Makes room, so that a catalog has fewer than `most`. The catalog is locked.
///
/// # Errors
/// Each is one of its group's last.
pub(super) async fn make_room(
    connection: &mut AnyConnection,
    catalog: &Name,
    most: i64,
    at: i64,
) -> Result<(), Refusal> {
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM deployment WHERE catalog = $1")
        .bind(catalog.as_str())
        .fetch_one(&mut *connection)
        .await?;
    let over = count + 1 - most;
    if over <= 0 {
        return Ok(());
    }
    let statement = format!(
        "SELECT number FROM (
             SELECT number, state, ROW_NUMBER() OVER (PARTITION BY product, device_group ORDER BY number DESC) AS back,
                    MAX(CASE WHEN state <> 'stopped' THEN number ELSE 0 END)
                        OVER (PARTITION BY product, device_group) AS followed
             FROM deployment WHERE catalog = $1) AS ranked
         WHERE back > {CONSIDERED} AND state IN ('replaced', 'stopped', 'finished') AND number <> followed
         ORDER BY number LIMIT $2"
    );
    let oldest: Vec<(i64,)> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(catalog.as_str())
        .bind(over)
        .fetch_all(&mut *connection)
        .await?;
    if i64::try_from(oldest.len()).unwrap_or(0) < over {
        let reason = format!(
            "the catalog has {count} deployments, and each is one of its group's last {CONSIDERED}: remove groups that \
             have no devices, and their deployments go with them"
        );
        return Err(Refusal::new(Kind::Conflict, reason));
    }
    for (number,) in oldest {
        sqlx::query("DELETE FROM deployment WHERE number = $1")
            .bind(number)
            .execute(&mut *connection)
            .await?;
        let change = Change {
            at,
            catalog: Some(catalog),
            who: "service",
            action: "deployment.forget",
            object: format!("deployments/{number}"),
            before: None,
            after: None,
        };
        audit::note(connection, change).await?;
    }
    Ok(())
}
