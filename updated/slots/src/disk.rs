//! What is asked of a disk: that sectors are written whole, and that what was flushed stays.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// The unit that is written whole or not at all, bytes.
pub const SECTOR: usize = 512;

/// A disk, or a part of one.
pub trait Disk {
    /// Reads exactly what is asked, from `at` on, bytes.
    ///
    /// # Errors
    /// The disk's; that it ends before.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes whole sectors, from `at` on, bytes. Until the next [`flush`](Self::flush) any of them may be lost.
    ///
    /// # Errors
    /// The disk's; that it ends before.
    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()>;

    /// Comes back when everything that was written is there to stay.
    ///
    /// # Errors
    /// The disk's.
    fn flush(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at)
    }

    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()> {
        self.write_all_at(sectors, at)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A partition: nothing outside it is read or written.
#[derive(Debug)]
pub struct Window<'a, D> {
    disk: &'a mut D,
    from: u64,
    bytes: u64,
}

impl<'a, D: Disk> Window<'a, D> {
    /// `bytes` bytes from `from` on.
    pub fn new(disk: &'a mut D, from: u64, bytes: u64) -> Self {
        Self { disk, from, bytes }
    }

    fn place(&self, at: u64, length: usize) -> io::Result<u64> {
        let end = u64::try_from(length).ok().and_then(|length| at.checked_add(length));
        match (end, self.from.checked_add(at)) {
            (Some(end), Some(place)) if end <= self.bytes => Ok(place),
            _ => Err(io::Error::new(ErrorKind::UnexpectedEof, "past the end of the partition")),
        }
    }
}

impl<D: Disk> Disk for Window<'_, D> {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read(self.place(at, into.len())?, into)
    }

    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()> {
        let place = self.place(at, sectors.len())?;
        self.disk.write(place, sectors)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }
}

/// Little-endian numbers at a fixed place.
pub(crate) mod field {
    /// 16 bits; 0 past the end.
    pub(crate) fn u16(data: &[u8], at: usize) -> u16 {
        data.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
    }

    /// 32 bits; 0 past the end.
    pub(crate) fn u32(data: &[u8], at: usize) -> u32 {
        data.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    /// 64 bits; 0 past the end.
    pub(crate) fn u64(data: &[u8], at: usize) -> u64 {
        data.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    /// Writes `bytes` at `at`; nothing when they do not fit.
    pub(crate) fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
        if let Some(place) = data.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}
