//! A repository with its keys, a device that reads it, and somebody in between.

pub mod between;
pub mod device;
pub mod forge;
pub mod site;

pub use between::Between;
pub use device::{Device, why};
pub use site::Site;

/// When everything here begins, in seconds since 1970.
pub const NOW_S: i64 = 1_800_000_000;
/// A day.
pub const DAY_S: i64 = 86_400;
