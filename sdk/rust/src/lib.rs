//! What a Rust app on a Gabion device uses of the system.
//!
//! | module | | feature |
//! |---|---|---|
//! | [`call`] | any interface that the manifest names, the system's or another app's | `app` |
//! | [`device`] | what the device is | `app` |
//! | [`update`] | what happens to updates, and putting them off | `app` |
//! | [`power`] | switching it off, or off and on | `app` |
//! | [`time`] | how far the clock can be trusted | `app` |
//! | [`network`] | how far the network goes, names, what the app may reach | `app` |
//! | [`certificate`] | the app's certificate and its key, which stays in the TPM, for `rustls` | `certificate` |
//! | [`peer`] | who may be at the other end: another device, an app, a group | `certificate` |
//! | [`serve`] | an interface for other apps | `app` |
//! | [`notify`] | being up, and the watchdog | `app` |
//! | [`storage`] | `/data`: how much is free, files that are whole after a loss of power | `app` |
//! | [`log`] | lines with fields, for `gabion logs` | `app` |
//!
//! Calls are made on tokio; a runtime of one thread is enough. An app needs none of this: it is plain varlink on
//! `/run/bus/INTERFACE` and `sd_notify`, which other libraries speak as well.
//!
//! ```no_run
//! # #[cfg(feature = "app")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), gabion::call::CallError> {
//! use gabion::update::{Happening, Target, Update};
//!
//! let info = gabion::device::Device::of_app().info().await?;
//! gabion::log::info("runs").with("on", &info.board).write();
//! gabion::notify::ready().ok();
//! let mut updates = Update::of_app();
//! let mut watch = updates.watch();
//! loop {
//!     let event = watch.next().await?;
//!     if event.happening == Happening::Pending {
//!         updates.defer(Target::App, 30).await?;
//!     }
//! }
//! # }
//! # #[cfg(not(feature = "app"))]
//! # fn main() {}
//! ```
//!
//! Outside a box, for tests on a developer's machine, the variables `GABION_BUS`, `GABION_SERVE` and `GABION_DATA` name
//! what is `/run/bus`, `/run/serve` and `/data` in one.

#[cfg(feature = "app")]
pub mod call;
#[cfg(feature = "certificate")]
pub mod certificate;
#[cfg(feature = "app")]
pub mod device;
#[cfg(feature = "app")]
pub mod log;
#[cfg(feature = "app")]
pub mod network;
#[cfg(feature = "app")]
pub mod notify;
#[cfg(feature = "certificate")]
pub mod peer;
#[cfg(feature = "app")]
pub mod power;
#[cfg(feature = "app")]
pub mod serve;
#[cfg(feature = "app")]
pub mod storage;
#[cfg(feature = "app")]
pub mod time;
#[cfg(feature = "app")]
pub mod update;

/// The bus's own crate: types and blocking clients of every interface, made from their files.
pub use bus;

use std::path::{Path, PathBuf};

/// What is at `place` in a box, or where `variable` says it is outside of one.
fn place(variable: &str, place: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| Path::new(place).to_owned(), PathBuf::from)
}

/// Where the box has its sockets of the bus.
fn bus_folder() -> PathBuf {
    place("GABION_BUS", "/run/bus")
}
