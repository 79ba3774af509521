//! The Update Framework's client (specification 1.0, section 5), as a device has it: which files a repository's owner has
//! signed, and no older than what the device has seen.
//!
//! | module | what |
//! |---|---|
//! | [`update`] | the workflow, without files, sockets and clock: says what it wants next and how long it may be, is given bytes |
//! | [`delegation`] | who may sign which targets |
//! | [`envelope`], [`canonical`], [`key`] | signatures |
//! | [`metadata`], [`date`], [`custom`] | what is signed |
//! | [`target`] | a target's bytes, checked as they come |
//! | [`store`] | what is kept of it, so that a power cut leaves the old or the new |
//! | [`source`], [`archive`], [`http`], [`pace`] | where files come from: a folder, one file, or a web server |
//! | [`client`] | all of them put together |
//!
//! What holds: nothing is taken that the threshold of its role's keys has not signed; no role goes back while its keys stay;
//! what a snapshot says belongs together is taken together or not at all; everything that is read has a bound that was known
//! before the first byte.
//!
//! Deliberately not here: choosing a release, and writing it.

pub mod archive;
pub mod canonical;
pub mod client;
pub mod custom;
pub mod date;
pub mod delegation;
pub mod envelope;
pub mod hex;
#[cfg(feature = "http")]
pub mod http;
pub mod key;
pub mod limits;
pub mod metadata;
pub mod name;
pub mod pace;
pub mod refusal;
pub mod source;
pub mod store;
pub mod target;
pub mod update;

pub use client::{Client, Error};
pub use limits::Limits;
pub use refusal::{Refusal, Why};
