//! Waiting for a descriptor of our own.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// The descriptor, to be waited for.
///
/// # Errors
/// The runtime can't watch it.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe for owners whose descriptor may change; OwnedFd's never does"
)]
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}
