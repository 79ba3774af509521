//! Inodes: `struct erofs_inode_compact` (32 bytes) and `erofs_inode_extended` (64).

use super::superblock::Superblock;
use super::{BLOCK, Refusal};
use crate::read::{ReadAt, u16_at, u32_at, u64_at};
use crate::tree::Kind;

/// Inodes are numbered by these steps from the table's beginning.
const SLOT: u64 = 32;
const COMPACT: u64 = 32;
const EXTENDED: u64 = 64;

/// How an inode's data is laid out (`i_format`, bits 1 to 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Whole blocks.
    Plain,
    /// Whole blocks, and the rest right behind the inode.
    Inline,
    /// LZ4, with an index of eight bytes for each block of the file.
    Full,
    /// LZ4, with a packed index.
    Compact,
}

/// A checked inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    /// Its number.
    pub(super) number: u64,
    /// Its first byte.
    pub(super) at: u64,
    /// The byte after it.
    pub(super) end: u64,
    /// How its data is laid out.
    pub(super) layout: Layout,
    /// What it is.
    pub(super) kind: Kind,
    /// Permissions and the three bits above.
    pub(super) mode: u32,
    /// Bytes of its data.
    pub(super) size: u64,
    /// Names that lead to it; for a directory two more than the directories in it.
    pub(super) links: u32,
    /// First block of plain data, or how many blocks compressed data has.
    pub(super) union: u32,
}

/// Reads and checks the inode `number`.
pub(super) fn read(
    image: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    number: u64,
) -> Result<Inode, Refusal> {
    let at = number
        .checked_mul(SLOT)
        .and_then(|at| at.checked_add(superblock.inodes_at))
        .filter(|at| at.checked_add(EXTENDED).is_some())
        .ok_or(Refusal::Unreadable)?;
    let refuse = |what| Err(Refusal::Layout(what, at));
    let format = u16::from_le_bytes(image.array(at)?);
    let extended = format & 1 == 1;
    let layout = match format >> 1 {
        0 => Layout::Plain,
        1 => Layout::Full,
        2 => Layout::Inline,
        3 => Layout::Compact,
        _ => return refuse("has an inode of a format that our images have not"),
    };
    let mut raw = [0; EXTENDED as usize];
    let length = if extended { EXTENDED } else { COMPACT };
    let part = raw.get_mut(..length as usize).ok_or(Refusal::Unreadable)?;
    image.read_at(at, part)?;
    let (size, links, owners, reserved) = if extended {
        let reserved = u16_at(&raw, 6) != 0 || raw[48..].iter().any(|byte| *byte != 0);
        (u64_at(&raw, 8), u32_at(&raw, 44), u64_at(&raw, 24), reserved)
    } else {
        let reserved = u32_at(&raw, 12) | u32_at(&raw, 28);
        (u64::from(u32_at(&raw, 8)), u32::from(u16_at(&raw, 6)), u64::from(u32_at(&raw, 24)), reserved != 0)
    };
    if u16_at(&raw, 2) != 0 {
        return refuse("has an inode with extended attributes");
    }
    if owners != 0 {
        return refuse("has an inode that root does not own");
    }
    if reserved {
        return refuse("uses a field of an inode that our images leave empty");
    }
    let mode = u32::from(u16_at(&raw, 4));
    let kind = match mode >> 12 {
        0o01 => Kind::Fifo,
        0o02 | 0o06 => Kind::Device,
        0o04 => Kind::Directory,
        0o10 => Kind::File(size),
        0o12 => Kind::Link(size),
        0o14 => Kind::Socket,
        _ => return refuse("has an inode that is of no kind"),
    };
    let (mode, union) = (mode & 0o7777, u32_at(&raw, 16));
    Ok(Inode { number, at, end: at + length, layout, kind, mode, size, links, union })
}

impl Inode {
    /// How many blocks its data has.
    pub(super) fn blocks(&self) -> u64 {
        self.size.div_ceil(BLOCK)
    }

    /// `file_type` of the entries that name it.
    pub(super) fn file_type(&self) -> u8 {
        match self.kind {
            Kind::File(_) => 1,
            Kind::Directory => 2,
            Kind::Device => 3,
            Kind::Fifo => 5,
            Kind::Socket => 6,
            Kind::Link(_) => 7,
        }
    }
}
