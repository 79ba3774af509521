//! App packages that came by an update, or from a developer: what is installed beside the image's own apps, and how it changes.
//!
//! ```text
//! DATA/gabion/installed             the ledger: which package of which app counts, and what is on trial
//! DATA/gabion/packages/ID/N/        manifest.toml, root.img, root.verity
//! DATA/gabion/packages/incoming/    images that are being fetched, ID@VERSION@LENGTH
//! DATA/gabion/packages/uploads/     packages that a developer is sending
//! ```
//!
//! A package's directory is made whole and on the disk before the ledger names it, and stays until the ledger names it no
//! more: so every change is one file replaced, and a power cut leaves all of what was before or all of what comes after.
//! Directories that the ledger does not name are what a cut left, and go at the next start.
//!
//! [`ledger`] and [`fit`] (who would be in whose way) are pure; [`place`] are the files; [`tag`] says what runs.

pub mod fit;
pub mod ledger;
pub mod place;
pub mod tag;
