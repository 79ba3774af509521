//! What apps link, include or copy, against the real router: what the tests of the three languages share.
//!
//! | module | |
//! |---|---|
//! | [`world`] | a box's `/run/bus` and `/run/serve` with the real router behind them, and a stand-in for `sandboxd` |
//! | [`system`] | a stand-in for the system's servers: it answers every call that an app may make, and keeps which were made |
//! | [`broker`] | a stand-in for an MQTT broker |
//! | [`c`] | the C library and programs on it, built with the sanitizers |
//! | [`page`] | the page that shows it from Python |

pub mod broker;
pub mod c;
pub mod page;
pub mod system;
pub mod world;

include!(concat!(env!("OUT_DIR"), "/temperature.rs"));

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A method of the system, with its interface's name.
pub type Called = BTreeSet<String>;

/// Every method that an app may be granted, by the policy.
pub fn grantable() -> Called {
    let all = policy::bus::methods();
    let apps = all.filter(|(_, _, audience)| *audience == policy::bus::Audience::Apps);
    apps.map(|(interface, method, _)| format!("{interface}.{method}")).collect()
}

/// A file or folder of this tree.
pub fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}
