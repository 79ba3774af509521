//! What the service keeps of what happened: verdicts, changes, error reports.

use crate::device::ReportKind;
use crate::{DeviceId, Name, Subject};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::{IntoParams, ToSchema};

/// What the service made of a device's last evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Verdict {
    /// When, seconds since 1970.
    pub at: u64,
    /// Whether certificates were given out.
    pub passed: bool,
    /// Why not; or what was noticed.
    pub reasons: Vec<String>,
    /// The release that was recognised.
    pub release: Option<Name>,
    /// Each thing that was measured.
    pub measurements: Vec<Measurement>,
    /// The same for programs: an EAT attestation result (a compact JWS). None if the evidence was not even the device's.
    pub ear: Option<String>,
}

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct Measurement {
    /// What: "PCR 7", "section .linux", an app with its version.
    pub name: String,
    /// What the reference values say, in hexadecimal; empty if they say nothing.
    pub expected: Vec<String>,
    /// What was seen.
    pub seen: String,
    /// Whether it is as it should be.
    pub passed: bool,
}

/// A change, as it is kept for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct AuditEntry {
    /// Ascending; what is missing in between happened in other catalogs, or was not committed.
    pub number: u64,
    /// When, seconds since 1970.
    pub at: u64,
    /// Who: a person, `machine.CATALOG.NAME`, `device.ID`, or `service`.
    pub who: String,
    /// What: `device.claim`, `group.update`, …
    pub action: String,
    /// On what: a path below the catalog.
    pub object: String,
    /// What it was before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub before: Option<serde_json::Value>,
    /// What it is now. Secrets are in neither.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub after: Option<serde_json::Value>,
}

/// Which changes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(IntoParams))]
pub struct AuditFilter {
    /// Behind this number.
    pub after: Option<u64>,
    /// By this person or machine only.
    pub who: Option<Subject>,
    /// At most this many, 1 to 1000; 100 unless told.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 1000))]
    pub limit: Option<u16>,
}

/// An error as devices reported it, the same one counted together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct CollectedReport {
    /// Which device.
    pub device: DeviceId,
    /// Its product at the last time.
    pub product: Name,
    /// Its group at the last time.
    pub group: Name,
    /// The system's version.
    pub os_version: String,
    /// The app.
    pub app: String,
    /// The app's version.
    pub app_version: String,
    /// What happened.
    pub kind: ReportKind,
    /// Which signal, exit status, syscall or path.
    pub detail: String,
    /// How often.
    pub count: u64,
    /// The first time, seconds since 1970, by the device's clock; 0 if that was never set.
    pub first: u64,
    /// The last time.
    pub last: u64,
    /// When the service last heard of it.
    pub heard: u64,
}

/// Which reports to export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(IntoParams))]
pub struct ReportFilter {
    /// Of this device only.
    pub device: Option<DeviceId>,
    /// Of this product only.
    pub product: Option<Name>,
    /// Of groups of this name only.
    pub group: Option<Name>,
    /// Heard of at this second or later.
    pub since: Option<u64>,
    /// JSON unless told.
    #[cfg_attr(feature = "openapi", param(inline))]
    pub format: Option<ReportFormat>,
    /// Behind this many, of an order that only new reports change.
    pub skip: Option<u32>,
    /// At most this many, 1 to 10000; 1000 unless told.
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 10000))]
    pub limit: Option<u16>,
}

/// The export's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub enum ReportFormat {
    /// A page of [`CollectedReport`].
    Json,
    /// RFC 4180, with a header line.
    Csv,
}
