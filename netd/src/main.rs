//! `netd`: links, names, time, and what each app may reach.
//!
//! Speaks with `sandboxd` over its standard input, and serves the bus. It reads what the network sends, and is in a box
//! for that: whoever takes it over has the device's network and clock, and no app's data.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use netd::daemon::Netd;
use tokio::task::LocalSet;

fn main() -> io::Result<()> {
    let link: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, async { Rc::new(Netd::new(link)?).run().await })
}
