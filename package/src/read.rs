//! Bytes that are looked at where they lie: an image or a file of it, never loaded as a whole.

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

/// So many bytes, readable from anywhere. Whoever does I/O implements it; a failed read and one past the end are the same.
pub trait ReadAt {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buffer` from `at` on.
    ///
    /// # Errors
    /// It cannot be filled.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable>;

    /// The `N` bytes from `at` on.
    ///
    /// # Errors
    /// They are not all there.
    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], Unreadable> {
        let mut bytes = [0; N];
        self.read_at(at, &mut bytes)?;
        Ok(bytes)
    }
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

/// Little-endian fields of a record, by offset.
pub(crate) fn field<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    let bytes = at.checked_add(N).and_then(|end| record.get(at..end)).and_then(|b| b.try_into().ok());
    bytes.unwrap_or([0; N])
}

pub(crate) fn u16_at(record: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(record, at))
}

pub(crate) fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(record, at))
}

pub(crate) fn u64_at(record: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(record, at))
}
