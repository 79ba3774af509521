//! Memory that two processes share: one writes, the other can only read, and neither can make the other fault.
//!
//! [`Writer`] makes a memfd, maps it, and then seals it so that its size is fixed and nobody can get another writable
//! mapping or write by the descriptor. [`Reader`] takes no memory without these seals (a file that shrinks under a
//! mapping means `SIGBUS`), nor one with holes (which would be filled at the reader's cost), nor one longer than it
//! asks for.
//!
//! The writer goes on writing whenever it likes. Bytes are therefore copied out, and there is no way to look at them in
//! place: what was checked in the copy stays so.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;

use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use crate::memfd;

const FIXED_SIZE: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

/// A mapping that ends with its owner.
#[derive(Debug)]
struct Map {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: memory does not belong to a thread.
unsafe impl Send for Map {}

impl Map {
    fn new(fd: BorrowedFd<'_>, length: usize, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice touches no memory of ours.
        let start = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            libc::mmap(std::ptr::null_mut(), length, protection, flags, fd.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// Where `length` bytes from `offset` on begin, if they are all inside.
    fn range(&self, offset: usize, length: usize) -> Option<*mut u8> {
        let end = offset.checked_add(length)?;
        // SAFETY: `offset` is at most the mapping's length.
        (end <= self.length).then(|| unsafe { self.start.as_ptr().add(offset) })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a pointer into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// The end that writes.
#[derive(Debug)]
pub struct Writer {
    map: Map,
    fd: OwnedFd,
}

impl Writer {
    /// Memory of `length` bytes, all of it there from the beginning and charged to this process.
    ///
    /// # Errors
    /// Those of `memfd_create(2)`, `fallocate(2)`, `mmap(2)` and `fcntl(2)`.
    pub fn new(name: &CStr, length: usize) -> io::Result<Self> {
        let fd = memfd::create(name)?;
        let size = libc::off_t::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: integers only.
        if unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, size) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let map = Map::new(fd.as_fd(), length, libc::PROT_READ | libc::PROT_WRITE)?;
        memfd::add_seals(&fd, FIXED_SIZE | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL)?;
        Ok(Self { map, fd })
    }

    /// Copies bytes in. `None` when they do not fit there; nothing is copied then.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        let to = self.map.range(offset, bytes.len())?;
        // SAFETY: the range is inside the mapping, which is writable and not part of any Rust object.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Some(())
    }
}

/// For whoever is to read.
impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The end that reads.
#[derive(Debug)]
pub struct Reader {
    map: Map,
}

impl Reader {
    /// Maps memory that somebody else made, at most `most` bytes long.
    ///
    /// # Errors
    /// `InvalidData`: its size is not fixed, it has holes or is too long, or it is no memory at all; those of
    /// `fstat(2)` and `mmap(2)`.
    pub fn new(fd: impl AsFd, most: usize) -> io::Result<Self> {
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        if !memfd::has_seals(&file, FIXED_SIZE) {
            return Err(wrong("memory that may shrink"));
        }
        // Huge pages are taken from a pool that may be empty when they are touched.
        if fstatfs(&file)?.filesystem_type() != TMPFS_MAGIC {
            return Err(wrong("memory of another kind"));
        }
        let status = file.metadata()?;
        let length = usize::try_from(status.len()).ok().filter(|length| (1..=most).contains(length));
        let length = length.ok_or_else(|| wrong("memory that is empty or too long"))?;
        if status.blocks().saturating_mul(512) < status.len() {
            return Err(wrong("memory with holes"));
        }
        // No hole can come later: the seals that are needed for it would have to be taken off again.
        if !memfd::has_seals(&file, libc::F_SEAL_FUTURE_WRITE) && !memfd::has_seals(&file, libc::F_SEAL_WRITE)
        {
            return Err(wrong("memory that may get holes"));
        }
        Ok(Self { map: Map::new(file.as_fd(), length, libc::PROT_READ)? })
    }

    /// How many bytes there are, never 0.
    pub fn size(&self) -> usize {
        self.map.length
    }

    /// Copies bytes out, which the writer may be changing meanwhile. `None` when there are not so many.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        let from = self.map.range(offset, bytes.len())?;
        // SAFETY: the range is inside the mapping, which is readable for as long as it lives: its size is sealed.
        // Another process may be writing; what is copied is then some mixture, and any byte is a valid `u8`.
        unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), bytes.as_mut_ptr(), bytes.len()) };
        Some(())
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_written_is_read_again_and_again() {
        let mut writer = Writer::new(c"test", 10_000).unwrap();
        let reader = Reader::new(&writer, 10_000).unwrap();
        let mut bytes = [0; 3];
        for text in [b"abc", b"def"] {
            writer.write(9_997, text).unwrap();
            reader.read(9_997, &mut bytes).unwrap();
            assert_eq!(&bytes, text);
        }
        assert_eq!(writer.write(9_998, b"abc"), None);
        assert_eq!(reader.read(usize::MAX, &mut bytes), None);
        assert_eq!(reader.size(), 10_000);
    }

    #[test]
    fn descriptor_of_the_writer_gives_no_right_to_write() {
        let writer = Writer::new(c"test", 4096).unwrap();
        let file = File::from(writer.as_fd().try_clone_to_owned().unwrap());
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.set_len(1).is_err() && file.set_len(8192).is_err());
        assert!(Map::new(file.as_fd(), 4096, libc::PROT_READ | libc::PROT_WRITE).is_err());
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: integers only.
        assert!(unsafe { libc::fallocate(file.as_raw_fd(), punch, 0, 4096) } < 0);
    }

    #[test]
    fn memory_that_could_fault_or_cost_is_refused() {
        let plain = |length: u64| {
            let file = File::from(memfd::create(c"test").unwrap());
            file.set_len(length).unwrap();
            file
        };
        let shrinks = plain(4096);
        shrinks.write_at(b"x", 0).unwrap();
        let refused = |fd: &File| Reader::new(fd, 8192).unwrap_err().to_string();
        assert!(refused(&shrinks).contains("shrink"));
        memfd::add_seals(&shrinks, FIXED_SIZE).unwrap();
        assert!(refused(&shrinks).contains("may get holes"));
        let sparse = plain(8192);
        memfd::add_seals(&sparse, FIXED_SIZE | libc::F_SEAL_WRITE).unwrap();
        assert!(refused(&sparse).contains("with holes"));
        let long = Writer::new(c"test", 8193).unwrap();
        assert!(Reader::new(&long, 8192).is_err());
        assert!(refused(&File::open("/dev/null").unwrap()).contains("shrink"));
        assert!(refused(&File::open("/proc/self/exe").unwrap()).contains("shrink"));
    }
}
