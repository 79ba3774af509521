//! The client's workflow (specification, section 5), without files, sockets and clock.
//!
//! ```text
//! loop: ask() says what it wants ──▶ the bytes, or that there are none, go to give()
//!       give() says what is to be kept of it, before anything else is done
//! until ask() says Nothing; then look_for() a target, and the same again; found() says what was signed of it
//! ```
//!
//! What holds at any time, so that a power cut between two steps does no harm: what is kept was signed by the keys of the
//! root that is kept, or it is passed over; a file is given out to be kept only when it has passed every check but the root's
//! expiry (5.3.10: the newest root is kept even if it has expired).
//!
//! Off-spec: 5.3.11 deletes timestamp and snapshot when their keys were rotated. Here they are kept and no longer believed,
//! since the keys of the newest root have not signed them, which is the same, and still is after a power cut.
//!
//! What an attacker controls: all bytes that are given. Once something is refused, nothing more is taken.

use crate::delegation::{self, Delegate};
use crate::envelope::{Authority, Envelope};
use crate::limits::Limits;
use crate::metadata::{MetaFile, Role, Root, Signed, Snapshot, TargetFile, Targets, Timestamp};
use crate::refusal::{Refusal, Why};
use crate::{name, target};

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What the device keeps under this name.
    Kept {
        /// Its name.
        name: String,
        /// At most so long; what is longer counts as nothing.
        most: usize,
    },
    /// What the repository has under this name.
    Fetch {
        /// Its name, which is one name for a file and a part of a URL.
        name: String,
        /// At most so long; what is longer is to be given up after so many bytes, and one.
        most: usize,
    },
    /// Nothing more.
    Nothing,
}

/// What is to be kept, in place of what is there under the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Its name.
    pub name: String,
    /// What.
    pub bytes: Vec<u8>,
}

/// What was signed of a target.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path.
    pub path: String,
    /// Who signed it.
    pub role: String,
    /// Where the repository has it.
    pub file: String,
    /// What was signed.
    pub target: TargetFile,
}

#[derive(Debug)]
enum Stage {
    Roots(u32),
    KeptTimestamp,
    NewTimestamp,
    KeptSnapshot,
    NewSnapshot,
    KeptTargets,
    NewTargets,
    Ready,
    Refused,
}

/// A search for a target.
#[derive(Debug)]
struct Search {
    path: String,
    /// Whom to ask, the next one last.
    todo: Vec<Delegate>,
    asked: Vec<String>,
    /// The file that is kept was not the right one.
    fetch: bool,
    found: Option<(String, TargetFile)>,
}

/// An update of a device's metadata.
#[derive(Debug)]
pub struct Update {
    limits: Limits,
    now_s: i64,
    root: Root,
    stage: Stage,
    timestamp: Option<Timestamp>,
    snapshot: Option<Snapshot>,
    targets: Option<Targets>,
    search: Option<Search>,
}

impl Update {
    /// Begins with the root that the device keeps, or was made with. `now_s` is what the device knows of the time: the
    /// verified clock, or the latest moment that has passed for certain.
    ///
    /// # Errors
    /// That root is none.
    pub fn new(root: &[u8], now_s: i64, limits: Limits) -> Result<Self, Refusal> {
        let refused = |why| Refusal::of(Role::Root.name(), why);
        let envelope = Envelope::read(root).map_err(refused)?;
        let root: Root = envelope.parse().map_err(refused)?;
        envelope.signed_by(&authority(&root, Role::Root)).map_err(refused)?;
        let (timestamp, snapshot, targets, search) = (None, None, None, None);
        Ok(Self { limits, now_s, root, stage: Stage::Roots(0), timestamp, snapshot, targets, search })
    }

    /// What is wanted next.
    pub fn ask(&self) -> Ask {
        let Limits { root, timestamp, snapshot, targets, .. } = self.limits;
        let kept = |role: Role, most| Ask::Kept { name: name::kept(role.name()), most };
        match self.stage {
            Stage::Roots(_) => {
                let next = self.root.version.checked_add(1);
                next.map_or(Ask::Nothing, |next| Ask::Fetch {
                    name: name::published("root", Some(next)),
                    most: root,
                })
            }
            Stage::KeptTimestamp => kept(Role::Timestamp, timestamp),
            Stage::NewTimestamp => Ask::Fetch { name: name::published("timestamp", None), most: timestamp },
            Stage::KeptSnapshot => kept(Role::Snapshot, snapshot),
            Stage::NewSnapshot => self.published("snapshot", self.snapshot_meta(), snapshot),
            Stage::KeptTargets => kept(Role::Targets, targets),
            Stage::NewTargets => self.published("targets", self.meta("targets"), targets),
            Stage::Ready => match self.search.as_ref().and_then(|search| Some((search, search.todo.last()?)))
            {
                None => Ask::Nothing,
                Some((search, next)) if search.fetch => {
                    self.published(&next.role, self.meta(&next.role), targets)
                }
                Some((_, next)) => Ask::Kept { name: name::kept(&next.role), most: targets },
            },
            Stage::Refused => Ask::Nothing,
        }
    }

    /// Takes what was asked for; none: there is none.
    ///
    /// # Errors
    /// It is refused, and with it the whole update.
    pub fn give(&mut self, bytes: Option<Vec<u8>>) -> Result<Option<Keep>, Refusal> {
        let taken = self.take(bytes);
        if taken.is_err() {
            self.stage = Stage::Refused;
            self.search = None;
        }
        taken
    }

    /// Whether everything is up to date, so that targets can be looked for.
    pub fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready)
    }

    /// Begins to look for a target.
    ///
    /// # Errors
    /// It can't have that path, or the update is not at its end, or a role that speaks of it can't be.
    pub fn look_for(&mut self, path: &str) -> Result<(), Refusal> {
        let Some(targets) = self.targets.as_ref().filter(|_| self.is_ready()) else {
            return Err(Refusal::of(path, Why::Missing));
        };
        if !name::is_path(path) {
            return Err(Refusal::of(path, Why::Name));
        }
        let mut search =
            Search { path: path.to_owned(), todo: Vec::new(), asked: Vec::new(), fetch: false, found: None };
        search.heard("targets", targets);
        self.next_role(search)
    }

    /// What was signed of the target that was looked for.
    ///
    /// # Errors
    /// Nobody who may says that it is there.
    pub fn found(&mut self) -> Result<Found, Refusal> {
        let search = self.search.take().ok_or_else(|| Refusal::of("target", Why::NoTarget))?;
        let (role, target) = search.found.ok_or_else(|| Refusal::of(&search.path, Why::NoTarget))?;
        let digest = target.hashes.get("sha256").or_else(|| target.hashes.get("sha512"));
        let digest = digest.filter(|digest| crate::hex::decode(digest).is_some());
        let digest = match self.root.consistent_snapshot {
            false => None,
            true => Some(digest.ok_or_else(|| Refusal::of(&search.path, Why::Digest))?),
        };
        let file = name::target_file(&search.path, digest.map(String::as_str));
        Ok(Found { path: search.path, role, file, target })
    }

    /// Names of the files that are worth keeping.
    pub fn kept(&self) -> impl Iterator<Item = String> {
        let roles = self.snapshot.iter().flat_map(|snapshot| snapshot.meta.keys());
        let roles = roles.filter_map(|file| file.strip_suffix(".json"));
        Role::ALL.iter().map(|role| role.name()).chain(roles).map(name::kept)
    }

    /// The newest root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    fn take(&mut self, bytes: Option<Vec<u8>>) -> Result<Option<Keep>, Refusal> {
        match self.stage {
            Stage::Roots(taken) => self.take_root(bytes, taken),
            Stage::KeptTimestamp => {
                self.timestamp = bytes.and_then(|bytes| self.signed(&bytes, Role::Timestamp).ok());
                self.stage = Stage::NewTimestamp;
                Ok(None)
            }
            Stage::NewTimestamp => self.take_timestamp(bytes),
            Stage::KeptSnapshot => {
                self.know_snapshot(bytes.as_deref());
                Ok(None)
            }
            Stage::NewSnapshot => self.take_snapshot(bytes),
            Stage::KeptTargets => {
                let authority = authority(&self.root, Role::Targets);
                let known = bytes.and_then(|bytes| self.checked("targets", &authority, &bytes).ok());
                self.stage = if known.is_some() { Stage::Ready } else { Stage::NewTargets };
                self.targets = known;
                Ok(None)
            }
            Stage::NewTargets => {
                let bytes = there("targets", bytes)?;
                self.targets =
                    Some(self.checked("targets", &authority(&self.root, Role::Targets), &bytes)?);
                self.stage = Stage::Ready;
                Ok(Some(Keep { name: name::kept("targets"), bytes }))
            }
            Stage::Ready => self.take_delegated(bytes),
            Stage::Refused => Err(Refusal::of("update", Why::Missing)),
        }
    }

    /// 5.3: each root is signed by the one before it and by itself, and has the next version.
    fn take_root(&mut self, bytes: Option<Vec<u8>>, taken: u32) -> Result<Option<Keep>, Refusal> {
        let refused = |why| Refusal::of(Role::Root.name(), why);
        let Some(bytes) = bytes else {
            // 5.3.10: only what is the newest has to be valid still.
            self.not_expired(&self.root)?;
            self.stage = Stage::KeptTimestamp;
            return Ok(None);
        };
        if taken >= self.limits.roots {
            return Err(refused(Why::Roots));
        }
        bounded(&bytes, self.limits.root).map_err(refused)?;
        let envelope = Envelope::read(&bytes).map_err(refused)?;
        envelope.signed_by(&authority(&self.root, Role::Root)).map_err(refused)?;
        let root: Root = envelope.parse().map_err(refused)?;
        envelope.signed_by(&authority(&root, Role::Root)).map_err(refused)?;
        let expected = self.root.version.saturating_add(1);
        if root.version != expected {
            return Err(refused(Why::Version { is: root.version, expected }));
        }
        self.root = root;
        self.stage = Stage::Roots(taken + 1);
        Ok(Some(Keep { name: name::kept("root"), bytes }))
    }

    /// 5.4.
    fn take_timestamp(&mut self, bytes: Option<Vec<u8>>) -> Result<Option<Keep>, Refusal> {
        let what = Role::Timestamp.name();
        let bytes = there(what, bytes)?;
        bounded(&bytes, self.limits.timestamp).map_err(|why| Refusal::of(what, why))?;
        let new: Timestamp = self.signed(&bytes, Role::Timestamp)?;
        self.stage = Stage::KeptSnapshot;
        if let Some(known) = &self.timestamp {
            let (is, seen) = (new.version, known.version);
            if is < seen {
                return Err(Refusal::of(what, Why::Rollback { is, seen }));
            }
            if is == seen {
                self.not_expired(known)?;
                return Ok(None);
            }
            let (is, seen) = (new.meta.snapshot.version, known.meta.snapshot.version);
            if is < seen {
                return Err(Refusal::of(Role::Snapshot.name(), Why::Rollback { is, seen }));
            }
        }
        self.not_expired(&new)?;
        self.timestamp = Some(new);
        Ok(Some(Keep { name: name::kept(what), bytes }))
    }

    /// What the device knew: all of it, if that is still the newest; else what may not go back.
    fn know_snapshot(&mut self, bytes: Option<&[u8]>) {
        self.stage = Stage::NewSnapshot;
        let Some(bytes) = bytes else { return };
        self.snapshot = self.signed(bytes, Role::Snapshot).ok();
        let Some((known, meta)) = self.snapshot.as_ref().zip(self.snapshot_meta()) else { return };
        let newest = known.version == meta.version && target::fits(bytes, meta).is_ok();
        if newest && self.not_expired(known).is_ok() {
            self.stage = Stage::KeptTargets;
        }
    }

    /// 5.5.
    fn take_snapshot(&mut self, bytes: Option<Vec<u8>>) -> Result<Option<Keep>, Refusal> {
        let what = Role::Snapshot.name();
        let refused = |why| Refusal::of(what, why);
        let bytes = there(what, bytes)?;
        bounded(&bytes, self.limits.snapshot).map_err(refused)?;
        let meta = self.snapshot_meta().ok_or_else(|| refused(Why::NotInSnapshot))?;
        target::fits(&bytes, meta).map_err(refused)?;
        let new: Snapshot = self.signed(&bytes, Role::Snapshot)?;
        if new.version != meta.version {
            return Err(refused(Why::Version { is: new.version, expected: meta.version }));
        }
        for (file, known) in self.snapshot.iter().flat_map(|known| &known.meta) {
            let (is, seen) = match new.meta.get(file) {
                Some(meta) => (meta.version, known.version),
                None => return Err(refused(Why::Removed(Refusal::of(file, Why::Missing).what))),
            };
            if is < seen {
                return Err(Refusal::of(file, Why::Rollback { is, seen }));
            }
        }
        self.not_expired(&new)?;
        self.snapshot = Some(new);
        self.stage = Stage::KeptTargets;
        Ok(Some(Keep { name: name::kept(what), bytes }))
    }

    /// 5.6.7: one role after another, first those that a role names, then those after it.
    fn take_delegated(&mut self, bytes: Option<Vec<u8>>) -> Result<Option<Keep>, Refusal> {
        let Some(mut search) = self.search.take() else { return Ok(None) };
        let Some(next) = search.todo.pop() else { return Ok(None) };
        let role = next.role.clone();
        let (checked, keep) = if search.fetch {
            let bytes = there(&role, bytes)?;
            let checked = self.checked(&role, &next.authority, &bytes)?;
            (Some(checked), Some(Keep { name: name::kept(&role), bytes }))
        } else {
            (bytes.and_then(|bytes| self.checked(&role, &next.authority, &bytes).ok()), None)
        };
        match checked {
            Some(targets) => {
                search.fetch = false;
                search.asked.push(role.clone());
                search.heard(&role, &targets);
            }
            None => {
                search.fetch = true;
                search.todo.push(next);
            }
        }
        self.next_role(search)?;
        Ok(keep)
    }

    /// Passes over who was asked already, and makes sure that whoever is next can be.
    fn next_role(&mut self, mut search: Search) -> Result<(), Refusal> {
        while let Some(next) = search.todo.last() {
            if search.asked.contains(&next.role) {
                search.todo.pop();
                continue;
            }
            if !name::is_role(&next.role) {
                return Err(Refusal::of(&next.role, Why::Name));
            }
            if search.asked.len() >= self.limits.roles {
                return Err(Refusal::of(&search.path, Why::Roles));
            }
            if self.meta(&next.role).is_none() {
                return Err(Refusal::of(&next.role, Why::NotInSnapshot));
            }
            break;
        }
        self.search = Some(search);
        Ok(())
    }

    /// A role's targets, as the snapshot has them: 5.6.
    fn checked(&self, role: &str, authority: &Authority, bytes: &[u8]) -> Result<Targets, Refusal> {
        let refused = |why| Refusal::of(role, why);
        let meta = self.meta(role).ok_or_else(|| refused(Why::NotInSnapshot))?;
        bounded(bytes, self.limits.targets).map_err(refused)?;
        target::fits(bytes, meta).map_err(refused)?;
        let envelope = Envelope::read(bytes).map_err(refused)?;
        envelope.signed_by(authority).map_err(refused)?;
        let targets: Targets = envelope.parse().map_err(refused)?;
        if targets.version != meta.version {
            return Err(refused(Why::Version { is: targets.version, expected: meta.version }));
        }
        expiry(role, &targets, self.now_s)?;
        Ok(targets)
    }

    /// What one of the four has signed, by the keys of the newest root.
    fn signed<T: Signed>(&self, bytes: &[u8], role: Role) -> Result<T, Refusal> {
        let refused = |why| Refusal::of(role.name(), why);
        let envelope = Envelope::read(bytes).map_err(refused)?;
        envelope.signed_by(&authority(&self.root, role)).map_err(refused)?;
        envelope.parse().map_err(refused)
    }

    fn not_expired<T: Signed>(&self, signed: &T) -> Result<(), Refusal> {
        expiry(T::ROLE.name(), signed, self.now_s)
    }

    fn snapshot_meta(&self) -> Option<&MetaFile> {
        Some(&self.timestamp.as_ref()?.meta.snapshot)
    }

    fn meta(&self, role: &str) -> Option<&MetaFile> {
        self.snapshot.as_ref()?.meta.get(&format!("{role}.json"))
    }

    fn published(&self, role: &str, meta: Option<&MetaFile>, limit: usize) -> Ask {
        let version = meta.map(|meta| meta.version).filter(|_| self.root.consistent_snapshot);
        let said = meta.and_then(|meta| meta.length).and_then(|length| usize::try_from(length).ok());
        Ask::Fetch { name: name::published(role, version), most: said.unwrap_or(limit).min(limit) }
    }
}

impl Search {
    /// What a role says of the path, or whom else it lets speak.
    fn heard(&mut self, role: &str, targets: &Targets) {
        if let Some(target) = targets.targets.get(&self.path) {
            self.found = Some((role.to_owned(), target.clone()));
            self.todo.clear();
            return;
        }
        let delegates = targets.delegations.as_ref().map(|all| delegation::of(all, &self.path));
        let delegates = delegates.unwrap_or_default();
        if delegates.iter().any(|delegate| delegate.terminating) {
            self.todo.clear();
        }
        self.todo.extend(delegates.into_iter().rev());
    }
}

fn authority(root: &Root, role: Role) -> Authority {
    root.roles.get(role.name()).map(|keys| Authority::of(&root.keys, keys)).unwrap_or_default()
}

fn expiry<T: Signed>(what: &str, signed: &T, now_s: i64) -> Result<(), Refusal> {
    let expires = signed.head().expires;
    (expires.unix() > now_s).then_some(()).ok_or_else(|| Refusal::of(what, Why::Expired(expires)))
}

fn there(what: &str, bytes: Option<Vec<u8>>) -> Result<Vec<u8>, Refusal> {
    bytes.ok_or_else(|| Refusal::of(what, Why::Missing))
}

fn bounded(bytes: &[u8], most: usize) -> Result<(), Why> {
    (bytes.len() <= most).then_some(()).ok_or(Why::Length { most: u64::try_from(most).unwrap_or(u64::MAX) })
}
