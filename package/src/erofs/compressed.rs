//! Compressed files: the index behind the inode, and LZ4 blocks.
//!
//! A file is cut into clusters of one block. The index says for each whether compressed data begins in it (and where in
//! it), or how far back that was. Each piece of compressed data is one block of the image, and those of a file follow each
//! other; `mkfs.erofs` makes nothing else without `-C`. In the packed form several entries share one block address, from
//! which the kernel counts; the form is decoded here as in `fs/erofs/zmap.c`, and every entry must say what the others do.

use super::inode::{Inode, Layout};
use super::superblock::Superblock;
use super::{BLOCK, Refusal};
use crate::read::{ReadAt, u16_at, u32_at};

/// `struct z_erofs_map_header`.
const HEADER: usize = 8;
/// `Z_EROFS_ADVISE_COMPACTED_2B`: most of the packed index has two bytes an entry.
const TWO_BYTES: u16 = 1;
/// Longest piece: LZ4 turns a block into no more than 255 times as much.
const PIECE_MAX: u64 = 255 * BLOCK;
/// Distances are cut to this (`Z_EROFS_LI_D0_CBLKCNT` less one).
const DISTANCE_MAX: u64 = (1 << 11) - 1;

/// A piece of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// First byte in the file.
    pub(super) start: u64,
    length: u32,
    block: u32,
    packed: bool,
}

/// What was found of a file.
pub(super) struct Found {
    pub(super) extents: Vec<Extent>,
    pub(super) index_end: u64,
    pub(super) blocks: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// Compressed (or not) data begins `offset` bytes into the cluster, in `block`.
    Head { packed: bool, offset: u16, block: u32 },
    /// It began so many clusters ago; none where the index says how far the next beginning is.
    Inside { back: Option<u64>, ahead: Option<u64> },
}

/// Reads and checks the index of `inode`.
pub(super) fn locate(
    image: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    inode: &Inode,
) -> Result<Found, Refusal> {
    let refuse = |what| Err(Refusal::Layout(what, inode.at));
    let header_at = inode.end.next_multiple_of(8);
    let header: [u8; HEADER] = image.array(header_at)?;
    let advise = u16_at(&header, 4);
    let two_bytes = advise & TWO_BYTES != 0;
    let full = inode.layout == Layout::Full;
    // Fragments, inline pieces, other algorithms than LZ4, other clusters than of one block.
    if u32_at(&header, 0) != 0 || advise & !TWO_BYTES != 0 || u16_at(&header, 6) != 0 || full && two_bytes {
        return refuse("has a compressed file of a form that our images have not");
    }
    if !matches!(inode.kind, crate::tree::Kind::File(_)) || inode.size == 0 {
        return refuse("has a compressed inode that is no file, or is empty");
    }
    let base = header_at + HEADER as u64;
    let mut reader =
        Reader { image, inode, superblock, count: inode.blocks(), extents: Vec::new(), ahead: None };
    let index_end = match full {
        true => reader.full(base + 8)?,
        false => reader.compact(base, two_bytes)?,
    };
    reader.finish(index_end)
}

struct Reader<'a, I: ?Sized> {
    image: &'a I,
    inode: &'a Inode,
    superblock: &'a Superblock,
    /// Clusters of the file.
    count: u64,
    extents: Vec<Extent>,
    /// The cluster in which an entry said that the next piece begins.
    ahead: Option<u64>,
}

impl<I: ReadAt + ?Sized> Reader<'_, I> {
    fn wrong<T>(&self) -> Result<T, Refusal> {
        Err(Refusal::Layout("has a compressed file whose index contradicts itself", self.inode.at))
    }

    /// Where `count` entries from `at` on would end, if that is in the image.
    fn end(&self, at: u64, count: u64, each: u64) -> Result<u64, Refusal> {
        let end = count.checked_mul(each).and_then(|length| at.checked_add(length));
        end.filter(|end| *end <= self.superblock.blocks * BLOCK).ok_or(Refusal::Unreadable)
    }

    /// Eight bytes an entry: `struct z_erofs_lcluster_index`.
    fn full(&mut self, at: u64) -> Result<u64, Refusal> {
        let end = self.end(at, self.count, 8)?;
        for cluster in 0..self.count {
            let raw: [u8; 8] = self.image.array(at + cluster * 8)?;
            let (advise, offset) = (u16_at(&raw, 0), u16_at(&raw, 2));
            let entry = match advise {
                0 | 1 => Entry::Head { packed: advise == 1, offset, block: u32_at(&raw, 4) },
                2 => {
                    let (back, ahead) = (u64::from(u16_at(&raw, 4)), u64::from(u16_at(&raw, 6)));
                    Entry::Inside { back: Some(back), ahead: Some(ahead) }
                }
                _ => return self.wrong(),
            };
            self.entry(cluster, entry)?;
        }
        Ok(end)
    }

    /// Two entries in 8 bytes up to the next multiple of 32, then 16 in 32 as long as there are so many, then two in 8.
    fn compact(&mut self, at: u64, two_bytes: bool) -> Result<u64, Refusal> {
        let first = (((32 - at % 32) / 4) & 7).min(self.count);
        let middle = if two_bytes { (self.count - first) / 16 * 16 } else { 0 };
        let middle_at = self.end(at, first.next_multiple_of(2), 4)?;
        let last_at = self.end(middle_at, middle, 2)?;
        let end = self.end(last_at, (self.count - first - middle).next_multiple_of(2), 4)?;
        let mut cluster = 0_u64;
        for (count, mut at, size) in [(first, at, 8_usize), (middle, middle_at, 32), (u64::MAX, last_at, 8)] {
            let until = cluster.saturating_add(count).min(self.count);
            while cluster < until {
                let mut pack = [0; 32];
                let pack = pack.get_mut(..size).ok_or(Refusal::Unreadable)?;
                self.image.read_at(at, pack)?;
                cluster = self.pack(cluster, pack)?;
                at += size as u64;
            }
        }
        Ok(end)
    }

    /// Entries that share a block address; gives the cluster after them.
    fn pack(&mut self, first: u64, pack: &[u8]) -> Result<u64, Refusal> {
        let (entries, bits) = if pack.len() == 8 { (2, 16) } else { (16, 14) };
        let base = u32_at(pack, pack.len() - 4);
        let mut heads = 0_u32;
        for index in 0..entries {
            let cluster = first + index as u64;
            if cluster >= self.count {
                break;
            }
            let bit = index * bits;
            // Never past the end: the block address lies behind the last entry.
            let word = u32_at(pack, bit / 8) >> (bit % 8);
            let (low, kind) = (word as u16 & 0xfff, word >> 12 & 3);
            let entry = match kind {
                0 | 1 => {
                    heads += 1;
                    Entry::Head { packed: kind == 1, offset: low, block: base.wrapping_add(heads) }
                }
                // The last of a pack says how far the next piece is.
                2 if index + 1 == entries => Entry::Inside { back: None, ahead: Some(u64::from(low)) },
                2 => Entry::Inside { back: Some(u64::from(low)), ahead: None },
                _ => return self.wrong(),
            };
            self.entry(cluster, entry)?;
        }
        Ok(first + entries as u64)
    }

    fn entry(&mut self, cluster: u64, entry: Entry) -> Result<(), Refusal> {
        match entry {
            Entry::Inside { back, ahead } => {
                let Some(last) = self.extents.last() else { return self.wrong() };
                let since = cluster - last.start / BLOCK;
                if back.is_some_and(|back| back != since.min(DISTANCE_MAX)) {
                    return self.wrong();
                }
                match (ahead, self.ahead) {
                    // Nothing said how far, or it is too far to be said.
                    (None, _) => {}
                    (Some(ahead), None) if (1..=DISTANCE_MAX).contains(&ahead) => {
                        self.ahead = Some(cluster + ahead);
                    }
                    (Some(ahead), Some(known)) if cluster + ahead == known => {}
                    _ => return self.wrong(),
                }
                Ok(())
            }
            Entry::Head { packed, offset, block } => {
                let start = cluster * BLOCK + u64::from(offset);
                if u64::from(offset) >= BLOCK || self.ahead.take().is_some_and(|ahead| ahead != cluster) {
                    return self.wrong();
                }
                // What ends within the last cluster is marked by a piece that has nothing.
                if start == self.inode.size && cluster + 1 == self.count && !packed {
                    return self.close(start);
                }
                self.close(start)?;
                let in_order = match self.extents.last() {
                    Some(last) => last.start < start && last.block.checked_add(1) == Some(block),
                    None => start == 0 && block != 0,
                };
                if start >= self.inode.size || u64::from(block) >= self.superblock.blocks || !in_order {
                    return self.wrong();
                }
                self.extents.push(Extent { start, length: 0, block, packed });
                Ok(())
            }
        }
    }

    /// The piece before `end` ends there.
    fn close(&mut self, end: u64) -> Result<(), Refusal> {
        let Some(last) = self.extents.last_mut() else { return Ok(()) };
        let most = if last.packed { PIECE_MAX } else { BLOCK };
        let length = end.checked_sub(last.start).filter(|length| (1..=most).contains(length));
        match length.and_then(|length| u32::try_from(length).ok()) {
            Some(length) => {
                last.length = length;
                Ok(())
            }
            None => self.wrong(),
        }
    }

    fn finish(mut self, index_end: u64) -> Result<Found, Refusal> {
        if self.ahead.is_some_and(|ahead| ahead != self.count) {
            return self.wrong();
        }
        self.close(self.inode.size)?;
        let (Some(first), Some(last)) = (self.extents.first(), self.extents.last()) else {
            return self.wrong();
        };
        let blocks = (u64::from(first.block) * BLOCK, (u64::from(last.block) + 1) * BLOCK);
        if self.extents.len() as u64 != u64::from(self.inode.union) {
            return self.wrong();
        }
        Ok(Found { blocks, index_end, extents: self.extents })
    }
}

/// Replaces `out` by what `extent` holds.
pub(super) fn decompress(
    image: &(impl ReadAt + ?Sized),
    extent: &Extent,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let at = u64::from(extent.block) * BLOCK;
    out.clear();
    out.resize(extent.length as usize, 0);
    if !extent.packed {
        return Ok(image.read_at(at, out)?);
    }
    let block: [u8; BLOCK as usize] = image.array(at)?;
    let padding = block.iter().take_while(|byte| **byte == 0).count();
    let input = block.get(padding..).unwrap_or_default();
    match lz4_flex::block::decompress_into(input, out) {
        Ok(length) if length == out.len() => Ok(()),
        _ => Err(Refusal::Layout("has a compressed block that does not hold what the index says", at)),
    }
}
