//! What a device asks about updates, and hears: below `/device/v1`, by mutual TLS with the device's own certificate.
//!
//! ```text
//! POST /device/v1/updates        Check → Answer      what it runs, how updates went; which releases it is meant to run
//! GET  /device/v1/updates/wait?generation=N          200 Changed as soon as the answer may be another than that of
//!                                                    `generation`, 204 when nothing changed in the time that the service waits
//! ```
//!
//! A service may be newer than its devices: what they read here and in [`device`](crate::device) may have members that they pass over.
//!
//! The answer says which of the signed releases a device is meant to run; it is signed by nobody. A service that was taken over
//! can hold releases back or choose another one that was signed for the same product, and never a lower one.

use crate::{Digest, Few, Text, Version};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// Apps of one device.
pub const APPS_MAX: usize = 200;
/// Outcomes that are told at once.
pub const OUTCOMES_MAX: usize = 256;

/// What a device runs, and what became of updates since it last asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Check {
    /// The system's version.
    pub os: Version,
    /// The system's root hash.
    pub root_hash: Digest,
    /// Apps that came by updates and those of the image.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Running>, max_items = 200))]
    pub apps: Few<Running, APPS_MAX>,
    /// Told again until one answer came back.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Outcome>, max_items = 256))]
    pub outcomes: Few<Outcome, OUTCOMES_MAX>,
    /// How far the last order is. Told again until one answer came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Followed>,
}

/// How far an order is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Followed {
    /// Its number.
    pub number: u64,
    /// How far.
    pub how: How,
    /// Why it was refused, or done otherwise than it was told: a sentence for people.
    #[serde(default)]
    pub reason: Text<256>,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum How {
    /// It is done as soon as the answer to this names it still. What is not to be done twice is told so first.
    Begun,
    /// It was done.
    Done,
    /// It was not done.
    Refused,
}

impl How {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }

    /// The one with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Begun, Self::Done, Self::Refused].into_iter().find(|how| how.as_str() == word)
    }
}

/// An app on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Running {
    /// Its id.
    pub app: Text<128>,
    /// Its version.
    pub version: Text<64>,
}

/// How far an update is, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Outcome {
    /// The target of the release's document.
    pub release: Text<256>,
    /// How far.
    pub stage: Stage,
    /// Why, if it failed, was put off or is held up: a sentence for people.
    #[serde(default)]
    pub reason: Text<256>,
    /// When, seconds since 1970; 0 if the clock was not set.
    pub at_s: u64,
    /// Bytes that were fetched for it until then.
    pub fetched: u64,
}

/// How far an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum Stage {
    /// It is being fetched.
    Fetching,
    /// It is there and waits for its time.
    Pending,
    /// Somebody put it off.
    Deferred,
    /// It runs, on trial.
    Trial,
    /// It runs and is good.
    Complete,
    /// It could not be fetched, was refused or could not be written; the device tries again.
    Failed,
    /// It ran and was not good: the one before runs again.
    RolledBack,
}

/// What a device is meant to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Answer {
    /// Grows with each change of what this device is meant to run.
    pub generation: u64,
    /// Where the repository is: the URL below which `metadata/` and `targets/` are; below the service's own without a scheme.
    pub repository: Text<512>,
    /// Targets of releases' documents: one of the system at most, and one for each app. Those for apps belong together: all of
    /// them or none are taken.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Text<256>>, max_items = 200))]
    pub releases: Few<Text<256>, APPS_MAX>,
    /// Apps that are to go. Those of the image can't.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Text<128>>, max_items = 200))]
    pub remove: Few<Text<128>, APPS_MAX>,
    /// When updates may be applied, in UTC; at any time if none. The device's own windows hold besides.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Window>, max_items = 32))]
    pub windows: Few<Window, 32>,
    /// When to ask again, counted from now; the device spreads this by chance.
    pub check_after_s: u32,
    /// The id of the developer's permit in force for this device, which it is given at its next attestation; empty if none is.
    #[serde(default)]
    pub permit: Text<128>,
    /// What is to be done once: until the device has said how far it is, and in the answer to its having begun it.
    #[serde(default)]
    pub order: Option<Order>,
}

/// What an operator has a device do with its updates, once: what its owner may do there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Order {
    /// No two orders have the same, of whatever service: below 2^53.
    pub number: u64,
    /// The word of an [`Act`]. One that a device does not know it refuses.
    pub act: Text<32>,
    /// With which app's update; the system's if it is empty.
    #[serde(default)]
    pub app: Text<128>,
    /// For how long it is put off.
    #[serde(default)]
    pub minutes: u32,
}

/// What can be done with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum Act {
    /// One that comes is put off, from now on.
    Defer,
    /// One that was put off comes as if it had not been.
    Resume,
    /// The system before runs again, or the app before one that is on trial.
    Rollback,
}

impl Act {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Defer => "defer",
            Self::Resume => "resume",
            Self::Rollback => "rollback",
        }
    }

    /// The act with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Defer, Self::Resume, Self::Rollback].into_iter().find(|act| act.as_str() == word)
    }
}

/// What a device waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
pub struct WaitQuery {
    /// The generation that it knows.
    pub generation: u64,
    /// Wait no longer than this, seconds; the service waits for two minutes at most.
    #[cfg_attr(feature = "openapi", param(minimum = 0, maximum = 120))]
    pub at_most_s: Option<u16>,
}

/// The answer is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Changed {
    /// Its generation now.
    pub generation: u64,
}

/// A time in each week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Window {
    /// Minutes since Monday, 00:00 UTC: below 10080.
    pub from: u16,
    /// How long, minutes: 1 to 10080.
    pub minutes: u16,
}

impl Stage {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Fetching,
        Self::Pending,
        Self::Deferred,
        Self::Trial,
        Self::Complete,
        Self::Failed,
        Self::RolledBack,
    ];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Pending => "pending",
            Self::Deferred => "deferred",
            Self::Trial => "trial",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
        }
    }

    /// The stage with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }
}
