//! Inodes: 32 or 64 bytes at 32 times their number from where the metadata begins.

use super::{BLOCK, Fault, Image, Numbers};
use crate::tree::Kind;

const SLOT: u64 = 32;

/// Where the data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `EROFS_INODE_FLAT_PLAIN`: in blocks.
    Plain,
    /// `EROFS_INODE_FLAT_INLINE`: in blocks, the last part behind the inode.
    Inline,
    /// `EROFS_INODE_COMPRESSED_COMPACT`: compressed; indexes behind the inode.
    Compact,
}

/// An inode that is good by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inode {
    pub(crate) nid: u64,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    pub(crate) layout: Layout,
    /// First block of its data.
    pub(crate) start: u32,
    /// Offset in the image behind it.
    pub(crate) end: usize,
}

impl Image<'_> {
    /// Reads the inode with this number.
    pub(crate) fn inode(&self, nid: u64) -> Result<Inode, Fault> {
        let past = Fault::Corrupt("an inode past the end", nid);
        let offset = nid.checked_mul(SLOT).and_then(|at| at.checked_add(self.meta * BLOCK as u64));
        let offset = offset.and_then(|at| usize::try_from(at).ok()).ok_or(past.clone())?;
        let format = self.bytes.u16(offset).ok_or(past.clone())?;
        let length = if format & 1 == 0 { 32 } else { 64 };
        // The kernel reads one that lies across two blocks; nobody makes one.
        if offset % BLOCK + length > BLOCK {
            return Err(Fault::Corrupt("an inode across blocks", nid));
        }
        let raw = self.bytes.get(offset..offset + length).ok_or(past)?;
        let fields = if length == 32 { compact(raw) } else { extended(raw) };
        let Raw { attributes, mode, links, size, start, owner } =
            fields.ok_or(Fault::Corrupt("an inode", nid))?;
        let layout = match format >> 1 {
            0 => Layout::Plain,
            2 => Layout::Inline,
            3 => Layout::Compact,
            _ => return Err(Fault::Unsupported("a layout of files that packages do not have")),
        };
        match () {
            () if attributes != 0 => return Err(Fault::Unsupported("extended attributes")),
            () if owner != (0, 0) => return Err(Fault::Unsupported("files of another owner than root")),
            () if links == 0 => return Err(Fault::Corrupt("an inode that is not linked", nid)),
            () => {}
        }
        let kind = match mode & 0o170_000 {
            0o040_000 => Kind::Directory,
            0o100_000 => Kind::File(size),
            0o120_000 => Kind::Link(size),
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o020_000 | 0o060_000 => Kind::Device,
            _ => return Err(Fault::Corrupt("an inode of no type", nid)),
        };
        if layout == Layout::Compact && !matches!(kind, Kind::File(_)) {
            return Err(Fault::Unsupported("a compressed directory or link"));
        }
        let mode = u32::from(mode) & 0o7777;
        Ok(Inode { nid, kind, mode, size, layout, start, end: offset + length })
    }
}

struct Raw {
    attributes: u16,
    mode: u16,
    links: u32,
    size: u64,
    start: u32,
    owner: (u32, u32),
}

fn compact(raw: &[u8]) -> Option<Raw> {
    Some(Raw {
        attributes: raw.u16(2)?,
        mode: raw.u16(4)?,
        links: raw.u16(6)?.into(),
        size: raw.u32(8)?.into(),
        start: raw.u32(16)?,
        owner: (raw.u16(24)?.into(), raw.u16(26)?.into()),
    })
}

fn extended(raw: &[u8]) -> Option<Raw> {
    Some(Raw {
        attributes: raw.u16(2)?,
        mode: raw.u16(4)?,
        links: raw.u32(44)?,
        size: raw.u64(8)?,
        start: raw.u32(16)?,
        owner: (raw.u32(24)?, raw.u32(28)?),
    })
}
