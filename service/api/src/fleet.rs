//! The fleet: catalog → product → group → device, claims, and the releases that a group may run.
//!
//! A catalog is a tenant: nothing in it is seen, named or certified from another.

use crate::{Bytes, Code, DeviceId, Few, Name, RecoveryKey, Text, Version};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::{IntoParams, ToSchema};

/// Makes a catalog, a product or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct New {
    /// Its name.
    pub name: Name,
    /// What it is.
    #[serde(default)]
    pub description: Text<256>,
}

/// A catalog or a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: Text<256>,
    /// Since when, seconds since 1970.
    pub created: u64,
}

/// Makes a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewGroup {
    /// Its name.
    pub name: Name,
    /// What it is.
    #[serde(default)]
    pub description: Text<256>,
    /// What its devices must be.
    #[serde(default)]
    pub policy: GroupPolicy,
}

/// A group of a product's devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Group {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub description: Text<256>,
    /// What its devices must be.
    pub policy: GroupPolicy,
    /// Since when, seconds since 1970.
    pub created: u64,
}

/// What a device of the group must be to get certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct GroupPolicy {
    /// The releases it may run, by name. None named: every release of the catalog that is not withdrawn.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Name>, max_items = 64))]
    pub releases: Few<Name, 64>,
    /// Whether Secure Boot must be on.
    #[serde(default = "yes")]
    pub secure_boot: bool,
    /// Whether a debug build or a developer image passes.
    #[serde(default)]
    pub debug: bool,
    /// The oldest version of the system that passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_min: Option<Version>,
    /// Whether only packages pass that one of the catalog's releases names, and that is not withdrawn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known_packages: bool,
    /// Whether devices hand over a recovery key of their data disk, which an administrator may read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escrow: bool,
}

impl Default for GroupPolicy {
    /// The strict one.
    fn default() -> Self {
        Self {
            releases: Few::default(),
            secure_boot: true,
            debug: false,
            version_min: None,
            known_packages: false,
            escrow: false,
        }
    }
}

fn yes() -> bool {
    true
}

/// Claims a device into the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewClaim {
    /// Which.
    pub device: DeviceId,
    /// That the claimant may: the code that the device showed, or the transfer token of its owner until now.
    pub proof: Code,
    /// Into which product.
    pub product: Name,
    /// Into which group.
    pub group: Name,
}

/// An owner's leave for another catalog to take the device over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Transfer {
    /// The proof of the other catalog's claim; good once.
    pub token: Code,
    /// For how long. The device stays the owner's until it is taken.
    pub expires_s: u32,
}

/// Where a device belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Placement {
    /// The product.
    pub product: Name,
    /// The group.
    pub group: Name,
}

/// Whether a device gets certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum DeviceState {
    /// It does, when its evidence holds.
    Active,
    /// It does not, and those it had are on the revocation list.
    Revoked,
}

impl DeviceState {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Revoked].into_iter().find(|state| state.as_str() == word)
    }
}

/// A device of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Device {
    /// Its id.
    pub device: DeviceId,
    /// Its product.
    pub product: Name,
    /// Its group.
    pub group: Name,
    /// Whether it gets certificates.
    pub state: DeviceState,
    /// Since when it is known, seconds since 1970.
    pub enrolled: u64,
    /// When it last attested, with whatever result; none if it never did.
    pub attested: Option<u64>,
    /// Whether that passed.
    pub passed: Option<bool>,
    /// The release it ran, if one was recognised.
    pub release: Option<Name>,
}

/// A device's recovery key, as an administrator reads it. Read, it is to be used up: the device makes another at its next
/// attestation, and then the service has that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct EscrowedKey {
    /// The key: `cryptsetup open` takes it as a passphrase.
    pub recovery_key: RecoveryKey,
    /// Since when the service has it, seconds since 1970.
    pub since: u64,
}

/// Which devices to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(IntoParams))]
pub struct DeviceFilter {
    /// Of this product only.
    pub product: Option<Name>,
    /// Of groups of this name only.
    pub group: Option<Name>,
    /// In this state only.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub state: Option<DeviceState>,
    /// Whose last attestation passed, or did not.
    pub passed: Option<bool>,
    /// Behind this id: the last of the page before.
    pub after: Option<DeviceId>,
    /// At most this many, 1 to 1000; 100 unless told.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u16>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct IssuedCertificate {
    /// Its serial number, big endian.
    pub serial: Bytes<20>,
    /// `"device"` or the app.
    pub subject: String,
    /// From when, seconds since 1970.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
    /// Since when it is revoked, if it is.
    pub revoked: Option<u64>,
}

/// Publishes a release: what a device that runs it measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewRelease {
    /// Its name: of the system or of a set of packages, with the version.
    pub name: Name,
    /// The reference values, as the image's build writes them. The service reads them strictly before it takes them.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub reference_values: serde_json::Map<String, serde_json::Value>,
}

/// A published release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Release {
    /// Its name.
    pub name: Name,
    /// Since when, seconds since 1970.
    pub published: u64,
    /// Whether no device may run it any more.
    pub withdrawn: bool,
    /// The reference values.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub reference_values: serde_json::Map<String, serde_json::Value>,
}

/// Withdraws a release, or takes that back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Withdrawal {
    /// Whether no device may run it any more.
    pub withdrawn: bool,
}
