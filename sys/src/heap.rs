//! How much of the heap a daemon keeps that nobody uses any more.

use libc::c_int;

/// What may be free at the heap's end before it is given back, bytes. glibc's own 128 KiB, which it raises by itself, are half of
/// what such a daemon has.
const FREE_MAX: c_int = 32 << 10;
/// By how much more than is needed the heap grows, bytes; glibc's own are 128 KiB.
const GROWS_BY: c_int = 16 << 10;

/// From now on the heap's free end goes back to the kernel soon, for more system calls when it grows and shrinks: for a
/// program that is to be small, after a burst as well.
pub fn keep_small() {
    // SAFETY: `mallopt` takes numbers and touches nothing but the allocator's settings, under its own lock.
    let done = unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_MAX) == 1 && libc::mallopt(libc::M_TOP_PAD, GROWS_BY) == 1
    };
    debug_assert!(done, "glibc takes any number for these");
}
