//! A package file, `.gab`: where its image and its hash tree lie, and what they are to hash to.
//!
//! It is a Discoverable Disk Image: a GUID partition table with the app's root, the hash tree over it as `veritysetup` writes
//! it, and, if it is signed, the signature over the root hash. By the Discoverable Partitions Specification the two
//! partitions are called by the halves of the root hash.
//!
//! What holds for what is found here: it lies within the file, in whole blocks, and has the form that dm-verity is given. That
//! the root hash is right is found out by whoever reads through it. An attacker controls every byte; memory is bounded by the
//! table of partitions.

use std::fmt;

use crate::erofs::{self, BLOCK, Refusal};
use crate::read::{ReadAt, Unreadable, field, u16_at, u32_at, u64_at};

/// Where the manifest lies in an app's file system.
pub const MANIFEST: &str = "usr/share/gabion/manifest.toml";
/// Longest content of the partition for the signature, bytes.
pub const SIGNATURE_MAX: u64 = 16 << 10;

const SECTOR: u64 = 512;
/// Of the header, and of an entry: the only sizes that are taken.
const HEADER: usize = 92;
const ENTRY: usize = 128;
const ENTRIES_MAX: u32 = 128;
/// Types, as GPT writes them: root of an x86-64 system, `4f68bce3-e8cd-4db1-96e7-fbcaf984b709`; its hash tree,
/// `2c7357ed-ebd2-46d9-aec1-23d437ec2bf5`; the signature over its root hash, `41092b05-9fc8-4523-994f-2def0408b176`.
const ROOT: [u8; 16] =
    [0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09];
const VERITY: [u8; 16] =
    [0xed, 0x57, 0x73, 0x2c, 0xd2, 0xeb, 0xd9, 0x46, 0xae, 0xc1, 0x23, 0xd4, 0x37, 0xec, 0x2b, 0xf5];
const SIGNATURE: [u8; 16] =
    [0x05, 0x2b, 0x09, 0x41, 0xc8, 0x9f, 0x23, 0x45, 0x99, 0x4f, 0x2d, 0xef, 0x04, 0x08, 0xb1, 0x76];
/// Bytes of verity's superblock that say something.
const SUPERBLOCK: usize = 512;
const SALT_MAX: usize = 64;

/// Why a file is no package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A part of it is not there: it was cut short.
    Short,
    /// It is not made as packages are; what is wrong.
    Form(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("is cut short"),
            Self::Form(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Unreadable> for Fault {
    fn from(Unreadable: Unreadable) -> Self {
        Self::Short
    }
}

/// What lies where in a package, bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gab {
    /// The image: from here,
    pub data_at: u64,
    /// so many blocks of 4096 bytes.
    pub data_blocks: u64,
    /// The hash tree, its superblock first: from here,
    pub tree_at: u64,
    /// so many blocks.
    pub tree_blocks: u64,
    /// What the image hashes to.
    pub root_hash: [u8; 32],
    /// What the hashes are salted with, 1 to 64 bytes.
    pub salt: Vec<u8>,
    /// The signature: from where, and how many bytes; `None` in a package that nobody signed.
    pub signature: Option<(u64, u64)>,
}

/// Finds the parts of the package `file`.
///
/// # Errors
/// It is none.
pub fn read(file: &(impl ReadAt + ?Sized)) -> Result<Gab, Fault> {
    let parts = partitions(file)?;
    let one = |kind: [u8; 16], none: &'static str| {
        let mut of = parts.iter().filter(|part| part.kind == kind);
        match (of.next(), of.next()) {
            (Some(part), None) => Ok(part),
            _ => Err(Fault::Form(none)),
        }
    };
    let root = one(ROOT, "has not exactly one root partition for x86-64")?;
    let tree = one(VERITY, "has not exactly one hash tree for its root")?;
    let signature = parts.iter().find(|part| part.kind == SIGNATURE);
    if signature.is_some_and(|part| part.bytes > SIGNATURE_MAX) {
        return Err(Fault::Form("has a signature that is too long"));
    }
    if root.bytes % BLOCK != 0 || tree.bytes % BLOCK != 0 {
        return Err(Fault::Form("has partitions that are no whole blocks"));
    }
    let salt = superblock(file, root, tree)?;
    let mut root_hash = [0; 32];
    let halves = [guid_text(root.unique), guid_text(tree.unique)];
    root_hash.iter_mut().zip(halves.iter().flatten()).for_each(|(to, from)| *to = *from);
    Ok(Gab {
        data_at: root.at,
        data_blocks: root.bytes / BLOCK,
        tree_at: tree.at,
        tree_blocks: tree.bytes / BLOCK,
        root_hash,
        salt,
        signature: signature.map(|part| (part.at, part.bytes)),
    })
}

/// The text of the manifest in the image, of at most `most` bytes; none if there is none, or if it is longer. The image need not
/// have been checked.
///
/// # Errors
/// It can not be read.
pub fn manifest(image: &(impl ReadAt + ?Sized), most: usize) -> Result<Option<Vec<u8>>, Refusal> {
    erofs::file(image, MANIFEST, most)
}

#[derive(Debug)]
struct Part {
    kind: [u8; 16],
    unique: [u8; 16],
    at: u64,
    bytes: u64,
}

/// The partitions, by the first of the two tables: a file is written whole or not at all.
fn partitions(file: &(impl ReadAt + ?Sized)) -> Result<Vec<Part>, Fault> {
    let mut header = file.array::<HEADER>(SECTOR)?;
    if !header.starts_with(b"EFI PART\0\0\x01\0") {
        return Err(Fault::Form("has no GUID partition table"));
    }
    let (length, sum) = (u32_at(&header, 12), u32_at(&header, 16));
    header[16..20].fill(0);
    if length as usize != HEADER || crc32(&header) != sum {
        return Err(Fault::Form("has a partition table whose checksum is wrong"));
    }
    let (table, count) = (u64_at(&header, 72), u32_at(&header, 80));
    if u32_at(&header, 84) as usize != ENTRY || count > ENTRIES_MAX {
        return Err(Fault::Form("has a partition table of another form than packages have"));
    }
    let mut entries = vec![0; count as usize * ENTRY];
    file.read_at(table.checked_mul(SECTOR).ok_or(Fault::Short)?, &mut entries)?;
    if crc32(&entries) != u32_at(&header, 88) {
        return Err(Fault::Form("has a partition table whose checksum is wrong"));
    }
    let used = entries.chunks(ENTRY).filter(|entry| field::<16>(entry, 0) != [0; 16]);
    used.map(|entry| part(entry, file.size())).collect()
}

fn part(entry: &[u8], size: u64) -> Result<Part, Fault> {
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    let at = first.checked_mul(SECTOR).ok_or(Fault::Short)?;
    let end = last.checked_add(1).and_then(|end| end.checked_mul(SECTOR)).ok_or(Fault::Short)?;
    if end > size {
        return Err(Fault::Short);
    }
    let bytes = end.checked_sub(at).filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or(Fault::Form("has a partition that ends before it begins"))?;
    Ok(Part { kind: field(entry, 0), unique: field(entry, 16), at, bytes })
}

/// Checks verity's superblock (cryptsetup, `lib/verity/verity.c`), and gives the salt.
fn superblock(file: &(impl ReadAt + ?Sized), root: &Part, tree: &Part) -> Result<Vec<u8>, Fault> {
    let block = file.array::<SUPERBLOCK>(tree.at)?;
    // Magic, version 1, hash type 1.
    if !block.starts_with(b"verity\0\0\x01\0\0\0\x01\0\0\0") {
        return Err(Fault::Form("has a hash tree that does not begin with verity's superblock"));
    }
    let sizes = [u32_at(&block, 64), u32_at(&block, 68)].map(u64::from);
    if field::<32>(&block, 32) != padded(b"sha256") || sizes != [BLOCK, BLOCK] {
        return Err(Fault::Form("has a hash tree of another kind than SHA-256 over blocks of 4096 bytes"));
    }
    if u64_at(&block, 72) != root.bytes / BLOCK || tree.bytes / BLOCK < 2 {
        return Err(Fault::Form("has a hash tree over another image than it has"));
    }
    let length = usize::from(u16_at(&block, 80));
    let salt = block.get(88..88 + length).filter(|salt| (1..=SALT_MAX).contains(&salt.len()));
    salt.map(<[u8]>::to_vec).ok_or(Fault::Form("has a salt of no or too many bytes"))
}

fn padded(text: &[u8]) -> [u8; 32] {
    let mut padded = [0; 32];
    padded.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    padded
}

/// A GUID's bytes in the order in which it is written: GPT has the first three fields little-endian.
fn guid_text(mut guid: [u8; 16]) -> [u8; 16] {
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    guid
}

/// CRC-32 as of GPT, Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A package of two blocks of image, two of tree, and a signature if wanted.
    fn made(signed: bool) -> Vec<u8> {
        let mut file = vec![0; 20 << 10];
        let at = file.len();
        file.resize(at + 4 * 4096 + 4096, 7);
        let mut block = [0; SUPERBLOCK];
        block[..16].copy_from_slice(b"verity\0\0\x01\0\0\0\x01\0\0\0");
        block[32..38].copy_from_slice(b"sha256");
        block[64..68].copy_from_slice(&4096_u32.to_le_bytes());
        block[68..72].copy_from_slice(&4096_u32.to_le_bytes());
        block[72] = 2;
        block[80] = 3;
        block[88..91].copy_from_slice(&[1, 2, 3]);
        file[at + 8192..at + 8192 + SUPERBLOCK].copy_from_slice(&block);
        let mut entries = vec![0; 128 * ENTRY];
        let parts = [(ROOT, [1; 16], 0, 16), (VERITY, [2; 16], 16, 16), (SIGNATURE, [3; 16], 32, 8)];
        for (index, (kind, unique, from, sectors)) in
            parts.into_iter().take(2 + usize::from(signed)).enumerate()
        {
            let entry = &mut entries[index * ENTRY..(index + 1) * ENTRY];
            entry[..16].copy_from_slice(&kind);
            entry[16..32].copy_from_slice(&unique);
            let first = at as u64 / SECTOR + from;
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&(first + sectors - 1).to_le_bytes());
        }
        let mut header = [0; HEADER];
        header[..12].copy_from_slice(b"EFI PART\0\0\x01\0");
        header[12] = HEADER as u8;
        header[72] = 2;
        header[80] = 128;
        header[84] = ENTRY as u8;
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        file[512..512 + HEADER].copy_from_slice(&header);
        file[1024..1024 + entries.len()].copy_from_slice(&entries);
        file
    }

    #[test]
    fn package_is_read_and_its_root_hash_is_what_its_partitions_are_called() {
        let found = read(&*made(true)).unwrap();
        let mut hash = [1; 32];
        hash[16..].fill(2);
        assert_eq!(
            (found.data_at, found.data_blocks, found.tree_at, found.tree_blocks),
            (20480, 2, 28672, 2)
        );
        assert_eq!((found.root_hash, found.salt.as_slice()), (hash, &[1, 2, 3][..]));
        assert_eq!(found.signature, Some((36864, 4096)));
        assert_eq!(read(&*made(false)).unwrap().signature, None);
        assert_eq!(
            guid_text([4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16])[..9],
            [1, 2, 3, 4, 5, 6, 7, 8, 9]
        );
    }

    #[test]
    fn package_cut_or_with_a_changed_table_is_refused() {
        let file = made(true);
        for end in [0, 600, 1100, 20 << 10, file.len() - 1] {
            assert_eq!(read(&file[..end]), Err(Fault::Short), "cut at {end}");
        }
        for at in [512, 512 + 13, 512 + 40, 1024, 1024 + 33, 1024 + 16000, 28672, 28672 + 33, 28672 + 72] {
            let mut file = file.clone();
            file[at] ^= 1;
            assert!(matches!(read(&*file), Err(Fault::Form(_))), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_a_package_end_in_parts_within_it(
            changes in proptest::collection::vec((0_usize..41 << 10, any::<u8>()), 1..6),
        ) {
            let mut file = made(true);
            for (at, byte) in changes {
                if let Some(there) = file.get_mut(at) {
                    *there = byte;
                }
            }
            if let Ok(gab) = read(&*file) {
                prop_assert!(gab.data_at + gab.data_blocks * BLOCK <= file.len() as u64);
                prop_assert!(gab.tree_at + gab.tree_blocks * BLOCK <= file.len() as u64);
            }
        }
    }
}
