//! The superblock: `struct erofs_super_block`, 128 bytes at 1024.

use super::{BLOCK, Refusal};
use crate::read::{ReadAt, u16_at, u32_at, u64_at};

const AT: u64 = 1024;
const LENGTH: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`, without which a superblock is not taken.
const CHECKSUM: u32 = 1;
/// `EROFS_FEATURE_COMPAT_MTIME`: inodes have times of their own. Changes nothing that is read.
const MTIME: u32 = 2;
/// `EROFS_FEATURE_INCOMPAT_ZERO_PADDING`: compressed data lies at the end of its block.
const ZERO_PADDING: u32 = 1;
/// Farthest that LZ4 looks back; the kernel keeps so much while it decompresses.
const LZ4_DISTANCE: u16 = 65_535;

/// What the rest is found by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superblock {
    /// Blocks of the file system.
    pub(super) blocks: u64,
    /// First byte of the inodes' table.
    pub(super) inodes_at: u64,
    /// The root's number.
    pub(super) root: u64,
}

/// Where it lies.
pub(super) const RANGE: (u64, u64) = (AT, AT + LENGTH as u64);

/// Reads and checks it.
pub(super) fn read(image: &(impl ReadAt + ?Sized)) -> Result<Superblock, Refusal> {
    let mut block = [0; (BLOCK - AT) as usize];
    image.read_at(AT, &mut block)?;
    let refuse = |what, at: usize| Err(Refusal::Layout(what, AT + at as u64));
    if u32_at(&block, 0) != MAGIC {
        return refuse("is no EROFS image", 0);
    }
    let sum = u32_at(&block, 4);
    let compatible = u32_at(&block, 8);
    if compatible & CHECKSUM == 0 || compatible & !(CHECKSUM | MTIME) != 0 {
        return refuse("has a superblock without checksum, or a feature that our images have not", 8);
    }
    block[4..8].fill(0);
    if crc32c(&block) != sum {
        return refuse("has a superblock whose checksum is wrong", 4);
    }
    // blkszbits 12, no extension slots.
    if block[12..14] != [12, 0] {
        return refuse("has blocks of another size than 4096 bytes, or a longer superblock", 12);
    }
    if u32_at(&block, 80) & !ZERO_PADDING != 0 {
        return refuse("has a feature that our images have not", 80);
    }
    let packed = u32_at(&block, 80) & ZERO_PADDING != 0;
    if packed && !matches!(u16_at(&block, 84), 0 | LZ4_DISTANCE) {
        return refuse("limits LZ4's distance", 84);
    }
    // Further devices, directory block size, attribute prefixes, packed inode and all that is reserved.
    if block[86..LENGTH].iter().any(|byte| *byte != 0) || !packed && u16_at(&block, 84) != 0 {
        return refuse("uses a field of the superblock that our images leave empty", 86);
    }
    let blocks = u64::from(u32_at(&block, 36));
    if blocks == 0 || blocks.checked_mul(BLOCK).is_none_or(|bytes| bytes > image.size()) {
        return refuse("is shorter than it says", 36);
    }
    // Shared attributes, which nothing may use.
    if u32_at(&block, 44) != 0 {
        return refuse("has shared attributes", 44);
    }
    if u64_at(&block, 16) > u64::from(u32::MAX) {
        return refuse("says that it has more inodes than can be", 16);
    }
    let inodes_at = u64::from(u32_at(&block, 40)) * BLOCK;
    Ok(Superblock { blocks, inodes_at, root: u64::from(u16_at(&block, 14)) })
}

/// CRC-32C, beginning with all ones and not inverted at the end, as `erofs_superblock_csum_verify` has it.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}
