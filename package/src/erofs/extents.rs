//! Compressed files with compact indexes: one entry for each 4 KiB of the file ("lcluster"), packed by two into 8 bytes or
//! by sixteen into 32, each pack with one block address.
//!
//! ```text
//! entry: low 12 bits, type (2 bits)      PLAIN 0, HEAD 1: an extent begins, at this offset in the lcluster
//!                                        NONHEAD 2: how many lclusters ago the extent began
//! pack:  entries…, base address (4 bytes): the blocks of its extents lie one after the other behind it
//! ```
//!
//! An extent is one block of the image, decompressed to what lies between its beginning and the next one's.

use super::{BLOCK, Fault, Image, Numbers};
use crate::erofs::inode::Inode;

const PLAIN: u32 = 0;
const HEAD: u32 = 1;
const NONHEAD: u32 = 2;
/// `Z_EROFS_ADVISE_COMPACTED_2B`, the only one that packages have.
const ADVISE: u16 = 1;
/// An extent that decompresses to more than LZ4 can make of a block is a lie.
const EXTENT_MAX: usize = BLOCK * 256;

struct Extent {
    from: usize,
    block: u64,
    plain: bool,
}

/// The whole file. Its size is checked before.
pub(super) fn read(image: &Image<'_>, inode: &Inode) -> Result<Vec<u8>, Fault> {
    let corrupt = |what| Fault::Corrupt(what, inode.nid);
    let size = usize::try_from(inode.size).map_err(|_| corrupt("a size"))?;
    let extents = extents(image, inode, size)?;
    let mut data = vec![0; size];
    for (index, extent) in extents.iter().enumerate() {
        let end = extents.get(index + 1).map_or(size, |next| next.from);
        let into = data.get_mut(extent.from..end).ok_or(corrupt("extents that are not in order"))?;
        if into.is_empty() && index + 1 == extents.len() && extent.from > 0 {
            // mkfs closes a file with the beginning of an extent that there is nothing of; no read gets there.
            continue;
        }
        let block = image.blocks(extent.block, 1).ok_or(corrupt("an extent past the end"))?;
        if into.is_empty() || into.len() > EXTENT_MAX {
            return Err(corrupt("an extent of no length, or of too much"));
        }
        if extent.plain {
            into.copy_from_slice(block.get(..into.len()).ok_or(corrupt("an extent longer than its block"))?);
            continue;
        }
        // Zero padding: the compressed bytes end with the block.
        let begin = block.iter().position(|b| *b != 0).ok_or(corrupt("an empty extent"))?;
        match lz4_flex::block::decompress_into(block.get(begin..).unwrap_or_default(), into) {
            Ok(length) if length == into.len() => {}
            _ => return Err(corrupt("an extent that does not decompress")),
        }
    }
    Ok(data)
}

/// Where extents begin, in order; the first at 0.
fn extents(image: &Image<'_>, inode: &Inode, size: usize) -> Result<Vec<Extent>, Fault> {
    let corrupt = |what| Fault::Corrupt(what, inode.nid);
    let header = inode.end.next_multiple_of(8);
    let bytes = image.bytes;
    let fields = bytes.u16(header + 2).zip(bytes.u16(header + 4)).zip(bytes.u16(header + 6));
    let ((inline, advise), kinds) = fields.ok_or(corrupt("a compression header"))?;
    if inline != 0 || advise & !ADVISE != 0 || bytes.u16(header) != Some(0) || kinds != 0 {
        return Err(Fault::Unsupported("a way to compress that packages do not"));
    }
    let map = Map::new(header + 8, size.div_ceil(BLOCK), advise & ADVISE != 0);
    let mut extents: Vec<Extent> = Vec::new();
    let mut head = 0;
    for cluster in 0..size.div_ceil(BLOCK) {
        let (kind, low, block) = map.entry(bytes, cluster).ok_or(corrupt("an index"))?;
        match kind {
            PLAIN | HEAD if low < BLOCK => {
                head = cluster;
                extents.push(Extent { from: cluster * BLOCK + low, block, plain: kind == PLAIN });
            }
            NONHEAD if cluster > 0 && low == cluster - head => {}
            _ => return Err(corrupt("an index")),
        }
    }
    let first = extents.first().is_some_and(|extent| extent.from == 0);
    if first { Ok(extents) } else { Err(corrupt("a file that begins with nothing")) }
}

/// Where the entries lie.
struct Map {
    base: usize,
    /// Entries packed by two, up to where those packed by sixteen are aligned.
    before: usize,
    /// Entries packed by sixteen.
    dense: usize,
}

impl Map {
    fn new(base: usize, total: usize, dense: bool) -> Self {
        let before = ((32 - base % 32) / 4) % 8;
        let dense = if dense && before < total { (total - before) & !15 } else { 0 };
        Self { base, before, dense }
    }

    /// Type, low bits (for NONHEAD: the distance), and block (for the others) of an entry.
    fn entry(&self, bytes: &[u8], cluster: usize) -> Option<(u32, usize, u64)> {
        let (at, width) = match cluster.checked_sub(self.before) {
            None => (self.base + cluster * 4, 4),
            Some(inner) if inner < self.dense => (self.base + self.before * 4 + inner * 2, 2),
            Some(inner) => (self.base + self.before * 4 + self.dense * 2 + (inner - self.dense) * 4, 4),
        };
        let (count, length) = if width == 4 { (2, 8) } else { (16, 32) };
        let start = at - at % length;
        let pack = bytes.get(start..start.checked_add(length)?)?;
        let index = (at - start) / width;
        let decode = |index| decode(pack, (length - 4) * 8 / count * index);
        let (kind, low) = decode(index)?;
        if kind == NONHEAD {
            if index + 1 < count {
                return Some((kind, low, 0));
            }
            // The last one of a pack has the distance to the next beginning instead.
            let (before, distance) = decode(index - 1)?;
            return Some((kind, if before == NONHEAD { distance + 1 } else { 1 }, 0));
        }
        let mut nth = 1;
        let mut at = index;
        while let Some(previous) = at.checked_sub(1) {
            let (kind, low) = decode(previous)?;
            let back = if kind == NONHEAD { low } else { 0 };
            // An extent that began before this pack has its block in that one.
            let Some(beginning) = previous.checked_sub(back) else { break };
            nth += 1;
            at = beginning;
        }
        Some((kind, low, u64::from(pack.u32(length - 4)?) + nth))
    }
}

fn decode(pack: &[u8], bit: usize) -> Option<(u32, usize)> {
    // Entries end before the address, so there are four bytes from wherever one begins.
    let word = pack.u32(bit / 8)? >> (bit % 8);
    Some((word >> 12 & 3, (word & 0xfff) as usize))
}
