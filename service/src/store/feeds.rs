//! Feeds of a product, their entries, and which groups follow them.

use super::deployments::{self, By};
use super::{checked, damaged, time, whole};
use crate::refusal::{Kind, Refusal};
use crate::rollout;
use crate::store::audit::{self, Change};
use crate::store::fleet;
use serde_json::json;
use service_api::deployments::{NewDeployment, Wave};
use service_api::feeds::{Feed, FeedEntry, Follow, Follows, NewFeed, NewFeedEntry};
use service_api::{Few, Name, Text};
use sqlx::AnyConnection;

/// Feeds of a product.
const FEEDS_MAX: i64 = 100;

/// A product of a catalog.
#[derive(Clone, Debug)]
pub struct Of {
    /// The catalog.
    pub catalog: Name,
    /// The product.
    pub product: Name,
}

/// Makes a feed.
///
/// # Errors
/// There is one of that name, no such product, or the waves do not do.
pub async fn add(
    connection: &mut AnyConnection,
    of: &Of,
    new: &NewFeed,
    (who, at): (&str, i64),
) -> Result<Feed, Refusal> {
    fleet::lock(connection, &of.catalog).await?;
    let waves = if new.waves.is_empty() { vec![Wave::ALL] } else { new.waves.to_vec() };
    rollout::check(&waves).map_err(|why| Refusal::new(Kind::Malformed, why))?;
    let added = sqlx::query(
        "INSERT INTO feed (catalog, product, name, description, waves, created)
         SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT COUNT(*) FROM feed WHERE catalog = $1 AND product = $2) < $7",
    )
    .bind(of.catalog.as_str())
    .bind(of.product.as_str())
    .bind(new.name.as_str())
    .bind(new.description.as_str())
    .bind(serde_json::to_string(&waves).map_err(|_| damaged())?)
    .bind(at)
    .bind(FEEDS_MAX)
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 {
        return Err(Refusal::new(Kind::Conflict, "the product has too many feeds"));
    }
    note(connection, of, &format!("feeds/{}", new.name), (who, at, "feed.add"), json!({"waves": waves}))
        .await?;
    find(connection, of, &new.name).await
}

async fn note(
    connection: &mut AnyConnection,
    of: &Of,
    object: &str,
    (who, at, action): (&str, i64, &'static str),
    after: serde_json::Value,
) -> Result<(), Refusal> {
    let object = format!("products/{}/{object}", of.product);
    let catalog = Some(&of.catalog);
    audit::note(connection, Change { at, catalog, who, action, object, before: None, after: Some(after) })
        .await
}

/// The product's feeds, and who follows them.
///
/// # Errors
/// What the database said.
pub async fn list(connection: &mut AnyConnection, of: &Of) -> Result<Vec<Feed>, Refusal> {
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(
        "SELECT name, description, waves, created FROM feed WHERE catalog = $1 AND product = $2 ORDER BY name",
    )
    .bind(of.catalog.as_str())
    .bind(of.product.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let groups = follows(connection, of).await?;
    let feed = |(name, description, waves, created): (String, String, String, i64)| {
        Ok(Feed {
            groups: groups.iter().filter(|group| group.feed.as_str() == name).cloned().collect(),
            name: checked(name)?,
            description: checked(description)?,
            waves: serde_json::from_str(&waves).map_err(|_| damaged())?,
            created: time(created),
        })
    };
    rows.into_iter().map(feed).collect()
}

async fn find(connection: &mut AnyConnection, of: &Of, feed: &Name) -> Result<Feed, Refusal> {
    let all = list(connection, of).await?;
    all.into_iter().find(|there| there.name == *feed).ok_or_else(|| Refusal::missing("such feed"))
}

/// The product's groups that follow a feed.
///
/// # Errors
/// What the database said.
pub async fn follows(connection: &mut AnyConnection, of: &Of) -> Result<Vec<Follows>, Refusal> {
    let rows: Vec<(String, String, Option<i64>)> = sqlx::query_as(
        "SELECT name, feed, pinned FROM device_group
         WHERE catalog = $1 AND product = $2 AND feed IS NOT NULL ORDER BY name",
    )
    .bind(of.catalog.as_str())
    .bind(of.product.as_str())
    .fetch_all(connection)
    .await?;
    let follows = |(group, feed, pinned): (String, String, Option<i64>)| {
        Ok(Follows { group: checked(group)?, feed: checked(feed)?, pinned: pinned.map(time) })
    };
    rows.into_iter().map(follows).collect()
}

/// A feed's entries, newest first, at most 1000.
///
/// # Errors
/// There is no such feed.
pub async fn entries(
    connection: &mut AnyConnection,
    of: &Of,
    feed: &Name,
) -> Result<Vec<FeedEntry>, Refusal> {
    find(connection, of, feed).await?;
    let rows: Vec<(i64, String, String, i64)> = sqlx::query_as(
        "SELECT number, releases, notes, created FROM feed_entry
         WHERE catalog = $1 AND product = $2 AND feed = $3 ORDER BY number DESC LIMIT 1000",
    )
    .bind(of.catalog.as_str())
    .bind(of.product.as_str())
    .bind(feed.as_str())
    .fetch_all(connection)
    .await?;
    let entry = |(number, releases, notes, created): (i64, String, String, i64)| {
        Ok(FeedEntry {
            number: time(number),
            releases: serde_json::from_str(&releases).map_err(|_| damaged())?,
            notes: checked(notes)?,
            created: time(created),
            deployments: Vec::new(),
        })
    };
    rows.into_iter().map(entry).collect()
}

/// Puts an entry into a feed; groups that follow it and are not pinned get it as a deployment.
///
/// # Errors
/// There is no such feed, or the releases do not do for a deployment.
pub async fn publish(
    connection: &mut AnyConnection,
    of: &Of,
    feed: &Name,
    new: &NewFeedEntry,
    (who, at): (&str, i64),
) -> Result<FeedEntry, Refusal> {
    fleet::lock(connection, &of.catalog).await?;
    let found = find(connection, of, feed).await?;
    deployments::check_releases(connection, &of.catalog, &of.product, &new.releases).await?;
    if new.releases.is_empty() {
        return Err(Refusal::new(Kind::Malformed, "an entry without a release"));
    }
    let number = entries(connection, of, feed).await?.first().map_or(1, |last| last.number + 1);
    sqlx::query(
        "INSERT INTO feed_entry (catalog, product, feed, number, releases, notes, created)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(of.catalog.as_str())
    .bind(of.product.as_str())
    .bind(feed.as_str())
    .bind(whole(number)?)
    .bind(serde_json::to_string(&new.releases).map_err(|_| damaged())?)
    .bind(new.notes.as_str())
    .bind(at)
    .execute(&mut *connection)
    .await?;
    let object = format!("feeds/{feed}/{number}");
    note(connection, of, &object, (who, at, "feed.publish"), json!({"releases": new.releases})).await?;
    let releases = new.releases.to_vec();
    let mut entry =
        FeedEntry { number, releases, notes: new.notes.clone(), created: time(at), deployments: Vec::new() };
    for group in found.groups.iter().filter(|group| group.pinned.is_none()) {
        entry.deployments.push(deploy(connection, of, &found, (&group.group, &entry), (who, at)).await?);
    }
    Ok(entry)
}

async fn deploy(
    connection: &mut AnyConnection,
    of: &Of,
    feed: &Feed,
    (group, entry): (&Name, &FeedEntry),
    (who, at): (&str, i64),
) -> Result<u64, Refusal> {
    let notes = format!("{} {}: {}", feed.name, entry.number, entry.notes);
    let new = NewDeployment {
        product: of.product.clone(),
        group: group.clone(),
        releases: Few::new(entry.releases.clone()).ok_or_else(damaged)?,
        remove: Few::default(),
        alone: false,
        waves: Few::new(feed.waves.clone()).ok_or_else(damaged)?,
        windows: Few::default(),
        notes: Text::shown(&notes),
    };
    let by = By { who, at, feed: Some(&feed.name) };
    Ok(deployments::create(connection, &of.catalog, &new, by).await?.shown().number)
}

/// Has a group follow a feed, or stay at one of its entries, which is deployed to it now.
///
/// # Errors
/// There is no such group, feed or entry.
pub async fn follow(
    connection: &mut AnyConnection,
    of: &Of,
    group: &Name,
    follow: &Follow,
    (who, at): (&str, i64),
) -> Result<Follows, Refusal> {
    fleet::lock(connection, &of.catalog).await?;
    let feed = find(connection, of, &follow.feed).await?;
    let entries = entries(connection, of, &follow.feed).await?;
    let entry = match follow.pinned {
        None => entries.first(),
        Some(pinned) => {
            let found = entries.iter().find(|entry| entry.number == pinned);
            Some(found.ok_or_else(|| Refusal::missing("such entry of the feed"))?)
        }
    };
    set(connection, of, group, Some(follow)).await?;
    let object = format!("groups/{group}");
    note(connection, of, &object, (who, at, "group.follow"), json!(follow)).await?;
    if let Some(entry) = entry {
        deploy(connection, of, &feed, (group, entry), (who, at)).await?;
    }
    Ok(Follows { group: group.clone(), feed: follow.feed.clone(), pinned: follow.pinned })
}

/// Has a group follow nothing any more; what it was told stays.
///
/// # Errors
/// There is no such group.
pub async fn leave(
    connection: &mut AnyConnection,
    of: &Of,
    group: &Name,
    (who, at): (&str, i64),
) -> Result<(), Refusal> {
    set(connection, of, group, None).await?;
    note(connection, of, &format!("groups/{group}"), (who, at, "group.leave"), json!({})).await
}

async fn set(
    connection: &mut AnyConnection,
    of: &Of,
    group: &Name,
    follow: Option<&Follow>,
) -> Result<(), Refusal> {
    let pinned = follow.and_then(|follow| follow.pinned).map(whole).transpose()?;
    let set = sqlx::query(
        "UPDATE device_group SET feed = $4, pinned = $5 WHERE catalog = $1 AND product = $2 AND name = $3",
    )
    .bind(of.catalog.as_str())
    .bind(of.product.as_str())
    .bind(group.as_str())
    .bind(follow.map(|follow| follow.feed.as_str().to_owned()))
    .bind(pinned)
    .execute(connection)
    .await?;
    if set.rows_affected() == 0 { Err(Refusal::missing("such group")) } else { Ok(()) }
}
