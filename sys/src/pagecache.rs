//! What the kernel holds of a file in memory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Of each part of `part` bytes of the file's first `length`, whether any page of it is in memory.
///
/// # Errors
/// Those of `mmap(2)` and `mincore(2)`. Of a file that one neither owns nor may write, without `CAP_FOWNER`, everything seems
/// to be there.
pub fn held(file: BorrowedFd<'_>, length: usize, part: usize) -> io::Result<Vec<bool>> {
    if length == 0 || part == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: an integer.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1);
    let mut pages = vec![0_u8; length.div_ceil(page)];
    // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours, and nobody looks into it.
    let start = unsafe {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        libc::mmap(std::ptr::null_mut(), length, protection, flags, file.as_raw_fd(), 0)
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel writes a byte for each page of the mapping, which is ours.
    let said = unsafe { libc::mincore(start, length, pages.as_mut_ptr()) };
    let said = if said < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: as above; nobody has a pointer into it.
    unsafe { libc::munmap(start, length) };
    said.map(|()| {
        pages.chunks(part.div_ceil(page)).map(|part| part.iter().any(|page| page & 1 == 1)).collect()
    })
}
