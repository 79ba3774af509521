//! What there is, what waits for whom, what expires.

use serde::Serialize;
use tuf::custom::Custom;
use tuf::date::Date;
use tuf::metadata::{Role, Root, Signed, Snapshot, Targets, Timestamp};

use crate::document::Document;
use crate::error::Error;
use crate::folder::Repository;

/// How long before its end a role that people sign is said to end, seconds: they may need weeks to come together.
pub const SOON_S: i64 = 30 * 86_400;

/// A repository, told.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its roles.
    pub roles: Vec<RoleReport>,
    /// Its targets, those of staged versions included.
    pub targets: Vec<TargetReport>,
}

/// A role.
#[derive(Clone, Debug, Serialize)]
pub struct RoleReport {
    /// What it is called.
    pub role: String,
    /// The version that devices see.
    pub published: Option<u64>,
    /// Until when they believe it.
    pub expires: Option<Date>,
    /// Whether they no longer do.
    pub expired: bool,
    /// Whether they will in [`SOON_S`], and people have to sign it anew before.
    pub soon: bool,
    /// Its keys, of the next root or targets.
    pub keys: Vec<String>,
    /// How many have to sign.
    pub threshold: u32,
    /// The version that waits.
    pub staged: Option<u64>,
    /// How many have signed that.
    pub signatures: Option<usize>,
    /// How many have to.
    pub needed: Option<u32>,
}

/// A target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// Who speaks for it.
    pub role: String,
    /// Its path.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// What is said of it.
    pub custom: Option<Custom>,
}

impl Repository {
    /// What there is.
    ///
    /// # Errors
    /// A file that is none.
    pub fn show(&self) -> Result<Report, Error> {
        let root = self.latest_root()?;
        let targets = self.latest_targets("targets")?;
        let mut report = Report { roles: Vec::new(), targets: Vec::new() };
        for role in Role::ALL {
            let published = match role {
                Role::Root => head(self.published::<Root>("root")?),
                Role::Targets => head(self.published::<Targets>("targets")?),
                Role::Snapshot => head(self.published::<Snapshot>("snapshot")?),
                Role::Timestamp => head(self.timestamp::<Timestamp>()?),
            };
            let keys = root.roles.get(role.name());
            let held = keys.map(|keys| (keys.keyids.clone(), keys.threshold)).unwrap_or_default();
            report.roles.push(self.role(role.name(), published, held)?);
        }
        for role in targets.delegations.iter().flat_map(|delegations| &delegations.roles).flatten() {
            let published = head(self.published::<Targets>(&role.name)?);
            report.roles.push(self.role(&role.name, published, (role.keyids.clone(), role.threshold))?);
        }
        for role in std::iter::once("targets".to_owned()).chain(self.delegated()?) {
            for (path, file) in self.latest_targets(&role)?.targets {
                let (length, custom) = (file.length, file.release());
                report.targets.push(TargetReport { role: role.clone(), path, length, custom });
            }
        }
        Ok(report)
    }

    fn role(
        &self,
        role: &str,
        published: Option<(u64, Date)>,
        (keys, threshold): (Vec<String>, u32),
    ) -> Result<RoleReport, Error> {
        let online = ["snapshot", "timestamp"].contains(&role);
        let waiting = if online { None } else { self.waiting(role)? };
        let ends_in = |seconds: i64| {
            published.is_some_and(|(_, expires)| expires.unix() <= self.now_s.saturating_add(seconds))
        };
        Ok(RoleReport {
            role: role.to_owned(),
            published: published.map(|(version, _)| version),
            expires: published.map(|(_, expires)| expires),
            expired: ends_in(0),
            // The other two are signed anew each day.
            soon: !ends_in(0) && ends_in(SOON_S) && !online,
            keys,
            threshold,
            staged: waiting.as_ref().map(|waiting| waiting.version),
            signatures: waiting.as_ref().map(|waiting| waiting.good),
            needed: waiting.as_ref().map(|waiting| waiting.needed),
        })
    }
}

fn head<T: Signed>(document: Option<Document<T>>) -> Option<(u64, Date)> {
    document.map(|document| (document.value.head().version, document.value.head().expires))
}
