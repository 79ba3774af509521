//! Deployments: which releases the devices of a group are meant to run, and how many of them get there at a time.
//!
//! ```text
//! POST /v1/catalogs/{catalog}/deployments                      NewDeployment → Deployment
//! GET  /v1/catalogs/{catalog}/deployments?product=&group=      Page<Deployment>, newest first
//! GET  /v1/catalogs/{catalog}/deployments/{number}             Deployment
//! GET  /v1/catalogs/{catalog}/deployments/{number}/devices     Page<DeviceProgress>
//! POST /v1/catalogs/{catalog}/deployments/{number}/pause, …/resume, …/stop, …/approve     → Deployment
//! POST /v1/catalogs/{catalog}/devices/{device}/update-check    the device asks at once
//! GET  /v1/catalogs/{catalog}/devices/{device}/updates         what it runs, and how its updates went
//! ```
//!
//! A deployment is never changed: its releases are one set. It opens in waves, each a share of the group's devices, which are
//! chosen by SHA-256 of deployment and device: who is in a wave is in all later ones.

use crate::orders::DeviceOrder;
use crate::updates::{APPS_MAX, Running, Stage, Window};
use crate::{DeviceId, Digest, Few, Name, Text, Version};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::{IntoParams, ToSchema};

/// Waves of a deployment.
pub const WAVES_MAX: usize = 16;

/// A share of the group's devices, and what must be so before the next follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Wave {
    /// Of the group's devices, those of the waves before included: 1 to 100, and more than the wave before.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    pub percent: u8,
    /// Of the devices in the waves so far, how many must have completed before the next one: 0 to 100.
    #[serde(default = "ninety")]
    #[cfg_attr(feature = "openapi", schema(maximum = 100))]
    pub success_percent: u8,
    /// The deployment stops by itself as soon as more than this of them have failed: 0 to 100, which is never.
    #[serde(default = "five")]
    #[cfg_attr(feature = "openapi", schema(maximum = 100))]
    pub error_percent: u8,
    /// Whether somebody has to approve the next wave.
    #[serde(default)]
    pub approval: bool,
}

fn ninety() -> u8 {
    90
}

fn five() -> u8 {
    5
}

impl Wave {
    /// All devices at once.
    pub const ALL: Self = Self { percent: 100, success_percent: 90, error_percent: 100, approval: false };
}

/// A deployment to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewDeployment {
    /// The group's product.
    pub product: Name,
    /// The group.
    pub group: Name,
    /// Releases, by their targets: one of the system at most, and one of each app.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Text<256>>, max_items = 200))]
    pub releases: Few<Text<256>, APPS_MAX>,
    /// Apps that are to go.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Text<128>>, max_items = 200))]
    pub remove: Few<Text<128>, APPS_MAX>,
    /// Leave out what the group's last deployment had besides. Unless told, its releases of other apps and of the system are
    /// taken over.
    #[serde(default)]
    pub alone: bool,
    /// Waves, the last of 100 percent; without any, all devices at once.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Wave>, max_items = 16))]
    pub waves: Few<Wave, WAVES_MAX>,
    /// When devices may apply it, UTC; at any time if none.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Window>, max_items = 32))]
    pub windows: Few<Window, 32>,
    /// What for.
    #[serde(default)]
    pub notes: Text<256>,
}

/// How a deployment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum DeploymentState {
    /// The waves that are open get it.
    Running,
    /// The same, and the next wave waits for somebody's approval.
    Waiting,
    /// Who was told of it gets it, and nobody else.
    Paused,
    /// Who runs it keeps it, and nobody else gets it.
    Stopped,
    /// Enough of all have completed; devices that come to the group get it.
    Finished,
    /// There is a later one for the group: who was told of it gets it until they are told of that.
    Replaced,
}

impl DeploymentState {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Replaced => "replaced",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Running, Self::Waiting, Self::Paused, Self::Stopped, Self::Finished, Self::Replaced];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Deployment {
    /// Its number.
    pub number: u64,
    /// The group's product.
    pub product: Name,
    /// The group.
    pub group: Name,
    /// All releases, those that were taken over too.
    pub releases: Vec<Text<256>>,
    /// Apps that are to go.
    pub remove: Vec<Text<128>>,
    /// Waves.
    pub waves: Vec<Wave>,
    /// When devices may apply it.
    pub windows: Vec<Window>,
    /// What for.
    pub notes: Text<256>,
    /// The feed that it came by, if it did.
    pub feed: Option<Name>,
    /// How it is doing.
    pub state: DeploymentState,
    /// Why it stopped or was paused.
    pub reason: Text<256>,
    /// Waves that are open.
    pub open: u8,
    /// Since when, seconds since 1970.
    pub created: u64,
    /// Devices.
    pub devices: Counts,
}

/// How many of the group's devices are how far. Those that were revoked or are elsewhere do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Counts {
    /// The group's in the open waves.
    pub chosen: u64,
    /// Were told of it.
    pub told: u64,
    /// Run all of it.
    pub complete: u64,
    /// Could not fetch or write it, or refused it; they try again.
    pub failed: u64,
    /// Ran it and went back.
    pub rolled_back: u64,
}

/// How far a device is with a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct DeviceProgress {
    /// Which device.
    pub device: DeviceId,
    /// The deployment.
    pub deployment: u64,
    /// How far; none if it was told and has said nothing.
    pub stage: Option<Stage>,
    /// The release it last said something about.
    pub release: Text<256>,
    /// Why.
    pub reason: Text<256>,
    /// When the service heard of it, seconds since 1970.
    pub heard: u64,
    /// Bytes that it had fetched.
    pub fetched: u64,
}

/// Which deployments to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(IntoParams))]
pub struct DeploymentFilter {
    /// Of this product only.
    pub product: Option<Name>,
    /// Of groups of this name only.
    pub group: Option<Name>,
    /// Before this number: the last of the page before.
    pub before: Option<u64>,
    /// At most this many, 1 to 1000; 100 unless told.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u16>,
}

/// Which devices of a deployment to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(IntoParams))]
pub struct ProgressFilter {
    /// At this stage only.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub stage: Option<Stage>,
    /// Behind this one: the last of the page before.
    pub after: Option<DeviceId>,
    /// At most this many, 1 to 1000; 100 unless told.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u16>,
}

/// Why a deployment is paused or stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Reason {
    /// In words.
    #[serde(default)]
    pub reason: Text<256>,
}

/// Approves the next wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Approval {
    /// How many waves are open now, so that no two people approve one after the other.
    pub open: u8,
}

/// What a device runs, as it last said, and how its updates went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct DeviceUpdates {
    /// When it last asked, give or take an hour; none if it never did.
    pub asked: Option<u64>,
    /// The system's version.
    pub os: Option<Version>,
    /// The system's root hash.
    pub root_hash: Option<Digest>,
    /// Apps.
    pub apps: Vec<Running>,
    /// The deployment that it is meant to run, if there is one.
    pub deployment: Option<u64>,
    /// Its deployments, newest first.
    pub progress: Vec<DeviceProgress>,
    /// The last order that it was given, if there is one.
    pub order: Option<DeviceOrder>,
}
