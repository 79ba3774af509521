//! A GUID partition table (UEFI 2.10, chapter 5), with the types of the Discoverable Partitions Specification.

use crate::sha256;
use anyhow::{Context, Result, anyhow};
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

/// Makes a disk with these partitions, and nothing in them; `lead` bytes are before the first, and behind the last. Its own GUID is made of theirs: the same again for the same.
///
/// # Errors
/// It cannot be written.
pub fn format(disk: &Path, lead: u64, partitions: &[Partition]) -> Result<File> {
    let bytes = start(lead, partitions, partitions.len()) + lead;
    let last = bytes / SECTOR - 1;
    let mut entries = vec![0; ENTRIES as usize * ENTRY];
    let mut identity = Vec::new();
    for (index, partition) in partitions.iter().enumerate() {
        identity.extend_from_slice(&partition.unique);
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
        let entry = entries.get_mut(index * ENTRY..(index + 1) * ENTRY).context("too many partitions")?;
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
            kind,
            unique: [unique; 16],
            label: label.to_owned(),
            attributes,
            bytes,
        };
        let partitions =
            [partition(ESP, 1, "esp", 0, 4 * GRAIN), partition(ROOT, 2, "gabion_1", READ_ONLY, 2 * GRAIN)];
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
    }
}
