//! Large payloads: memory that is passed as a descriptor beside a message, never text inside one.
//!
//! | | once | again and again |
//! |---|---|---|
//! | sender | [`seal`] | [`Writer`] |
//! | receiver | [`Sealed::open`] | [`Reader`] |
//! | bytes | can never change | may change while they are read: copied out first, then looked at |
//! | costs | a memfd for each message | one mapping at each end, then two copies a message |
//!
//! A receiver believes the kernel about the seals and the size, and nobody about anything else.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

pub use sys::shared::{Reader, Writer};

/// A memfd that holds `bytes`, which nobody can change any more. `name` shows up in `/proc/PID/fd`.
///
/// # Errors
/// Those of `memfd_create(2)` and `write(2)`.
pub fn seal(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    sys::memfd::sealed(name, bytes)
}

/// A memfd of somebody else's that was found sealed.
#[derive(Debug)]
pub struct Sealed {
    file: File,
    size: u64,
}

impl Sealed {
    /// Takes a descriptor that came with a message; its memory is at most `most` bytes long.
    ///
    /// # Errors
    /// `InvalidData`: it can still be changed, or is too long.
    pub fn open(fd: OwnedFd, most: u64) -> io::Result<Self> {
        if !sys::memfd::is_sealed(&fd) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not sealed: its sender could change it"));
        }
        let file = File::from(fd);
        let size = file.metadata()?.len();
        if size > most {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than is accepted"));
        }
        Ok(Self { file, size })
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads bytes from `offset` on, all that `buffer` has room for. By a call, not by a mapping: a page that the
    /// sender left out would be made in our memory by looking at it.
    ///
    /// # Errors
    /// `UnexpectedEof` when there are not so many; those of `pread(2)`.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// All the bytes.
    ///
    /// # Errors
    /// Those of `pread(2)`.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; size];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_are_read() {
        let sealed = Sealed::open(seal(c"test", b"abcdef").unwrap(), 6).unwrap();
        let mut buffer = [0; 2];
        sealed.read_at(&mut buffer, 3).unwrap();
        assert_eq!((&buffer, sealed.read().unwrap().as_slice()), (b"de", &b"abcdef"[..]));
        assert!(sealed.read_at(&mut buffer, 5).is_err());
    }

    #[test]
    fn descriptor_that_is_not_sealed_or_too_long_is_refused() {
        let refused = |fd: OwnedFd| Sealed::open(fd, 5).unwrap_err().kind() == io::ErrorKind::InvalidData;
        assert!(refused(seal(c"test", b"abcdef").unwrap()));
        assert!(refused(File::open("/proc/self/exe").unwrap().into()));
        let (pipe, _other) = std::io::pipe().unwrap();
        assert!(refused(pipe.into()));
        // What is written again and again is not what is read once.
        let writer = Writer::new(c"test", 4).unwrap();
        assert!(refused(std::os::fd::AsFd::as_fd(&writer).try_clone_to_owned().unwrap()));
    }
}
