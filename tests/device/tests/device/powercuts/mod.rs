//! Power that goes while a device is updated: each write and flush was recorded, disks are made as a cut may have left them, and
//! what they hold is judged: one version or the other, whole.
//!
//! | module | idea |
//! |---|---|
//! | [`tally`] | which disks are looked at, and what was found on them |
//! | [`apps`] | judges the disk with the data, while apps are updated |
//! | [`system`] | judges the system's disk, while that is updated |
//! | `cut` | all disks that a cut may have left of one update, to be booted from |
//! | `full` | `make powercuts`: every flush, some of the disks booted, cuts while a device recovers from one |
//! | `stick` | the same of what a USB disk brings, by the device's own update daemon |

pub(crate) mod apps;
mod cut;
mod full;
mod stick;
pub(crate) mod system;
pub(crate) mod tally;

pub(crate) use apps::Packages;
pub(crate) use system::Systems;
pub(crate) use tally::{Effort, Fault, Tally};
