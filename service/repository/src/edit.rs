//! What changes a role: its next version is staged, and waits for signatures.

use std::collections::BTreeMap;
use std::path::Path;

use tuf::custom::Custom;
use tuf::key::Key;
use tuf::metadata::{DelegatedRole, Delegations, Hashes, Role, RoleKeys, Root, TargetFile, Targets};
use tuf::{delegation, name};

use crate::error::Error;
use crate::folder::{Periods, Repository};
use crate::keys::id_of;

/// The version of the specification that is kept to.
pub(crate) const SPEC_VERSION: &str = "1.0.34";
/// How many parts a delegated path may have below its folder.
const DEPTH: usize = 4;

/// Keys of a role, and how many of them have to sign.
#[derive(Clone, Debug)]
pub struct Holders {
    /// The keys.
    pub keys: Vec<Key>,
    /// How many.
    pub threshold: u32,
}

/// What a repository begins with.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Of root.
    pub root: Holders,
    /// Of targets.
    pub targets: Holders,
    /// Of snapshot.
    pub snapshot: Holders,
    /// Of timestamp.
    pub timestamp: Holders,
    /// Of `os`, which speaks for the targets below `os/`.
    pub os: Holders,
}

/// Who is to hold a role from now on.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Keys that come.
    pub add: Vec<Key>,
    /// What the keys that go are called.
    pub remove: Vec<String>,
    /// How many have to sign; as before, if it is not said.
    pub threshold: Option<u32>,
}

impl Repository {
    /// Makes a repository; root, targets and `os` wait for signatures.
    ///
    /// # Errors
    /// There is one, or the keys do not do.
    pub fn init(folder: &Path, periods: Periods, begin: &Beginning, now_s: i64) -> Result<Self, Error> {
        let made = Self::make(folder, periods, now_s)?;
        let mut root = Root {
            kind: Role::Root.name().to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: 1,
            expires: made.expiry(made.periods.root_days)?,
            consistent_snapshot: true,
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
        };
        let holders = [&begin.root, &begin.targets, &begin.snapshot, &begin.timestamp];
        let roles = [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp];
        for (role, holders) in roles.into_iter().zip(holders) {
            let keys = held(role.name(), holders, &mut root.keys)?;
            root.roles.insert(role.name().to_owned(), keys);
        }
        made.stage("root", root)?;
        made.stage("targets", made.no_targets()?)?;
        made.delegate("os", "os", &begin.os)?;
        Ok(made)
    }

    /// Gives a new role the targets below a folder; it and targets wait for signatures.
    ///
    /// # Errors
    /// There is such a role, or it can't be called so, or the keys do not do.
    pub fn delegate(&self, role: &str, folder: &str, holders: &Holders) -> Result<(), Error> {
        if !name::is_role(role) || !name::is_path(folder) || folder.contains(['*', '?']) {
            return Err(Error::Asked(format!("no role can be called {role}, or no folder {folder}")));
        }
        let mut targets = self.next_targets("targets")?;
        let delegations = targets.delegations.get_or_insert_with(Delegations::default);
        let roles = delegations.roles.get_or_insert_with(Vec::new);
        if roles.iter().any(|there| there.name == role) {
            return Err(Error::Asked(format!("there is a role {role} already")));
        }
        let RoleKeys { keyids, threshold } = held(role, holders, &mut delegations.keys)?;
        // One pattern for each depth: a `*` stands for one part of a path.
        let paths = (1..=DEPTH).map(|depth| format!("{folder}{}", "/*".repeat(depth))).collect();
        roles.push(DelegatedRole {
            name: role.to_owned(),
            keyids,
            threshold,
            terminating: true,
            paths: Some(paths),
            path_hash_prefixes: None,
        });
        self.stage("targets", targets)?;
        self.stage(role, self.next_targets(role).or_else(|_| self.no_targets())?)
    }

    /// Takes a file in, as the target `path` of whichever role speaks for it, which waits for signatures. Gives the role.
    ///
    /// # Errors
    /// No target has such a path, or the file, or what is said of it.
    pub fn add(&self, path: &str, file: &Path, custom: &Custom) -> Result<String, Error> {
        if !name::is_path(path) {
            return Err(Error::Asked(format!("no target can have the path {path}")));
        }
        let role = self.speaker(path)?;
        let mut targets = self.next_targets(&role)?;
        let custom =
            serde_json::value::to_raw_value(custom).map_err(|error| Error::Asked(error.to_string()))?;
        let taken = self.take(path, file)?;
        let hashes = Hashes::from([("sha256".to_owned(), taken.sha256)]);
        targets
            .targets
            .insert(path.to_owned(), TargetFile { length: taken.length, hashes, custom: Some(custom) });
        self.stage(&role, targets)?;
        Ok(role)
    }

    /// No longer speaks of a target. Gives the role.
    ///
    /// # Errors
    /// Nobody does.
    pub fn remove(&self, path: &str) -> Result<String, Error> {
        let role = self.speaker(path)?;
        let mut targets = self.next_targets(&role)?;
        if targets.targets.remove(path).is_none() {
            return Err(Error::Asked(format!("{role} has no target {path}")));
        }
        self.stage(&role, targets)?;
        Ok(role)
    }

    /// Changes who holds a role: root, or targets for a delegated role, waits for signatures, and so does the role itself.
    ///
    /// # Errors
    /// There is no such role or key, or too few keys would be left.
    pub fn rotate(&self, role: &str, change: &Change) -> Result<(), Error> {
        if Role::ALL.iter().any(|top| top.name() == role) {
            let mut root = self.next_root()?;
            let keys = root.roles.entry(role.to_owned()).or_default();
            changed(role, keys, &mut root.keys, change)?;
            let used: Vec<&String> = root.roles.values().flat_map(|role| &role.keyids).collect();
            root.keys.retain(|id, _| used.contains(&id));
            self.stage("root", root)?;
        } else {
            let mut targets = self.next_targets("targets")?;
            let delegations = targets.delegations.get_or_insert_with(Delegations::default);
            let roles = delegations.roles.get_or_insert_with(Vec::new);
            let found = roles.iter_mut().find(|there| there.name == role);
            let found = found.ok_or_else(|| Error::Asked(format!("there is no role {role}")))?;
            let mut keys = RoleKeys { keyids: found.keyids.clone(), threshold: found.threshold };
            changed(role, &mut keys, &mut delegations.keys, change)?;
            (found.keyids, found.threshold) = (keys.keyids, keys.threshold);
            let used: Vec<&String> = roles.iter().flat_map(|role| &role.keyids).collect();
            delegations.keys.retain(|id, _| used.contains(&id));
            self.stage("targets", targets)?;
        }
        if !["root", "snapshot", "timestamp"].contains(&role) {
            self.stage(role, self.next_targets(role)?)?;
        }
        Ok(())
    }

    /// Stages the next version of a role as it is, so that it can be signed for another while.
    ///
    /// # Errors
    /// There is no such role.
    pub fn renew(&self, role: &str) -> Result<(), Error> {
        match role {
            "root" => self.stage("root", self.next_root()?),
            _ => self.stage(role, self.next_targets(role)?),
        }
    }

    /// Who speaks for a path.
    pub(crate) fn speaker(&self, path: &str) -> Result<String, Error> {
        let targets = self.latest_targets("targets")?;
        let delegates = targets.delegations.iter().flat_map(|delegations| delegation::of(delegations, path));
        Ok(delegates.map(|delegate| delegate.role).next().unwrap_or_else(|| "targets".to_owned()))
    }

    fn no_targets(&self) -> Result<Targets, Error> {
        Ok(Targets {
            kind: Role::Targets.name().to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: 1,
            expires: self.expiry(self.periods.targets_days)?,
            targets: BTreeMap::new(),
            delegations: None,
        })
    }

    fn next_root(&self) -> Result<Root, Error> {
        let mut root = self.latest_root()?;
        root.version = self.newest("root")?.unwrap_or(0) + 1;
        root.expires = self.expiry(self.periods.root_days)?;
        Ok(root)
    }

    fn next_targets(&self, role: &str) -> Result<Targets, Error> {
        let mut targets = self.latest_targets(role)?;
        targets.version = self.newest(role)?.unwrap_or(0) + 1;
        targets.expires = self.expiry(self.periods.targets_days)?;
        Ok(targets)
    }
}

fn held(role: &str, holders: &Holders, keys: &mut BTreeMap<String, Key>) -> Result<RoleKeys, Error> {
    let change = Change { add: holders.keys.clone(), remove: Vec::new(), threshold: Some(holders.threshold) };
    let mut held = RoleKeys::default();
    changed(role, &mut held, keys, &change)?;
    Ok(held)
}

fn changed(
    role: &str,
    holders: &mut RoleKeys,
    keys: &mut BTreeMap<String, Key>,
    change: &Change,
) -> Result<(), Error> {
    for id in &change.remove {
        let before = holders.keyids.len();
        holders.keyids.retain(|there| there != id);
        if holders.keyids.len() == before {
            return Err(Error::Asked(format!("{role} has no key {id}")));
        }
    }
    for key in &change.add {
        let id = id_of(key)?;
        if key.verifier().is_none() || holders.keyids.contains(&id) {
            return Err(Error::Asked(format!(
                "{role} has the key {id} already, or devices do not understand it"
            )));
        }
        holders.keyids.push(id.clone());
        keys.insert(id, key.clone());
    }
    holders.threshold = change.threshold.unwrap_or(holders.threshold);
    let there = holders.keyids.len();
    if !usize::try_from(holders.threshold).is_ok_and(|needed| (1..=there).contains(&needed)) {
        let needed = holders.threshold;
        return Err(Error::Asked(format!("{role} would need {needed} signatures and have {there} keys")));
    }
    Ok(())
}
