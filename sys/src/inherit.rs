//! The one descriptor `sandboxd` is started with: its socket to `init`, by number.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of descriptor `number`, which whoever started this process left open for it, and makes it
/// close-on-exec. Call it once, at the very start.
///
/// # Errors
/// `EBADF` when it is not open; `EINVAL` for standard input, output and error, which Rust's `std` owns.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an integer is passed; nothing happens to a descriptor that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and inherited: nothing in this process has made it, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
