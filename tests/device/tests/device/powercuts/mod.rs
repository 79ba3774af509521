//! Power that goes while a device is updated: each write and flush was recorded, disks are made as a cut may have left them, and
//! what they hold is judged: one version or the other, whole.
//!
//! | module | idea |
//! |---|---|
//! | [`tally`] | which disks are looked at, and what was found on them |
//! | [`apps`] | judges the disk with the data, while apps are updated |
//! | [`system`] | judges the system's disk, while that is updated |
//! | `full` | `make powercuts`: every flush, some of the disks booted, cuts while a device recovers from one |

pub(crate) mod apps;
mod full;
pub(crate) mod system;
pub(crate) mod tally;

pub(crate) use apps::Packages;
pub(crate) use system::Systems;
pub(crate) use tally::{Effort, Fault, Tally};
