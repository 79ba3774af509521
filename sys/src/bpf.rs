//! `bpf(2)`: tables that programs in the kernel share with us ([`map`], [`ring`]), sockets that a program filters
//! ([`packet`]), and, with the feature `builder`, loading those programs and putting them on a cgroup ([`program`]).
//!
//! What holds: each call hands the kernel one zeroed attribute structure; buffers that the kernel writes are as long as
//! the table says they must be, which is asked of the kernel once, when a table is opened. What comes out of a table is
//! bytes; what they mean is the firewall's business.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long};

pub mod map;
pub mod packet;
#[cfg(feature = "builder")]
pub mod program;
pub mod ring;

/// The names of objects: at most 15 bytes and a NUL.
const NAME_BYTES: usize = 16;

#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    #[cfg(feature = "builder")]
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    #[cfg(feature = "builder")]
    ProgramLoad = 5,
    #[cfg(feature = "builder")]
    ProgramAttach = 8,
    #[cfg(feature = "builder")]
    ProgramById = 13,
    #[cfg(feature = "builder")]
    MapById = 14,
    Info = 15,
    #[cfg(feature = "builder")]
    ProgramQuery = 16,
    MapLookupBatch = 24,
}

/// # Safety
/// `T` is what the kernel takes for `command`, and each address in it is valid for what the kernel does there.
unsafe fn call<T>(command: Command, attributes: &mut T) -> io::Result<c_long> {
    // SAFETY: the attributes are as long as is said, and what they point to is the caller's word.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, command as c_int, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// # Safety
/// As for [`call`], and the command's answer is a new descriptor.
#[cfg(feature = "builder")]
unsafe fn call_for_fd<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's word.
    let fd = unsafe { call(command, attributes)? };
    let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel has just made it, with close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A name as the kernel has it; cut to what fits.
#[cfg(feature = "builder")]
fn name(text: &str) -> [u8; NAME_BYTES] {
    let mut name = [0; NAME_BYTES];
    for (to, from) in name.iter_mut().zip(text.bytes().take(NAME_BYTES - 1)) {
        *to = from;
    }
    name
}

#[cfg(feature = "builder")]
fn text(name: &[u8; NAME_BYTES]) -> String {
    name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}

/// The clock of `bpf_ktime_get_ns`: `CLOCK_MONOTONIC` in nanoseconds.
///
/// # Errors
/// Those of `clock_gettime(2)`.
pub fn clock_ns() -> io::Result<u64> {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?;
    let number = |part: i64| u64::try_from(part).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    Ok(number(now.tv_sec())? * 1_000_000_000 + number(now.tv_nsec())?)
}
