//! `attestd`: the only process with the TPM.
//!
//! Speaks with `sandboxd` over its standard input, with the service over TLS, and serves the bus. Whoever takes it over has
//! the device's identity for as long as he is there; the keys stay in the TPM.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use attestd::daemon::Attestd;
use attestd::identity::Identity;
use tokio::task::LocalSet;

fn main() -> io::Result<()> {
    let link: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, async { Attestd::new(link, Identity::of_board())?.run().await })
}
