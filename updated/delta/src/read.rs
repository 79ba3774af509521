//! Bytes that are looked at where they lie: an old image, a slot. Whoever does I/O implements it.

use std::fmt;

/// Bytes that were asked for are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot be read")
    }
}

impl std::error::Error for Unreadable {}

/// So many bytes, readable from anywhere. A failed read and one past the end are the same.
pub trait ReadAt {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buffer` from `at` on.
    ///
    /// # Errors
    /// It cannot be filled.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable>;
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let start = usize::try_from(at).map_err(|_| Unreadable)?;
        let end = start.checked_add(buffer.len()).ok_or(Unreadable)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(Unreadable)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        self.as_slice().read_at(at, buffer)
    }
}

#[cfg(unix)]
impl ReadAt for std::fs::File {
    fn size(&self) -> u64 {
        use std::io::{Seek, SeekFrom};
        // A block device has no length of its own in its metadata.
        (&*self).seek(SeekFrom::End(0)).unwrap_or(0)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, at).map_err(|_| Unreadable)
    }
}
