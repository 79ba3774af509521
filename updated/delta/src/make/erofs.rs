//! Where the compressed clusters of an EROFS image lie, as `mkfs.erofs` makes them with big clusters.
//!
//! For the maker alone, on images that it trusts: devices are told by the index. What it does not know is left out, and
//! patched as the bytes it is; whether a cluster holds what is said here is seen when it is opened.
//! Layouts are those of `fs/erofs/erofs_fs.h`; a file's clusters follow each other in the image.

use std::collections::BTreeSet;

const BLOCK: u64 = 4096;
const SUPERBLOCK: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `Z_EROFS_LI_D0_CBLKCNT`: an entry that tells how many blocks its cluster has.
const BLOCKS: u32 = 1 << 11;

/// A cluster: first byte, bytes stored, bytes of contents.
pub(super) type Place = (u64, u64, u64);

/// How long the file system is, and its clusters in the order of their place; none if it is no EROFS.
pub(super) fn clusters(image: &[u8]) -> Option<(u64, Vec<Place>)> {
    let image = Fields(image);
    if image.u32(SUPERBLOCK)? != MAGIC || image.array::<1>(SUPERBLOCK + 12)? != [12] {
        return None;
    }
    let length = u64::from(image.u32(SUPERBLOCK + 36)?) * BLOCK;
    let table = u64::from(image.u32(SUPERBLOCK + 40)?) * BLOCK;
    let root = u64::from(image.u16(SUPERBLOCK + 14)?);
    let (mut places, mut seen, mut todo) = (BTreeSet::new(), BTreeSet::new(), vec![root]);
    while let Some(number) = todo.pop() {
        if seen.insert(number)
            && let Some(inode) = inode(image, table + number * 32)
        {
            if inode.mode >> 12 == 0o04 {
                todo.extend(directory(image, &inode));
            } else if matches!(inode.layout, 1 | 3) {
                places.extend(compressed(image, &inode).unwrap_or_default());
            }
        }
    }
    (length <= image.0.len() as u64).then(|| (length, places.into_iter().collect()))
}

#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }
    fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }
    fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }
}

struct Inode {
    end: usize,
    layout: u16,
    mode: u16,
    size: u64,
    union: u32,
}

fn inode(image: Fields<'_>, at: u64) -> Option<Inode> {
    let at = usize::try_from(at).ok()?;
    let format = image.u16(at)?;
    let extended = format & 1 == 1;
    let size = if extended { u64::from_le_bytes(image.array(at + 8)?) } else { image.u32(at + 8)?.into() };
    let attributes = match image.u16(at + 2)? {
        0 => 0,
        count => 12 + 4 * (usize::from(count) - 1),
    };
    let end = at + if extended { 64 } else { 32 } + attributes;
    Some(Inode { end, layout: format >> 1 & 7, mode: image.u16(at + 4)?, size, union: image.u32(at + 16)? })
}

/// The numbers of the inodes that a directory names.
fn directory(image: Fields<'_>, inode: &Inode) -> Vec<u64> {
    let mut numbers = Vec::new();
    let whole = match inode.layout {
        2 => inode.size / BLOCK,
        _ => inode.size.div_ceil(BLOCK),
    };
    for block in 0..inode.size.div_ceil(BLOCK) {
        let length = (inode.size - block * BLOCK).min(BLOCK) as usize;
        let at = match block < whole {
            true => ((u64::from(inode.union) + block) * BLOCK) as usize,
            false => inode.end,
        };
        let Some(bytes) = image.0.get(at..at + length).map(Fields) else { return numbers };
        let count = bytes.u16(8).unwrap_or(0) / 12;
        let entries = (0..usize::from(count)).filter_map(|entry| bytes.array(entry * 12));
        numbers.extend(entries.map(u64::from_le_bytes));
    }
    numbers
}

/// An entry of a file's index: its kind, and where in its block of the file it begins or how far back or ahead.
type Entry = (u32, u32);

fn compressed(image: Fields<'_>, inode: &Inode) -> Option<Vec<Place>> {
    let header = inode.end.next_multiple_of(8);
    let advise = image.u16(header + 4)?;
    // LZ4, clusters of the file of one block, no tail in the index.
    if image.array::<2>(header + 6)? != [0, 0] || advise & !0b111 != 0 {
        return None;
    }
    let count = usize::try_from(inode.size.div_ceil(BLOCK)).ok()?;
    let (entries, first) = match inode.layout {
        1 => full(image, header + 16, count)?,
        _ => compact(image, header + 8, count, advise & 1 == 1)?,
    };
    let mut block = u64::from(first);
    let mut places: Vec<Place> = Vec::new();
    let mut open: Option<(u64, u64, bool)> = None;
    for (at, (kind, low)) in entries.iter().enumerate() {
        if *kind == 2 {
            continue;
        }
        let start = at as u64 * BLOCK + u64::from(*low);
        if let Some((begin, blocks, packed)) = open.take() {
            if packed {
                places.push((block * BLOCK, blocks * BLOCK, start.checked_sub(begin)?));
            }
            block += blocks;
        }
        let blocks = match entries.get(at + 1) {
            Some((2, low)) if low & BLOCKS != 0 => u64::from(low & !BLOCKS),
            _ => 1,
        };
        if start < inode.size {
            open = Some((start, blocks, *kind == 1));
        }
    }
    if let Some((begin, blocks, true)) = open {
        places.push((block * BLOCK, blocks * BLOCK, inode.size - begin));
    }
    Some(places)
}

fn full(image: Fields<'_>, at: usize, count: usize) -> Option<(Vec<Entry>, u32)> {
    let mut entries = Vec::with_capacity(count);
    for entry in 0..count {
        let at = at + entry * 8;
        let kind = u32::from(image.u16(at)? & 3);
        let low = if kind == 2 { image.u16(at + 4)? } else { image.u16(at + 2)? };
        entries.push((kind, u32::from(low)));
    }
    Some((entries, image.u32(at + 4)?))
}

/// Two entries in 8 bytes up to the next multiple of 32, then 16 in 32 as long as there are so many, then two in 8.
fn compact(image: Fields<'_>, at: usize, count: usize, two_bytes: bool) -> Option<(Vec<Entry>, u32)> {
    let first = (((32 - at % 32) / 4) & 7).min(count);
    let middle = if two_bytes { (count - first) / 16 * 16 } else { 0 };
    let mut entries = Vec::with_capacity(count);
    let (mut at, mut base) = (at, None);
    while entries.len() < count {
        let wide = (first..first + middle).contains(&entries.len());
        let (per, bits, size) = if wide { (16, 14, 32) } else { (2, 16, 8) };
        for index in 0..per.min(count - entries.len()) {
            let bit = index * bits;
            let word = image.u32(at + bit / 8)? >> (bit % 8);
            entries.push((word >> 12 & 3, word & 0xfff));
        }
        base = base.or(Some(image.u32(at + size - 4)?));
        at += size;
    }
    Some((entries, base?))
}
