//! What has all its signatures becomes what devices see, at once.
//!
//! Devices read the timestamp last written; so roles, snapshot and root go to the disk before it, and until it is moved to its
//! place they see what was. (Between the new root and the new timestamp a device may refuse, if that root took a key from
//! timestamp or snapshot; it asks again.)
//!
//! Root and targets are everybody's, and nothing is published once they have expired. A delegated role is its holders' alone: one that
//! has expired stays in the snapshot as it is, devices that look for its targets refuse it, and everybody else goes on.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use tuf::date::Date;
use tuf::envelope::{Authority, Envelope};
use tuf::hex;
use tuf::metadata::{Hashes, MetaFile, Role, Root, Signed, Snapshot, SnapshotOnly, Targets, Timestamp};
use tuf::refusal::Why;

use crate::document::Document;
use crate::edit::SPEC_VERSION;
use crate::error::Error;
use crate::folder::Repository;
use crate::keys::Signer;
use crate::sign::{authority_of, delegated_authority};

/// What was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Roles with a new version, and which.
    pub roles: Vec<(String, u64)>,
    /// What is staged still, and why.
    pub waiting: Vec<String>,
    /// Delegated roles that have expired, and when: no device takes what they speak for until they are renewed.
    pub expired: Vec<(String, Date)>,
}

/// What belongs together.
struct Set {
    root: Document<Root>,
    roles: Vec<(String, Document<Targets>)>,
}

impl Repository {
    /// Publishes what has all its signatures, with a new timestamp, and a new snapshot if anything is new, signed by `signers`.
    ///
    /// # Errors
    /// There is nothing that devices would take: what lacks whose signatures.
    pub fn refresh(&self, signers: &[&Signer]) -> Result<Published, Error> {
        let set = self.set(signers)?;
        let mut published = Published::default();
        let mut meta = BTreeMap::new();
        let known: Option<Document<Snapshot>> = self.published("snapshot")?;
        // A device refuses a snapshot that lacks a role that the last one had.
        meta.extend(known.iter().flat_map(|known| known.value.meta.clone()));
        for (role, document) in &set.roles {
            let version = document.value.version;
            meta.insert(format!("{role}.json"), described(version, &document.bytes));
            let ended = (!self.lasts(document)).then(|| (role.clone(), document.value.expires));
            published.expired.extend(ended);
            if self.newest(role)? != Some(version) {
                self.publish(role, Some(version), &document.bytes)?;
                published.roles.push((role.clone(), version));
            }
        }
        let snapshot =
            match known.filter(|known| known.value.meta == meta && self.serves(&set.root.value, known)) {
                Some(known) => known,
                None => self.next_snapshot(meta, &set.root.value, signers)?,
            };
        let version = snapshot.value.version;
        if self.newest("snapshot")? != Some(version) {
            self.publish("snapshot", Some(version), &snapshot.bytes)?;
            published.roles.push(("snapshot".to_owned(), version));
        }
        let timestamp = self.next_timestamp(&snapshot, &set.root.value, signers)?;
        let version = set.root.value.version;
        if self.newest("root")? != Some(version) {
            self.publish("root", Some(version), &set.root.bytes)?;
            published.roles.push(("root".to_owned(), version));
        }
        self.publish("timestamp", None, &timestamp.bytes)?;
        published.roles.push(("timestamp".to_owned(), timestamp.value.version));
        self.unstage("root", &set.root.bytes)?;
        for (role, document) in &set.roles {
            self.unstage(role, &document.bytes)?;
        }
        for role in self.staged_roles()? {
            let waiting = self.waiting(&role)?;
            published.waiting.extend(waiting.map(|waiting| {
                let (version, good, needed) = (waiting.version, waiting.good, waiting.needed);
                format!("{role} {version}: {good} of {needed} signatures, or what it needs is not signed")
            }));
        }
        Ok(published)
    }

    /// The newest set that devices take: with the staged root if they would, else with the one that they have.
    fn set(&self, signers: &[&Signer]) -> Result<Set, Error> {
        let known: Option<Document<Root>> = self.published("root")?;
        let staged: Option<Document<Root>> = self.staged("root")?;
        let mut why = Error::Asked("there is no root".to_owned());
        if let Some(staged) = staged {
            let mut authorities = vec![authority_of(&staged.value, Role::Root)];
            authorities.extend(known.as_ref().map(|known| authority_of(&known.value, Role::Root)));
            match self.with_root(staged, &authorities, signers) {
                Ok(set) => return Ok(set),
                Err(error) => why = error,
            }
        }
        match known {
            Some(known) => self.with_root(known, &[], signers),
            None => Err(why),
        }
    }

    fn with_root(
        &self,
        root: Document<Root>,
        authorities: &[Authority],
        signers: &[&Signer],
    ) -> Result<Set, Error> {
        for authority in authorities {
            self.good("root", &root, authority)?;
        }
        self.good("root", &root, &authority_of(&root.value, Role::Root))?;
        for role in [Role::Snapshot, Role::Timestamp] {
            let (name, authority) = (role.name(), authority_of(&root.value, role));
            let there = signers.iter().filter(|signer| authority.has(signer.id())).count();
            if !usize::try_from(authority.threshold()).is_ok_and(|needed| there >= needed) {
                let needed = authority.threshold();
                return Err(Error::Asked(format!(
                    "{name} needs {needed} of its keys, and {there} are given"
                )));
            }
        }
        let mut why = Error::Asked("there are no targets".to_owned());
        for targets in self.candidates("targets")? {
            let authority = authority_of(&root.value, Role::Targets);
            match self.good("targets", &targets, &authority).and_then(|()| self.with_targets(&targets)) {
                Ok(roles) => return Ok(Set { root, roles }),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn with_targets(&self, targets: &Document<Targets>) -> Result<Vec<(String, Document<Targets>)>, Error> {
        let mut roles = vec![("targets".to_owned(), targets.clone())];
        let delegations =
            targets.value.delegations.iter().flat_map(|delegations| &delegations.roles).flatten();
        for role in delegations.map(|role| &role.name) {
            roles.push((role.clone(), self.with_delegated(targets, role)?));
        }
        Ok(roles)
    }

    /// What a delegated role is to be from now on: what is staged if devices would take it, else what is published.
    fn with_delegated(&self, targets: &Document<Targets>, role: &str) -> Result<Document<Targets>, Error> {
        let authority = delegated_authority(&targets.value, role).unwrap_or_default();
        let mut why = Error::Asked(format!("{role} has no targets"));
        if let Some(staged) = self.staged(role)? {
            match self.good(role, &staged, &authority) {
                Ok(()) => return Ok(staged),
                Err(error) => why = error,
            }
        }
        let Some(published) = self.published::<Targets>(role)? else { return Err(why) };
        // 5.6.7: a client looks at the expiry of the roles that it walks, so an old one is nobody's obstacle but its own.
        signed_by(role, &published, &authority).map(|()| published)
    }

    /// What is staged, then what is published.
    fn candidates(&self, role: &str) -> Result<Vec<Document<Targets>>, Error> {
        Ok(self.staged(role)?.into_iter().chain(self.published(role)?).collect())
    }

    /// Whether devices would take it.
    fn good<T: Signed>(
        &self,
        role: &str,
        document: &Document<T>,
        authority: &Authority,
    ) -> Result<(), Error> {
        signed_by(role, document, authority)?;
        let why = || refused(role, document, &Why::Expired(document.value.head().expires));
        self.lasts(document).then_some(()).ok_or_else(why)
    }

    /// Whether it has not expired.
    fn lasts<T: Signed>(&self, document: &Document<T>) -> bool {
        document.value.head().expires.unix() > self.now_s
    }

    /// Whether a snapshot can stay the newest: for half its time.
    fn serves(&self, root: &Root, snapshot: &Document<Snapshot>) -> bool {
        let half_s = i64::from(self.periods.snapshot_days) * 43_200;
        let lasts = snapshot.value.expires.unix() > self.now_s.saturating_add(half_s);
        lasts && self.good("snapshot", snapshot, &authority_of(root, Role::Snapshot)).is_ok()
    }

    fn next_snapshot(
        &self,
        meta: BTreeMap<String, MetaFile>,
        root: &Root,
        signers: &[&Signer],
    ) -> Result<Document<Snapshot>, Error> {
        let snapshot = Snapshot {
            kind: Role::Snapshot.name().to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: self.newest("snapshot")?.unwrap_or(0) + 1,
            expires: self.expiry(self.periods.snapshot_days)?,
            meta,
        };
        signed(snapshot, &authority_of(root, Role::Snapshot), signers)
    }

    fn next_timestamp(
        &self,
        snapshot: &Document<Snapshot>,
        root: &Root,
        signers: &[&Signer],
    ) -> Result<Document<Timestamp>, Error> {
        let known: Option<Document<Timestamp>> = self.timestamp()?;
        let timestamp = Timestamp {
            kind: Role::Timestamp.name().to_owned(),
            spec_version: SPEC_VERSION.to_owned(),
            version: known.map_or(0, |known| known.value.version) + 1,
            expires: self.expiry(self.periods.timestamp_days)?,
            meta: SnapshotOnly { snapshot: described(snapshot.value.version, &snapshot.bytes) },
        };
        signed(timestamp, &authority_of(root, Role::Timestamp), signers)
    }
}

fn signed_by<T: Signed>(role: &str, document: &Document<T>, authority: &Authority) -> Result<(), Error> {
    let signed = Envelope::read(&document.bytes).and_then(|envelope| envelope.signed_by(authority));
    signed.map_err(|why| refused(role, document, &why))
}

fn refused<T: Signed>(role: &str, document: &Document<T>, why: &Why) -> Error {
    Error::Asked(format!("{role} {}: {why}; `show` says by whom", document.value.head().version))
}

fn signed<T: Signed>(value: T, authority: &Authority, signers: &[&Signer]) -> Result<Document<T>, Error> {
    let mine: Vec<&Signer> = signers.iter().copied().filter(|signer| authority.has(signer.id())).collect();
    Document::unsigned(value)
        .and_then(|document| document.signed(&mine))
        .map_err(|why| Error::Asked(why.to_string()))
}

/// With length and digest: a device then has a bound for it, and reads nothing of it before it knows that it is the one.
fn described(version: u64, bytes: &[u8]) -> MetaFile {
    let sha256 = hex::encode(digest(&SHA256, bytes).as_ref());
    let hashes = Hashes::from([("sha256".to_owned(), sha256)]);
    MetaFile { version, length: u64::try_from(bytes.len()).ok(), hashes: Some(hashes) }
}
