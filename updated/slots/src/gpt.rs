//! A GUID partition table (UEFI 2.10, chapter 5) whose partitions get other names and GUIDs, and nothing else.
//!
//! There are two copies. One of them is whole at each moment: the second is written and flushed before the first is begun.
//! The firmware takes the second where the first is damaged, and mends the first from it; the kernel does so with the word
//! `gpt` on its command line.

use std::io;

use crate::disk::{Disk, SECTOR, field};
use crate::fault::Fault;

/// Entries are this long, and this many, by the standard's minimum; ours are never others.
const ENTRY: usize = 128;
const ENTRIES: usize = 128;
const TABLE: usize = ENTRY * ENTRIES;
const HEADER: usize = 92;

/// A partition as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The GUID of what it is for, as GPT writes it.
    pub kind: [u8; 16],
    /// Its own GUID.
    pub unique: [u8; 16],
    /// Where it begins, bytes.
    pub from: u64,
    /// Its length, bytes.
    pub bytes: u64,
    /// Its label.
    pub label: String,
}

/// One copy.
#[derive(Clone, Debug)]
struct Copy {
    header: Vec<u8>,
    entries: Vec<u8>,
}

/// A partition table.
#[derive(Clone, Debug)]
pub struct Gpt {
    first: Copy,
    second: Copy,
    /// Whether the first is not on the disk yet as it is here.
    is_first_damaged: bool,
}

impl Gpt {
    /// Reads it from a disk of `bytes` bytes. A copy that is damaged is as the other one is, from here on.
    ///
    /// # Errors
    /// Neither copy is whole; the disk's.
    pub fn read(disk: &impl Disk, bytes: u64) -> Result<Self, Fault> {
        let sector = SECTOR as u64;
        let last = (bytes / sector).checked_sub(1).ok_or(Fault::Damaged("the partition table"))?;
        let first = copy(disk, 1)?;
        // It lies where the first says, and at the end of the disk if that says nothing.
        let at = first.as_ref().map_or(last, |copy| field::u64(&copy.header, 32));
        let second = if at <= last { copy(disk, at)? } else { None };
        match (first, second) {
            (Some(first), Some(second)) => Ok(Self { first, second, is_first_damaged: false }),
            (Some(first), None) => {
                let table =
                    at.checked_sub((TABLE / SECTOR) as u64).ok_or(Fault::Damaged("the partition table"))?;
                Ok(Self { second: first.moved(at, 1, table), first, is_first_damaged: false })
            }
            (None, Some(second)) => {
                Ok(Self { first: second.moved(1, at, 2), second, is_first_damaged: true })
            }
            (None, None) => Err(Fault::Damaged("the partition table")),
        }
    }

    /// Its partitions, in the order of the table; `None` for an entry that is free.
    pub fn partitions(&self) -> Vec<Option<Partition>> {
        let end = self.first.entries.chunks(ENTRY).rposition(|entry| entry.iter().any(|byte| *byte != 0));
        self.first.entries.chunks(ENTRY).take(end.map_or(0, |end| end + 1)).map(partition).collect()
    }

    /// Gives partitions, by their place in the table, other GUIDs and labels, and writes both copies.
    ///
    /// # Errors
    /// There is no such partition; the disk's. Then one copy is whole, with all of it or with nothing.
    pub fn name(&mut self, disk: &mut impl Disk, names: &[(usize, [u8; 16], String)]) -> Result<(), Fault> {
        let mut entries = self.first.entries.clone();
        for (index, unique, label) in names {
            let there = self.partitions().get(*index).is_some_and(Option::is_some);
            let entry = entries.chunks_mut(ENTRY).nth(*index).filter(|_| there);
            let entry = entry.ok_or_else(|| Fault::Missing(format!("partition {index}")))?;
            let text: Vec<u8> = label.encode_utf16().flat_map(u16::to_le_bytes).collect();
            if text.len() > 72 {
                return Err(Fault::Name(label.clone()));
            }
            field::put(entry, 16, unique);
            field::put(entry, 56, &[0; 72]);
            field::put(entry, 56, &text);
        }
        // The second is all there is, until the first is as it was.
        if self.is_first_damaged {
            self.first.write(disk)?;
            disk.flush()?;
            self.is_first_damaged = false;
        }
        for copy in [&mut self.second, &mut self.first] {
            copy.entries.clone_from(&entries);
            copy.seal();
            copy.write(disk)?;
            disk.flush()?;
        }
        Ok(())
    }
}

impl Copy {
    /// The same for the other place.
    fn moved(&self, own: u64, other: u64, table: u64) -> Self {
        let mut copy = self.clone();
        for (at, value) in [(24, own), (32, other), (72, table)] {
            field::put(&mut copy.header, at, &value.to_le_bytes());
        }
        copy.seal();
        copy
    }

    /// Makes its sums those of its content.
    fn seal(&mut self) {
        field::put(&mut self.header, 88, &crc32(&self.entries).to_le_bytes());
        field::put(&mut self.header, 16, &[0; 4]);
        let sum = crc32(self.header.get(..HEADER).unwrap_or_default());
        field::put(&mut self.header, 16, &sum.to_le_bytes());
    }

    fn write(&self, disk: &mut impl Disk) -> io::Result<()> {
        let place = |at| field::u64(&self.header, at).saturating_mul(SECTOR as u64);
        disk.write(place(72), &self.entries)?;
        disk.write(place(24), &self.header)
    }
}

/// The copy whose header is at this sector, if it is whole.
fn copy(disk: &impl Disk, at: u64) -> io::Result<Option<Copy>> {
    let mut header = vec![0; SECTOR];
    disk.read(at.saturating_mul(SECTOR as u64), &mut header)?;
    let mut blank = header.get(..HEADER).unwrap_or_default().to_vec();
    field::put(&mut blank, 16, &[0; 4]);
    let fits = header.starts_with(b"EFI PART")
        && field::u32(&header, 12) == HEADER as u32
        && field::u32(&header, 16) == crc32(&blank)
        && field::u64(&header, 24) == at
        && field::u32(&header, 80) == ENTRIES as u32
        && field::u32(&header, 84) == ENTRY as u32;
    if !fits {
        return Ok(None);
    }
    let mut entries = vec![0; TABLE];
    disk.read(field::u64(&header, 72).saturating_mul(SECTOR as u64), &mut entries)?;
    Ok((field::u32(&header, 88) == crc32(&entries)).then_some(Copy { header, entries }))
}

fn partition(entry: &[u8]) -> Option<Partition> {
    let guid = |at: usize| entry.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
    let kind: [u8; 16] = guid(0)?;
    let (first, last) = (field::u64(entry, 32), field::u64(entry, 40));
    let sectors = last.checked_sub(first)?.checked_add(1)?;
    let text: Vec<u16> =
        (56..128).step_by(2).map(|at| field::u16(entry, at)).take_while(|unit| *unit != 0).collect();
    (kind != [0; 16]).then_some(Partition {
        kind,
        unique: guid(16)?,
        from: first.checked_mul(SECTOR as u64)?,
        bytes: sectors.checked_mul(SECTOR as u64)?,
        label: String::from_utf16_lossy(&text),
    })
}

/// CRC-32 as of GPT, Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}
