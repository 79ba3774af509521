//! The update daemon: the system and apps, from the Security Service, over bad networks and sudden power cuts.
//!
//! | file | |
//! |---|---|
//! | `settings` | `update.toml` |
//! | `want` | which releases this device takes, of those that the service names; pure |
//! | `turn` | when an update that is ready is applied, and how long it may be put off; pure |
//! | `trial` | whether a system that was started by an update is well; pure |
//! | `retry` | when something is tried again, how fast is fetched; pure |
//! | `place`, `fetch` | where images lie, and how they come there |
//! | `connect`, `service` | the way to the repository and to the service |
//! | `carried`, `road` | a repository that was carried here; from where releases come now |
//! | `trust` | whose repository it is |
//! | `kept` | what survives a power cut |
//! | `job` | one update |
//! | `driver` | what is done next |
//! | `serve`, `notices` | `os.gabion.Update` |
//! | `deferral`, `back` | putting off, and going back |
//! | `orders` | the same by an operator's word |
//! | `link`, `state`, `daemon` | all of it, joined |

mod back;
pub mod carried;
pub mod connect;
pub mod daemon;
pub mod deferral;
pub mod driver;
pub mod fetch;
pub mod job;
pub mod kept;
pub mod link;
pub mod notices;
mod orders;
pub mod place;
pub mod retry;
pub mod road;
pub mod serve;
pub mod service;
pub mod settings;
pub mod state;
pub mod trial;
pub mod trust;
pub mod turn;
pub mod want;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::LocalSet;

/// Its own storage.
const STORAGE: &str = "/data";

/// The daemon: speaks with `sandboxd` over its standard input, with the service over TLS, and serves the bus, until
/// `sandboxd` ends.
///
/// # Errors
/// Standard input is no link to `sandboxd`; the kernel has no more descriptors or memory.
pub fn run() -> io::Result<()> {
    run_with(PathBuf::from(STORAGE))
}

/// The same with its storage elsewhere.
///
/// # Errors
/// As those of [`run`].
pub fn run_with(storage: PathBuf) -> io::Result<()> {
    let link: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    // Without the bus we are nobody, and the service says that it wants to know.
    let identity: connect::Identity =
        Rc::new(|| Some(Arc::new(gabion::certificate::Identity::of_app().ok()?)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, async {
        let daemon = daemon::Updated::new(link, storage, identity, state::Clock::of_kernel())?;
        let mut server = serve::server()?;
        server.serve(&bus::interfaces::update::INTERFACE, bus::interfaces::update::dispatch);
        daemon.serve(server);
        daemon.run().await
    })
}
