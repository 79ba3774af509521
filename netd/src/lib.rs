//! `netd`: the network an app was granted, and no other.
//!
//! It reads what the network sends, and is in a box for that: whoever takes it over has the device's network and clock, and
//! no app's data.
//!
//! One thread, one tokio runtime. What the parts tell each other goes through two types: [`apps::AppPolicy`], what an
//! app was granted, and [`state::NetState`], what the links learnt.

pub mod apps;
pub mod config;
pub mod daemon;
pub mod dns;
mod early;
pub mod link;
pub mod mdns;
pub mod names;
pub mod policies;
pub mod rules;
pub mod serve;
pub mod state;
pub mod time;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use tokio::task::LocalSet;

/// The daemon: speaks with `sandboxd` over its standard input, and serves the bus, until `sandboxd` ends.
///
/// # Errors
/// Standard input is no link to `sandboxd`; the kernel has no more descriptors or memory.
pub fn run() -> io::Result<()> {
    let link: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, async { Rc::new(daemon::Netd::new(link)?).run().await })
}
