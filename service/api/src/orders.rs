//! Orders: what an operator has one device do with its updates, once, as its owner may do there.
//!
//! ```text
//! PUT    /v1/catalogs/{catalog}/devices/{device}/update-order    NewOrder → DeviceOrder, in place of the one before
//! DELETE /v1/catalogs/{catalog}/devices/{device}/update-order    takes it back, as long as the device has not begun it
//! ```
//!
//! A device hears of it by the request it waits with, and says what became of it within seconds.

use crate::updates::{Act, How};
use crate::{Subject, Text};
use serde::{Deserialize, Serialize};
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

/// No device puts an update off for longer than this, minutes.
pub const MINUTES_MAX: u32 = 10_020;

/// An order to be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct NewOrder {
    /// What the device does.
    pub act: Act,
    /// With this app's update; with the system's if it is empty.
    #[serde(default)]
    pub app: Text<128>,
    /// For how long it puts the update off: 1 to 10,020, of which the device takes what its limit leaves since it learnt of the
    /// update. Nought for all but deferral.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(maximum = 10_020))]
    pub minutes: u32,
}

/// The last order of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(ToSchema))]
pub struct DeviceOrder {
    /// Names it.
    pub number: u64,
    /// What the device does.
    pub act: Act,
    /// With this app's update; with the system's if it is empty.
    pub app: Text<128>,
    /// For how long it puts the update off.
    pub minutes: u32,
    /// Who gave it.
    pub by: Subject,
    /// When, seconds since 1970.
    pub given: u64,
    /// A device that has not heard of it by then does not any more.
    pub until: u64,
    /// How far it is, if the device has said so.
    pub how: Option<How>,
    /// When it did.
    pub heard: Option<u64>,
    /// Why it was refused, or done otherwise than it was told: a sentence for people.
    pub reason: Text<256>,
}
