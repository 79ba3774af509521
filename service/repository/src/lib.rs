//! Makes and signs a repository of updates, in a folder.
//!
//! | module | what |
//! |---|---|
//! | [`keys`] | signing keys, sealed by a passphrase |
//! | [`edit`] | what changes a role: its next version is staged |
//! | [`sign`] | signatures, one after the other, on whatever machine |
//! | [`publish`] | what has all its signatures becomes what devices see, at once |
//! | [`receive`] | what was published elsewhere is taken in |
//! | [`show`] | what there is, what waits for whom, what expires |
//! | [`seal`] | what is kept secret on a disk |
//! | [`folder`], [`document`] | files |
//!
//! What holds: whatever a power cut or two lines of work leave, devices see one set that verifies, the old or the new.
//!
//! Deliberately not here: serving the folder, and deciding which device gets what.

pub mod document;
pub mod edit;
pub mod error;
pub mod folder;
pub mod keys;
pub mod publish;
pub mod receive;
pub mod seal;
pub mod show;
pub mod sign;

pub use error::Error;
pub use folder::Repository;
