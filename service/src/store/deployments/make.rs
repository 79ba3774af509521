//! Making a deployment: one set of releases, of which each is published, for this product, and alone for what it replaces.

use super::room::make_room;
use super::wave::{recount, stir_group};
use super::{COLUMNS, Content, Raw, Row};
use crate::refusal::{Kind, Refusal};
use crate::rollout;
use crate::store::audit::{self, Change};
use crate::store::{fleet, updates};
use serde_json::json;
use service_api::deployments::{NewDeployment, Wave};
use service_api::release::What;
use service_api::updates::{APPS_MAX, Window};
use service_api::{Name, Text};
use sqlx::{AnyConnection, AssertSqlSafe};
use std::collections::BTreeSet;

/// Deployments of a catalog that are kept: each that devices are answered by, of 500 groups.
const DEPLOYMENTS_MAX: i64 = 10_000;
/// Minutes of a week.
const WEEK: u16 = 10_080;

/// Who makes it, and when.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// As the audit log has it.
    pub who: &'a str,
    /// Seconds since 1970.
    pub at: i64,
    /// The feed that it comes by.
    pub feed: Option<&'a Name>,
}

/// Makes a deployment; the group's last one is replaced, if it is not done.
///
/// # Errors
/// There is no such group; releases that are not published, not for the group's product, or two for one thing.
pub async fn create(
    connection: &mut AnyConnection,
    catalog: &Name,
    new: &NewDeployment,
    by: By<'_>,
) -> Result<Row, Refusal> {
    fleet::lock(connection, catalog).await?;
    fleet::group(connection, catalog, &new.product, &new.group).await?;
    make_room(connection, catalog, DEPLOYMENTS_MAX, by.at).await?;
    let content = content(connection, catalog, new).await?;
    replace(connection, catalog, new).await?;
    let generation = updates::next_generation(connection).await?;
    let text = serde_json::to_string(&content).map_err(|_| Refusal::unavailable("the deployment"))?;
    let statement = format!(
        "INSERT INTO deployment (catalog, product, device_group, content, feed, state, reason, created, opened,
             changed, chosen, told, complete, failed, rolled_back)
         VALUES ($1, $2, $3, $4, $5, 'running', '', $6, $7, $8, 0, 0, 0, 0, 0) RETURNING {COLUMNS}"
    );
    let made: Raw = sqlx::query_as(AssertSqlSafe(statement))
        .bind(catalog.as_str())
        .bind(new.product.as_str())
        .bind(new.group.as_str())
        .bind(text)
        .bind(by.feed.map(|feed| feed.as_str().to_owned()))
        .bind(by.at)
        .bind(generation.to_string())
        .bind(generation)
        .fetch_one(&mut *connection)
        .await?;
    let mut row = Row::read(made)?;
    let change = Change {
        at: by.at,
        catalog: Some(catalog),
        who: by.who,
        action: "deployment.create",
        object: format!("deployments/{}", row.number),
        before: None,
        after: Some(json!({"product": new.product, "group": new.group, "releases": content.releases,
            "remove": content.remove, "waves": content.waves})),
    };
    audit::note(connection, change).await?;
    stir_group(connection, catalog, &row.place, generation).await?;
    recount(connection, catalog, &mut row).await?;
    super::wave::advance(connection, catalog, row, by.at).await
}

/// Those of the group that are not done admit nobody new from now on.
async fn replace(connection: &mut AnyConnection, catalog: &Name, new: &NewDeployment) -> Result<(), Refusal> {
    sqlx::query(
        "UPDATE deployment SET state = 'replaced' WHERE catalog = $1 AND product = $2 AND device_group = $3
           AND state IN ('running', 'waiting', 'paused')",
    )
    .bind(catalog.as_str())
    .bind(new.product.as_str())
    .bind(new.group.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

async fn content(
    connection: &mut AnyConnection,
    catalog: &Name,
    new: &NewDeployment,
) -> Result<Content, Refusal> {
    let malformed = |reason: String| Refusal::new(Kind::Malformed, reason);
    let waves = if new.waves.is_empty() { vec![Wave::ALL] } else { new.waves.to_vec() };
    rollout::check(&waves).map_err(|why| malformed(why.to_owned()))?;
    if let Some(window) = new.windows.iter().find(|window| !weekly(window)) {
        return Err(malformed(format!(
            "no week has a window from minute {} for {}",
            window.from, window.minutes
        )));
    }
    let mut subjects = check_releases(connection, catalog, &new.product, &new.releases).await?;
    for app in new.remove.iter() {
        if !subjects.insert(app.as_str().to_owned()) {
            return Err(malformed(format!("{app} is to come and to go")));
        }
    }
    let (mut releases, mut remove) = (new.releases.to_vec(), new.remove.to_vec());
    if !new.alone
        && let Some(last) = last(connection, catalog, new).await?
    {
        releases
            .extend(last.content.releases.into_iter().filter(|target| !subjects.contains(subject(target))));
        remove.extend(last.content.remove.into_iter().filter(|app| !subjects.contains(app.as_str())));
    }
    if releases.is_empty() && remove.is_empty() {
        return Err(malformed("a deployment without a release".to_owned()));
    }
    if releases.len() > APPS_MAX || remove.len() > APPS_MAX {
        return Err(malformed(format!("with what is taken over there are more than {APPS_MAX} releases")));
    }
    let (coming, going) = (Some(new.releases.to_vec()), Some(new.remove.to_vec()));
    let (windows, notes) = (new.windows.to_vec(), new.notes.clone());
    Ok(Content { releases, coming, remove, going, waves, windows, notes })
}

/// Whether these can be a group's: published, for the product, and each alone for what it replaces. What they replace.
///
/// # Errors
/// Which is not.
pub async fn check_releases(
    connection: &mut AnyConnection,
    catalog: &Name,
    product: &Name,
    releases: &[Text<256>],
) -> Result<BTreeSet<String>, Refusal> {
    let malformed = |reason: String| Refusal::new(Kind::Malformed, reason);
    let mut subjects = BTreeSet::new();
    for target in releases {
        let release = updates::release(connection, target.as_str()).await?;
        let missing = || Refusal::new(Kind::Conflict, format!("no release {target} is published"));
        let release = release.ok_or_else(missing)?;
        let ours = match &release.what {
            What::Os(of) => of == product,
            What::App(_) => target.as_str().split('/').nth(1) == Some(catalog.as_str()),
        };
        if !ours {
            return Err(malformed(format!("{target} is for another product or catalog")));
        }
        if !subjects.insert(subject(target).to_owned()) {
            return Err(malformed(format!("{target} is the second release for the same")));
        }
    }
    Ok(subjects)
}

fn subject(target: &Text<256>) -> &str {
    rollout::subject(target.as_str()).0
}

/// The group's last deployment that nobody stopped.
async fn last(
    connection: &mut AnyConnection,
    catalog: &Name,
    new: &NewDeployment,
) -> Result<Option<Row>, Refusal> {
    let statement = format!(
        "SELECT {COLUMNS} FROM deployment WHERE catalog = $1 AND product = $2 AND device_group = $3
           AND state <> 'stopped' ORDER BY number DESC LIMIT 1"
    );
    let found: Option<Raw> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(catalog.as_str())
        .bind(new.product.as_str())
        .bind(new.group.as_str())
        .fetch_optional(connection)
        .await?;
    found.map(Row::read).transpose()
}

fn weekly(window: &Window) -> bool {
    window.from < WEEK && (1..=WEEK).contains(&window.minutes)
}
