//! A GUID partition table (UEFI 2.10, chapter 5), with the types of the Discoverable Partitions Specification.

use crate::sha256;
use anyhow::{Context, Result, anyhow, ensure};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// EFI system partition.
pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// Root of an x86-64 system, and of an app for one.
pub const ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
/// Its hash tree.
pub const ROOT_VERITY: &str = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5";
/// The signature over its root hash.
pub const ROOT_SIGNATURE: &str = "41092b05-9fc8-4523-994f-2def0408b176";
/// Attribute of the Discoverable Partitions Specification: never written to by who mounts it.
pub const READ_ONLY: u64 = 1 << 60;

const SECTOR: u64 = 512;
/// Where partitions begin and end: on a mebibyte, as flash and its controllers like it.
pub const GRAIN: u64 = 1 << 20;
/// The same for an image that is a file: a page, behind the table.
pub const FILE_GRAIN: u64 = 20 << 10;
const ENTRIES: u32 = 128;
const ENTRY: usize = 128;

/// A partition.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its place in the table: its number less one.
    pub place: usize,
    /// What it is for: one of the types above.
    pub kind: &'static str,
    /// Its own GUID, as GPT writes it.
    pub unique: [u8; 16],
    /// Its label, at most 36 characters.
    pub label: String,
    /// See [`READ_ONLY`].
    pub attributes: u64,
    /// Its length, a multiple of a sector.
    pub bytes: u64,
}

/// Where the partition `index` begins, in bytes, if the first one does at `lead`.
pub fn start(lead: u64, partitions: &[Partition], index: usize) -> u64 {
    lead + partitions.iter().take(index).map(|partition| partition.bytes).sum::<u64>()
}

/// Makes a disk with these partitions in the order in which they lie, and nothing in them; `lead` bytes are before the first, and
/// behind the last. Its own GUID is made of theirs: the same again for the same.
///
/// # Errors
/// It cannot be written; two partitions have one number.
pub fn format(disk: &Path, lead: u64, partitions: &[Partition]) -> Result<File> {
    let bytes = start(lead, partitions, partitions.len()) + lead;
    let last = bytes / SECTOR - 1;
    let mut entries = vec![0; ENTRIES as usize * ENTRY];
    let (mut identity, mut places) = (Vec::new(), BTreeSet::new());
    for (index, partition) in partitions.iter().enumerate() {
        identity.extend_from_slice(&partition.unique);
        let place = partition.place;
        ensure!(places.insert(place), "two partitions have the number {}", place + 1);
        let first = start(lead, partitions, index) / SECTOR;
        let label: Vec<u8> = partition.label.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let words: [(usize, &[u8]); 6] = [
            (0, &guid(partition.kind)?),
            (16, &partition.unique),
            (32, &first.to_le_bytes()),
            (40, &(first + partition.bytes / SECTOR - 1).to_le_bytes()),
            (48, &partition.attributes.to_le_bytes()),
            (56, &label),
        ];
        let entry = entries.get_mut(place * ENTRY..(place + 1) * ENTRY).context("too many partitions")?;
        for (at, bytes) in words {
            put(entry, at, bytes).context("a label that is too long")?;
        }
    }
    let identity = sha256(&[&identity]);
    let table_sectors = entries.len() as u64 / SECTOR;
    let header = |own: u64, other: u64, table: u64| {
        let mut header = [0; SECTOR as usize];
        let words: [(usize, &[u8]); 11] = [
            (0, b"EFI PART"),
            (8, &0x0001_0000_u32.to_le_bytes()),
            (12, &92_u32.to_le_bytes()),
            (24, &own.to_le_bytes()),
            (32, &other.to_le_bytes()),
            (40, &(2 + table_sectors).to_le_bytes()),
            (48, &(last - table_sectors - 1).to_le_bytes()),
            (56, identity.get(..16).unwrap_or_default()),
            (72, &table.to_le_bytes()),
            (80, &ENTRIES.to_le_bytes()),
            (84, &(ENTRY as u32).to_le_bytes()),
        ];
        for (at, bytes) in words {
            put(&mut header, at, bytes)?;
        }
        put(&mut header, 88, &crc32(&entries).to_le_bytes())?;
        let sum = crc32(header.get(..92)?);
        put(&mut header, 16, &sum.to_le_bytes())?;
        Some(header)
    };
    let file = File::create(disk).with_context(|| format!("making {}", disk.display()))?;
    file.set_len(bytes)?;
    file.write_all_at(&protective(last), 0)?;
    for (own, other, table) in [(1, last, 2), (last, 1, last - table_sectors)] {
        file.write_all_at(&header(own, other, table).context("a header of a fixed size")?, own * SECTOR)?;
        file.write_all_at(&entries, table * SECTOR)?;
    }
    Ok(file)
}

/// The table of old that says that all of the disk is taken.
fn protective(last: u64) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    let length = u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes();
    let entry = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    for (at, bytes) in [(446, &entry[..]), (458, &length[..]), (510, &[0x55, 0xaa][..])] {
        // All of it lies within the sector.
        put(&mut sector, at, bytes);
    }
    sector
}

/// Writes `value` at `at`; nothing when it does not fit.
fn put(data: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    data.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

/// A GUID as it is written, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, to the mixed-endian bytes of UEFI and GPT.
///
/// # Errors
/// It is not written so.
pub fn guid(text: &str) -> Result<[u8; 16]> {
    let digits: Vec<u8> = text
        .split('-')
        .collect::<String>()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16))
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!("{text} is no GUID: {error}"))?;
    let mut guid: [u8; 16] = digits.try_into().map_err(|_| anyhow!("{text} is no GUID"))?;
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    Ok(guid)
}

/// Half of a root hash, in hex, as a GUID: a root is called by the first half, and its hash tree by the second.
///
/// # Errors
/// It is no root hash.
pub fn halves(root_hash: &str) -> Result<[[u8; 16]; 2]> {
    let half = |at: usize| guid(root_hash.get(at..at + 32).context("a root hash that is too short")?);
    Ok([half(0)?, half(32)?])
}

/// A partition as a table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its type, as it is written.
    pub kind: String,
    /// Its own GUID, as GPT writes it.
    pub unique: [u8; 16],
    /// Where it begins, bytes.
    pub start: usize,
    /// Its length, bytes.
    pub bytes: usize,
}

/// The partitions of a disk, by both of its tables, which must say the same.
///
/// # Errors
/// What is wrong with them.
pub fn read(disk: &[u8]) -> Result<Vec<Found>> {
    let sectors = disk.len() as u64 / SECTOR;
    ensure!(
        sectors > 2 * 34 && (disk.len() as u64).is_multiple_of(SECTOR),
        "{} bytes are no disk",
        disk.len()
    );
    ensure!(
        disk.get(450) == Some(&0xee) && disk.get(510..512) == Some(&[0x55, 0xaa]),
        "the protective MBR is not there"
    );
    let table = |own: u64, other: u64, which: &str| {
        let at = usize::try_from(own * SECTOR)?;
        let header = disk.get(at..at + 92).context("a header that lies outside")?;
        let mut summed = header.to_vec();
        summed.get_mut(16..20).context("a sum")?.fill(0);
        ensure!(header.starts_with(b"EFI PART"), "the {which} header is not there");
        ensure!(u32_at(header, 16) == crc32(&summed), "the {which} header is not what its checksum says");
        ensure!(
            u32_at(header, 12) == 92 && u64_at(header, 24) == own && u64_at(header, 32) == other,
            "the {which} header is that of another disk: it was cut off, or made longer"
        );
        ensure!(
            u32_at(header, 80) == ENTRIES && u32_at(header, 84) == ENTRY as u32,
            "the {which} table has another size"
        );
        let at = usize::try_from(u64_at(header, 72).saturating_mul(SECTOR))?;
        let end = at.saturating_add(ENTRIES as usize * ENTRY);
        let entries = disk.get(at..end).with_context(|| format!("the {which} table lies outside"))?;
        ensure!(u32_at(header, 88) == crc32(entries), "the {which} table is not what its checksum says");
        Ok((u64_at(header, 40), u64_at(header, 48), entries))
    };
    let (first, last, entries) = table(1, sectors - 1, "first")?;
    let second = table(sectors - 1, 1, "second")?;
    ensure!((first, last, entries) == second, "the two tables are not the same");
    let mut found: Vec<Found> = Vec::new();
    for entry in entries.chunks(ENTRY).filter(|entry| entry.iter().any(|byte| *byte != 0)) {
        let (from, to) = (u64_at(entry, 32), u64_at(entry, 40));
        ensure!((first..=last).contains(&from) && (from..=last).contains(&to), "a partition lies outside");
        let (start, bytes) = (usize::try_from(from * SECTOR)?, usize::try_from((to - from + 1) * SECTOR)?);
        let behind = found.last().map_or(0, |before| before.start + before.bytes);
        ensure!(start >= behind, "a partition begins before the end of the one before it");
        let unique = entry.get(16..32).and_then(|id| id.try_into().ok()).context("an id")?;
        found.push(Found { kind: written(entry), unique, start, bytes });
    }
    Ok(found)
}

/// A GUID as it is written; the reverse of [`guid`].
fn written(bytes: &[u8]) -> String {
    let part = |range: std::ops::Range<usize>, reversed: bool| -> String {
        let part = bytes.get(range).unwrap_or_default();
        let hex = |byte: &u8| format!("{byte:02x}");
        if reversed { part.iter().rev().map(hex).collect() } else { part.iter().map(hex).collect() }
    };
    format!(
        "{}-{}-{}-{}-{}",
        part(0..4, true),
        part(4..6, true),
        part(6..8, true),
        part(8..10, false),
        part(10..16, false)
    )
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// CRC-32 as of GPT, Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{output, tool};

    #[test]
    fn guid_is_mixed_endian() {
        let esp = guid(ESP).unwrap();
        assert_eq!(esp[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert!(guid("c12a7328").is_err() && halves("0011").is_err());
    }

    #[test]
    fn crc32_gives_the_published_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn disk_is_read_by_sfdisk_as_it_was_made() {
        let place = tempfile::tempdir().unwrap();
        let disk = place.path().join("disk");
        let partition = |kind, unique, label: &str, attributes, bytes| Partition {
            place: usize::from(unique) - 1,
            kind,
            unique: [unique; 16],
            label: label.to_owned(),
            attributes,
            bytes,
        };
        let partitions =
            [partition(ESP, 1, "esp", 0, 4 * GRAIN), partition(ROOT, 2, "gabion_1", READ_ONLY, 2 * GRAIN)];
        let twice = [&partitions[..1], &partitions[..1]].concat();
        assert!(
            format(&disk, GRAIN, &twice).is_err_and(|e| e.to_string() == "two partitions have the number 1")
        );
        drop(format(&disk, GRAIN, &partitions).unwrap());
        assert!(output(tool("sfdisk").arg("--verify").arg(&disk)).unwrap().contains("No errors detected"));
        let said = output(tool("sfdisk").arg("--json").arg(&disk)).unwrap();
        let table: serde_json::Value = serde_json::from_str(&said).unwrap();
        let second = &table["partitiontable"]["partitions"][1];
        assert_eq!(second["start"], 10240);
        assert_eq!(second["size"], 4096);
        assert_eq!(second["type"], ROOT.to_uppercase());
        assert_eq!(second["name"], "gabion_1");
        assert_eq!(second["attrs"], "GUID:60");
        let found = read(&std::fs::read(&disk).unwrap()).unwrap();
        assert_eq!(found[1].kind, ROOT);
        assert_eq!((found[1].start, found[1].bytes, found[1].unique), (5 << 20, 2 << 20, [2; 16]));
    }
}
