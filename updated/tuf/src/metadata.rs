//! What roles sign, as it is written. What is not known here is passed over, and signed all the same.
//!
//! What an attacker controls: nothing of it once its signatures are checked, unless they are the attacker's: then everything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::custom::Custom;
use crate::date::Date;
use crate::key::Key;

/// Digests by algorithm, in hexadecimal.
pub type Hashes = BTreeMap<String, String>;

/// The four roles that each repository has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Says whose keys the others have.
    Root,
    /// Says which snapshot is the newest.
    Timestamp,
    /// Says which versions belong together.
    Snapshot,
    /// Says which targets there are, and who else may.
    Targets,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// As metadata calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }
}

/// What all of them have.
pub trait Signed: Serialize + for<'de> Deserialize<'de> {
    /// Whose it is; delegated roles sign what [`Role::Targets`] does.
    const ROLE: Role;
    /// What all have.
    fn head(&self) -> Head<'_>;
}

/// What all have.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// What it says it is.
    pub kind: &'a str,
    /// The version of the specification.
    pub spec_version: &'a str,
    /// Its version.
    pub version: u64,
    /// From when on it is not to be believed.
    pub expires: Date,
}

/// Keys of a role, and how many have to sign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Which keys.
    pub keyids: Vec<String>,
    /// How many of them.
    pub threshold: u32,
}

/// `root.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    /// `root`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Version of the specification.
    pub spec_version: String,
    /// Its version.
    pub version: u64,
    /// From when on it is not to be believed.
    pub expires: Date,
    /// Whether files have versions and digests in their names.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// Keys by what they are called.
    pub keys: BTreeMap<String, Key>,
    /// Whose they are.
    pub roles: BTreeMap<String, RoleKeys>,
}

/// What is said of a file of metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaFile {
    /// Its version.
    pub version: u64,
    /// Its length in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<Hashes>,
}

/// `timestamp.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timestamp {
    /// `timestamp`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Version of the specification.
    pub spec_version: String,
    /// Its version.
    pub version: u64,
    /// From when on it is not to be believed.
    pub expires: Date,
    /// The snapshot.
    pub meta: SnapshotOnly,
}

/// The one file that a timestamp speaks of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotOnly {
    /// The snapshot.
    #[serde(rename = "snapshot.json")]
    pub snapshot: MetaFile,
}

/// `snapshot.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// `snapshot`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Version of the specification.
    pub spec_version: String,
    /// Its version.
    pub version: u64,
    /// From when on it is not to be believed.
    pub expires: Date,
    /// Every role of targets, by its name and `.json`.
    pub meta: BTreeMap<String, MetaFile>,
}

/// `targets.json`, and what delegated roles sign.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    /// `targets`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// Version of the specification.
    pub spec_version: String,
    /// Its version.
    pub version: u64,
    /// From when on it is not to be believed.
    pub expires: Date,
    /// Targets by path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Who else may say what targets there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
}

/// What is said of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetFile {
    /// Its length in bytes.
    pub length: u64,
    /// Its digests.
    pub hashes: Hashes,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Box<RawValue>>,
}

impl TargetFile {
    /// What is said of a release; none if it is none of ours.
    pub fn release(&self) -> Option<Custom> {
        serde_json::from_str(self.custom.as_ref()?.get()).ok()
    }
}

/// Who else may say what targets there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Delegations {
    /// Keys by what they are called.
    pub keys: BTreeMap<String, Key>,
    /// One after the other is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<DelegatedRole>>,
    /// Or many roles of one key, each with its share of all paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succinct_roles: Option<SuccinctRoles>,
}

/// A role that may.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DelegatedRole {
    /// What it is called.
    pub name: String,
    /// Which keys.
    pub keyids: Vec<String>,
    /// How many of them have to sign.
    pub threshold: u32,
    /// Whether nobody else is asked after it.
    pub terminating: bool,
    /// Patterns of the paths that it may speak of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Or beginnings of their digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hash_prefixes: Option<Vec<String>>,
}

/// Two to the `bit_length` roles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuccinctRoles {
    /// Which keys.
    pub keyids: Vec<String>,
    /// How many of them have to sign.
    pub threshold: u32,
    /// How many bits of a path's digest choose its role.
    pub bit_length: u32,
    /// What their names begin with.
    pub name_prefix: String,
}

macro_rules! signed {
    ($($name:ident),*) => {$(
        impl Signed for $name {
            const ROLE: Role = Role::$name;

            fn head(&self) -> Head<'_> {
                let (kind, spec_version) = (&self.kind, &self.spec_version);
                Head { kind, spec_version, version: self.version, expires: self.expires }
            }
        }
    )*};
}

signed!(Root, Timestamp, Snapshot, Targets);
