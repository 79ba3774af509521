//! The identity daemon: the only process with the TPM.
//!
//! | file | |
//! |---|---|
//! | [`contact`] | the way to the service |
//! | `tls`, `round`, `request` | what is said on it |
//! | `pace` | when the next round is, how much an app may ask for; pure |
//! | `identity` | the TPM |
//! | `packages` | what is measured; pure but for the register |
//! | `kept` | what survives a restart |
//! | `reports` | what the service should hear of; pure |
//! | `unlock`, `uki` | the key of the data device, and in which states it comes |
//! | `floor` | which systems are too old for it |
//! | `escrow` | a recovery key of the data device, for the service |
//! | `serve` | `os.gabion.Certificate` |
//! | `status` | `os.gabion.Identity` |
//! | `developer` | `os.gabion.Permit`: developer mode |
//! | `state`, `daemon` | all of it, joined |

pub mod catalog;
pub mod daemon;
pub mod developer;
pub mod escrow;
pub mod floor;
pub mod identity;
pub mod kept;
pub mod pace;
pub mod packages;
pub mod reports;
pub mod request;
pub mod round;
pub mod serve;
pub mod state;
mod status;
pub mod tls;
pub mod uki;
pub mod unlock;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::task::LocalSet;

/// The daemon: speaks with `sandboxd` over its standard input, with the service over TLS, and serves the bus, until
/// `sandboxd` ends.
///
/// # Errors
/// Standard input is no link to `sandboxd`; there is no TPM; the kernel has no more descriptors or memory.
pub fn run() -> io::Result<()> {
    let link: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new()
        .block_on(&runtime, async { daemon::Attestd::new(link, identity::Identity::of_board())?.run().await })
}
