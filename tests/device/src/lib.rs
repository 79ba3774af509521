//! Whole devices under test: build what they boot, boot them in QEMU, talk to them, keep their console when it went wrong.
//!
//! | module | idea |
//! |---|---|
//! | [`app`] | small apps, written where the test is |
//! | [`images`] | the system with the test agent, and an app store per test |
//! | [`bench`] | putting a device together |
//! | `turn` | one device at a time for each two processors, and those that mostly wait |
//! | [`chain`] | on its board, by the real chain; and what somebody may have done to that |
//! | [`device`] | it runs |
//! | `mutant` | damaged images: the package checker's own |
//! | [`examples`] | the apps of `sdk/examples` |
//! | `foreign` | a varlink client that others wrote, as an app |
//! | `programs` | Debian's programs, as apps |
//! | [`carried`] | a disk with updates, signed without a service |
//! | [`site`] | a network beside it, with real servers |
//! | [`off`] | it is off: its disk |
//! | `moved` | it is off, and its disks are put on another board |
//! | [`console`] | what the device said, and waiting for it to say something |
//!
//! Waits end by what the device says; their limits are only there to end a test that has failed.
#![cfg(feature = "host")]

pub mod app;
pub mod bench;
pub mod carried;
pub mod chain;
pub mod console;
pub mod device;
pub mod examples;
mod foreign;
pub mod images;
mod moved;
#[path = "../../../package/tests/made/mutant.rs"]
mod mutant;
mod next;
pub mod off;
mod programs;
pub mod site;
mod turn;
pub mod writes;

pub use app::App;
pub use bench::Bench;
pub use device::{Device, PATIENCE, word};
pub use off::Off;
pub use site::Site;
