//! Deployments of groups, and how far each device is with them.
//!
//! A device's answer follows from its group's deployments, newest first: the first that entitles it ([`crate::rollout`]).
//! [`make`] makes them, [`wave`] opens their waves, [`device`] answers devices, [`told`] takes down what they say, [`members`] follows
//! who is in the group, [`room`] lets old ones go.

mod device;
mod make;
mod members;
mod room;
mod told;
mod wave;

pub use device::{Asker, Meant, ask, meant, progress, quiet, updates_of};
pub use make::{By, check_releases, create};
pub use members::{Turn, regroup};
pub use wave::{Act, act, recount_all};

use super::{checked, damaged, time, whole};
use crate::refusal::Refusal;
use crate::rollout::Rollout;
use serde::{Deserialize, Serialize};
use service_api::deployments::{Counts, Deployment, DeploymentFilter, DeploymentState as State, Wave};
use service_api::fleet::{Page, Placement};
use service_api::updates::Window;
use service_api::{Name, Text};
use sqlx::{AnyConnection, AssertSqlSafe};

/// What of a deployment never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    releases: Vec<Text<256>>,
    /// Those of them that it is about itself. What it took over from the one before may not have lasted on devices, and is not held
    /// against it. None if a service made it that did not say so: then it begins without what devices said before.
    #[serde(default)]
    coming: Option<Vec<Text<256>>>,
    remove: Vec<Text<128>>,
    /// Those of them that it is about itself, and waits for. What it took over from the one before may be of devices that can not
    /// remove it. None if a service made it that did not say so.
    #[serde(default)]
    going: Option<Vec<Text<128>>>,
    waves: Vec<Wave>,
    windows: Vec<Window>,
    notes: Text<256>,
}

impl Content {
    /// The removals that it waits for. One that only removes is about these, whoever made it.
    fn going(&self) -> &[Text<128>] {
        match &self.going {
            Some(going) => going,
            None if self.releases.is_empty() => &self.remove,
            None => &[],
        }
    }
}

/// A deployment as the database has it.
#[derive(Clone, Debug)]
pub struct Row {
    number: i64,
    place: Placement,
    content: Content,
    feed: Option<Name>,
    state: State,
    reason: String,
    created: i64,
    /// The generation of each open wave.
    opened: Vec<i64>,
    /// The generation of its last pause, resumption or stop.
    changed: i64,
    counts: Counts,
}

const COLUMNS: &str = "number, product, device_group, content, feed, state, reason, created, opened, changed, \
    chosen, told, complete, failed, rolled_back";

type Raw =
    (i64, String, String, String, Option<String>, String, String, i64, String, i64, i64, i64, i64, i64, i64);

impl Row {
    fn read(raw: Raw) -> Result<Self, Refusal> {
        let (number, product, group, content, feed, state, reason, created, opened, changed, a, b, c, d, e) =
            raw;
        let [chosen, told, complete, failed, rolled_back] = [a, b, c, d, e].map(time);
        let opened = opened.split(',').map(|one| one.parse().map_err(|_| damaged()));
        Ok(Self {
            number,
            place: Placement { product: checked(product)?, group: checked(group)? },
            content: serde_json::from_str(&content).map_err(|_| damaged())?,
            feed: feed.map(checked).transpose()?,
            state: State::from_word(&state).ok_or_else(damaged)?,
            reason,
            created,
            opened: opened.collect::<Result<_, _>>()?,
            changed,
            counts: Counts { chosen, told, complete, failed, rolled_back },
        })
    }

    fn rollout(&self) -> Rollout<'_> {
        Rollout {
            state: self.state,
            waves: &self.content.waves,
            open: self.opened.len(),
            counts: self.counts,
        }
    }

    fn number(&self) -> u64 {
        time(self.number)
    }

    /// As the API has it.
    pub fn shown(&self) -> Deployment {
        let Content { releases, remove, waves, windows, notes, .. } = self.content.clone();
        Deployment {
            number: self.number(),
            product: self.place.product.clone(),
            group: self.place.group.clone(),
            releases,
            remove,
            waves,
            windows,
            notes,
            feed: self.feed.clone(),
            state: self.state,
            reason: Text::shown(&self.reason),
            open: u8::try_from(self.opened.len()).unwrap_or(u8::MAX),
            created: time(self.created),
            devices: self.counts,
        }
    }
}

/// A deployment of the catalog.
///
/// # Errors
/// There is none of this number.
pub async fn find(connection: &mut AnyConnection, catalog: &Name, number: u64) -> Result<Row, Refusal> {
    let statement = format!("SELECT {COLUMNS} FROM deployment WHERE catalog = $1 AND number = $2");
    let found: Option<Raw> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(catalog.as_str())
        .bind(whole(number)?)
        .fetch_optional(connection)
        .await?;
    Row::read(found.ok_or_else(|| Refusal::missing("such deployment"))?)
}

/// The catalog's deployments, newest first.
///
/// # Errors
/// What the database said.
pub async fn list(
    connection: &mut AnyConnection,
    catalog: &Name,
    filter: &DeploymentFilter,
) -> Result<Page<Deployment>, Refusal> {
    let limit = super::limit(filter.limit, 100, 1000)?;
    let name = |name: &Option<Name>| name.as_ref().map_or(String::new(), |name| name.as_str().to_owned());
    let statement = format!(
        "SELECT {COLUMNS} FROM deployment WHERE catalog = $1 AND ($2 = '' OR product = $2)
           AND ($3 = '' OR device_group = $3) AND number < $4 ORDER BY number DESC LIMIT $5"
    );
    let rows: Vec<Raw> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(catalog.as_str())
        .bind(name(&filter.product))
        .bind(name(&filter.group))
        .bind(filter.before.map_or(Ok(i64::MAX), whole)?)
        .bind(limit + 1)
        .fetch_all(connection)
        .await?;
    super::page(rows, limit, |raw| Ok(Row::read(raw)?.shown()))
}
