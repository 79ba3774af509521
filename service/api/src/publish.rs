//! Signed metadata and releases on their way into the service's repository of updates.
//!
//! ```text
//! GET  /v1/updates/keys                        Vec<OnlineKey>      the service's own keys: of snapshot and timestamp
//! POST /v1/updates/keys                        → OnlineKey         another one, to be rotated to
//! POST /v1/catalogs/{catalog}/updates          NewUpdates → Published
//! GET  /v1/catalogs/{catalog}/updates          Vec<ReleaseEntry>   releases that may be deployed
//! GET  /updates/v1/metadata/…, /updates/v1/targets/…               what devices read, without credentials
//! ```
//!
//! Root, targets and delegated roles are signed elsewhere, by people. The service checks what comes as a device would, adds
//! snapshot and timestamp by its own keys, and publishes all of it or nothing.

use crate::release::What;
use crate::{Bytes, Digest, Few, Name, Text, Version};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// Longest file of metadata, bytes, as `SignedRole` has it; a document is as long as `release::DOCUMENT_MAX`.
pub const METADATA_MAX: usize = 1 << 20;
/// Roles that come at once.
pub const ROLES_MAX: usize = 16;
/// Documents that come at once.
pub const DOCUMENTS_MAX: usize = 64;

/// One of the service's own keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct OnlineKey {
    /// What metadata calls it.
    pub id: Digest,
    /// Its public part, Ed25519, in hexadecimal.
    pub public: Digest,
    /// Since when, seconds since 1970.
    pub created: u64,
}

/// What is to be published, all at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewUpdates {
    /// Next versions of roles, with their signatures.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<SignedRole>, max_items = 16))]
    pub roles: Few<SignedRole, ROLES_MAX>,
    /// Documents of releases that those roles speak for and that the service has not yet. What they name has been put into
    /// the catalog's store of artefacts before.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Document>, max_items = 64))]
    pub documents: Few<Document, DOCUMENTS_MAX>,
}

/// A role's next version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct SignedRole {
    /// `root`, `targets`, `os`, or `apps-CATALOG`.
    pub role: Name,
    /// The file.
    pub content: Bytes<1_048_576>,
}

/// A release's document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Document {
    /// Its target.
    pub target: Text<256>,
    /// The file.
    pub content: Bytes<262_144>,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Published {
    /// Roles with a new version.
    pub roles: Vec<RoleVersion>,
    /// Releases that are new.
    pub releases: Vec<Text<256>>,
}

/// A version of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct RoleVersion {
    /// The role.
    pub role: String,
    /// Its version.
    pub version: u64,
}

/// A release that may be deployed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct ReleaseEntry {
    /// Its target, by which deployments name it.
    pub target: Text<256>,
    /// What it replaces.
    pub what: What,
    /// Its version.
    pub version: Version,
    /// What no device goes back behind once it has run it.
    pub floor: u32,
    /// What is new, for people.
    pub notes: Text<1024>,
    /// The catalog that it came by.
    pub catalog: Name,
    /// Since when, seconds since 1970.
    pub published: u64,
    /// Bytes of its images.
    pub size: u64,
}
