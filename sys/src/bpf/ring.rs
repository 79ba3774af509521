//! The ring: the kernel's programs write records, one process reads them.
//!
//! The kernel shows one page with the reader's place, which we may write, one with the writer's, and the data twice in a
//! row, so that no record is cut. The programs are ours; still no length is believed that leaves the data.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::map::{Kind, Map};

/// `BPF_RINGBUF_BUSY_BIT`: reserved and not yet written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: given up.
const GIVEN_UP: u32 = 1 << 30;
/// In front of each record: its length and flags, and a number of the kernel's.
const HEADER: u64 = 8;

/// The reading end.
#[derive(Debug)]
pub struct Ring {
    map: Map,
    reader: NonNull<u8>,
    writer: NonNull<u8>,
    page: usize,
    bytes: usize,
}

// SAFETY: the mappings belong to this value alone, and are reached through `&mut self` or atomically.
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring. `map` can be polled: it is readable when there are records.
    ///
    /// # Errors
    /// Those of `mmap(2)`; a table that is no ring.
    pub fn open(map: Map) -> io::Result<Self> {
        let form = map.form();
        let page = page_bytes()?;
        let bytes = form.entries as usize;
        if form.kind != Kind::Ring || !bytes.is_power_of_two() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a ring"));
        }
        let reader = shared(&map, page, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, 0)?;
        let writer = match shared(&map, page + 2 * bytes, ProtFlags::PROT_READ, page) {
            Ok(writer) => writer,
            Err(e) => {
                unmap(reader, page);
                return Err(e);
            }
        };
        Ok(Self { map, reader, writer, page, bytes })
    }

    /// Takes the next record out, cut to `N` bytes; `None` when there is none, or one is being written.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        loop {
            // SAFETY: the first eight bytes of each of the two pages are the places, aligned, and live as we do.
            let (read, written) = unsafe {
                (self.reader.cast::<AtomicU64>().as_ref(), self.writer.cast::<AtomicU64>().as_ref())
            };
            let at = read.load(Ordering::Relaxed);
            if at >= written.load(Ordering::Acquire) {
                return None;
            }
            let offset = (at % self.bytes as u64) as usize;
            // SAFETY: `offset` is inside the data, 8-byte aligned because every record is; a page precedes them.
            let header = unsafe { self.writer.add(self.page + offset) };
            // SAFETY: as above.
            let word = unsafe { header.cast::<AtomicU32>().as_ref() }.load(Ordering::Acquire);
            if word & BUSY != 0 {
                return None;
            }
            let length = (word & !GIVEN_UP) as usize;
            let mut record = [0; N];
            if length <= self.bytes - HEADER as usize {
                let from = header.as_ptr().wrapping_add(HEADER as usize);
                // SAFETY: the data is there twice, so that a record of at most its length ends before the mapping does.
                unsafe { std::ptr::copy_nonoverlapping(from, record.as_mut_ptr(), length.min(N)) };
            }
            let whole = (length as u64 + HEADER).next_multiple_of(8);
            read.store(at + whole, Ordering::Release);
            if word & GIVEN_UP == 0 && length == N {
                return Some(record);
            }
        }
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        unmap(self.reader, self.page);
        unmap(self.writer, self.page + 2 * self.bytes);
    }
}

fn shared(map: &Map, length: usize, protection: ProtFlags, offset: usize) -> io::Result<NonNull<u8>> {
    let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
    let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, map, offset)? };
    Ok(start.cast())
}

fn unmap(start: NonNull<u8>, length: usize) {
    // SAFETY: the mapping was made by `shared` with this length and nothing refers to it any more. It can't fail then.
    let _ = unsafe { munmap(start.cast(), length) };
}

fn page_bytes() -> io::Result<usize> {
    // SAFETY: plain sysconf.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).map_err(|_| io::Error::last_os_error())
}
