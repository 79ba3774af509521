//! An EROFS image, looked at before the kernel does.
//!
//! The kernel's EROFS code reads whatever a package's author wrote, with the kernel's power. So every structure that it
//! would follow is followed here first, in a process that has no power, and only what `mkfs.erofs` makes of a package is
//! let through: blocks of 4 KiB, flat or LZ4 files with compact indexes and one block for each extent, no attributes, no
//! chunks, no fragments, no other device, no hard links. Everything else is refused by name.
//!
//! What holds of an image that is good: every offset lies inside it, every directory is sorted and reached once, every
//! extent decompresses to the length it should have, and each entry is one that [`crate::tree`] takes. Memory is bounded by
//! the largest file, [`FILE_MAX`]; time by the image's size.
//!
//! Source: the kernel's `fs/erofs/erofs_fs.h` and `zmap.c` (6.12). All numbers are little-endian.

mod extents;
mod inode;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use crate::elf::{self, Machine};
use crate::tree::{Entry, Kind, Problem, Tree, Wrong};
use inode::{Inode, Layout};

/// Bytes of one file at most.
pub const FILE_MAX: u64 = 256 << 20;
/// Bytes of one directory at most.
const DIRECTORY_MAX: u64 = 16 << 20;
const BLOCK: usize = 4096;
const SUPER: usize = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// `EROFS_FEATURE_COMPAT_SB_CHKSUM | MTIME`.
const COMPAT: u32 = 0x3;
/// `EROFS_FEATURE_INCOMPAT_ZERO_PADDING`.
const INCOMPAT: u32 = 0x1;

/// Why an image is not mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is no EROFS image.
    NotErofs,
    /// It uses something that packages do not have.
    Unsupported(&'static str),
    /// It contradicts itself, in this structure of the inode with this number.
    Corrupt(&'static str, u64),
    /// An entry is none that a package may have.
    Entry(Problem),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotErofs => f.write_str("it is no EROFS image"),
            Self::Unsupported(what) => write!(f, "it uses {what}, which packages do not: pack it again"),
            Self::Corrupt(what, nid) => write!(f, "it is damaged: {what} (inode {nid})"),
            Self::Entry(problem) => problem.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

/// What an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Entries below its root.
    pub entries: u32,
    /// Bytes of its files and links.
    pub bytes: u64,
}

/// Checks a whole image.
///
/// # Errors
/// The first fault.
pub fn check(bytes: &[u8], machine: Machine) -> Result<Contents, Fault> {
    let image = Image::open(bytes)?;
    let mut walk = Walk {
        image: &image,
        machine,
        seen: BTreeSet::new(),
        tree: Tree::default(),
        contents: Contents::default(),
    };
    let root = image.inode(image.root)?;
    if root.kind != Kind::Directory {
        return Err(Fault::Corrupt("its root is no directory", image.root));
    }
    walk.directory(&root, image.root, &mut Vec::new())?;
    Ok(walk.contents)
}

/// An image whose superblock is good.
pub(crate) struct Image<'a> {
    bytes: &'a [u8],
    blocks: u64,
    meta: u64,
    root: u64,
}

impl<'a> Image<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Fault> {
        let at = |offset| SUPER + offset;
        if bytes.u32(at(0)) != Some(MAGIC) {
            return Err(Fault::NotErofs);
        }
        let cut = Fault::Corrupt("its superblock is cut short", 0);
        let fields = (|| {
            Some((
                [bytes.u32(at(8))?, bytes.u32(at(80))?],
                [*bytes.get(at(12))?, *bytes.get(at(13))?, *bytes.get(at(90))?, *bytes.get(at(91))?],
                [bytes.u16(at(86))?, bytes.u16(at(14))?],
                [bytes.u32(at(36))?, bytes.u32(at(40))?],
                bytes.u64(at(96))?,
            ))
        })();
        let (
            [compat, incompat],
            [block_bits, slots, directory_bits, prefixes],
            [devices, root],
            [blocks, meta],
            packed,
        ) = fields.ok_or(cut)?;
        match () {
            () if block_bits != 12 => return Err(Fault::Unsupported("blocks of another size than 4 KiB")),
            () if compat & !COMPAT != 0 => return Err(Fault::Unsupported("an optional feature")),
            () if incompat & !INCOMPAT != 0 => {
                return Err(Fault::Unsupported("a feature that is not zero padding"));
            }
            () if slots != 0 || directory_bits != 0 || prefixes != 0 || devices != 0 || packed != 0 => {
                return Err(Fault::Unsupported("a longer superblock, further devices, or packed files"));
            }
            () => {}
        }
        let (blocks, meta) = (u64::from(blocks), u64::from(meta));
        if blocks * BLOCK as u64 > bytes.len() as u64 || meta >= blocks {
            return Err(Fault::Corrupt("it is shorter than its superblock says", 0));
        }
        Ok(Self { bytes, blocks, meta, root: root.into() })
    }

    /// `count` blocks from block `first`.
    pub(crate) fn blocks(&self, first: u64, count: u64) -> Option<&'a [u8]> {
        let end = first.checked_add(count).filter(|end| *end <= self.blocks)?;
        let range = usize::try_from(first).ok()? * BLOCK..usize::try_from(end).ok()? * BLOCK;
        self.bytes.get(range)
    }

    /// The content of an inode.
    fn data(&self, inode: &Inode, most: u64) -> Result<Vec<u8>, Fault> {
        let corrupt = |what| Fault::Corrupt(what, inode.nid);
        if inode.size > most {
            return Err(Fault::Unsupported("a file or directory that is too large"));
        }
        if inode.size == 0 {
            return Ok(Vec::new());
        }
        match inode.layout {
            Layout::Compact => extents::read(self, inode),
            Layout::Plain => {
                let blocks = self.blocks(inode.start.into(), inode.size.div_ceil(BLOCK as u64));
                let bytes = blocks.and_then(|bytes| bytes.get(..usize::try_from(inode.size).ok()?));
                bytes.map(<[u8]>::to_vec).ok_or(corrupt("data past the end"))
            }
            Layout::Inline => {
                let whole = (inode.size - 1) / BLOCK as u64;
                let rest = (inode.size - whole * BLOCK as u64) as usize;
                if inode.end % BLOCK + rest > BLOCK {
                    return Err(corrupt("inline data across blocks"));
                }
                let blocks = if whole == 0 { Some(&[][..]) } else { self.blocks(inode.start.into(), whole) };
                let tail = self.bytes.get(inode.end..inode.end + rest);
                let (blocks, tail) = blocks.zip(tail).ok_or(corrupt("data past the end"))?;
                Ok([blocks, tail].concat())
            }
        }
    }
}

struct Walk<'a> {
    image: &'a Image<'a>,
    machine: Machine,
    seen: BTreeSet<u64>,
    tree: Tree,
    contents: Contents,
}

impl Walk<'_> {
    /// `path` is the directory's own; it is the same again afterwards. Recursion is bounded by the tree's depth.
    fn directory(&mut self, inode: &Inode, parent: u64, path: &mut Vec<u8>) -> Result<(), Fault> {
        self.once(inode)?;
        let corrupt = |what| Fault::Corrupt(what, inode.nid);
        let data = self.image.data(inode, DIRECTORY_MAX)?;
        let mut last: Option<Vec<u8>> = None;
        let mut dots = 0;
        for block in data.chunks(BLOCK) {
            for entry in names(block).ok_or(corrupt("a directory block"))? {
                let (nid, kind, name) = entry.ok_or(corrupt("a directory entry"))?;
                if last.as_deref().is_some_and(|last| last >= name) {
                    return Err(corrupt("a directory that is not in order"));
                }
                last = Some(name.to_vec());
                if name == b"." || name == b".." {
                    let expected = if name == b"." { inode.nid } else { parent };
                    if nid != expected {
                        return Err(corrupt("a directory whose dots lead elsewhere"));
                    }
                    dots += 1;
                    continue;
                }
                self.entry(nid, kind, name, inode.nid, path)?;
            }
        }
        if dots == 2 { Ok(()) } else { Err(corrupt("a directory without its dots")) }
    }

    fn entry(
        &mut self,
        nid: u64,
        kind: u8,
        name: &[u8],
        parent: u64,
        path: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let inode = self.image.inode(nid)?;
        let said = match inode.kind {
            Kind::File(_) => 1,
            Kind::Directory => 2,
            Kind::Device => kind,
            Kind::Fifo => 5,
            Kind::Socket => 6,
            Kind::Link(_) => 7,
        };
        if kind != said {
            return Err(Fault::Corrupt("an entry of another type than its inode", nid));
        }
        let before = path.len();
        if before > 0 {
            path.push(b'/');
        }
        path.extend(name);
        let entry = Entry { path, kind: inode.kind, mode: inode.mode, attributes: &[] };
        self.tree.add(&entry).map_err(Fault::Entry)?;
        self.contents.entries += 1;
        match inode.kind {
            Kind::Directory => self.directory(&inode, parent, path)?,
            Kind::File(bytes) | Kind::Link(bytes) => {
                self.once(&inode)?;
                self.contents.bytes += bytes;
                let data = self.image.data(&inode, FILE_MAX)?;
                let program = if matches!(inode.kind, Kind::File(_)) {
                    elf::check(&data, self.machine)
                } else {
                    Ok(None)
                };
                program.map_err(|fault| Fault::Entry(Problem::new(path, Wrong::Program(fault))))?;
            }
            Kind::Device | Kind::Fifo | Kind::Socket => return Err(Fault::Unsupported("special files")),
        }
        path.truncate(before);
        Ok(())
    }

    fn once(&mut self, inode: &Inode) -> Result<(), Fault> {
        if self.seen.insert(inode.nid) { Ok(()) } else { Err(Fault::Unsupported("an inode with two names")) }
    }
}

/// The entries of one block of a directory: inode, type, name. `None` for a block whose header is wrong, and for an entry
/// that is.
fn names(block: &[u8]) -> Option<impl Iterator<Item = Option<(u64, u8, &[u8])>>> {
    const ENTRY: usize = 12;
    let head = usize::from(block.u16(8)?);
    if head == 0 || head % ENTRY != 0 || head > block.len() {
        return None;
    }
    let count = head / ENTRY;
    Some((0..count).map(move |index| {
        let at = index * ENTRY;
        let start = usize::from(block.u16(at + 8)?);
        let name = if index + 1 < count {
            block.get(start..usize::from(block.u16(at + ENTRY + 8)?))?
        } else {
            let rest = block.get(start..)?;
            // The last one ends with the block, or before it with zeros.
            let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
            if rest.get(end..)?.iter().any(|b| *b != 0) {
                return None;
            }
            rest.get(..end)?
        };
        let good = start >= head && !name.is_empty() && !name.contains(&0);
        good.then_some((block.u64(at)?, *block.get(at + 10)?, name))
    }))
}

/// Little-endian numbers at an offset; `None` past the end.
pub(crate) trait Numbers {
    fn u16(&self, at: usize) -> Option<u16>;
    fn u32(&self, at: usize) -> Option<u32>;
    fn u64(&self, at: usize) -> Option<u64>;
}

impl Numbers for [u8] {
    fn u16(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(self.get(at..at.checked_add(2)?)?.try_into().ok()?))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_le_bytes(self.get(at..at.checked_add(8)?)?.try_into().ok()?))
    }
}
