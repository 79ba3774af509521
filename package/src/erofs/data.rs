//! The data of an inode: where it lies, and reading it.

use std::cell::RefCell;

use super::compressed::{self, Extent};
use super::inode::{Inode, Layout};
use super::superblock::Superblock;
use super::{BLOCK, Refusal};
use crate::read::{ReadAt, Unreadable};

/// Parts of an image that something uses: from, to.
pub(super) type Ranges = Vec<(u64, u64)>;

/// An inode's data, to be read.
#[derive(Debug)]
pub(super) enum Data<'a, I: ?Sized> {
    Flat { image: &'a I, blocks_at: u64, inline_at: u64, inline_from: u64, size: u64 },
    Compressed { image: &'a I, extents: Vec<Extent>, size: u64, last: RefCell<Option<(usize, Vec<u8>)>> },
}

/// Checks how `inode`'s data is laid out, and adds what it uses of the image to `used`.
pub(super) fn locate<'a, I: ReadAt + ?Sized>(
    image: &'a I,
    superblock: &Superblock,
    inode: &Inode,
    used: &mut Ranges,
) -> Result<Data<'a, I>, Refusal> {
    match inode.layout {
        Layout::Plain | Layout::Inline => flat(image, superblock, inode, used),
        Layout::Full | Layout::Compact => {
            let found = compressed::locate(image, superblock, inode)?;
            used.push((inode.at, found.index_end));
            used.push(found.blocks);
            Ok(Data::Compressed { image, extents: found.extents, size: inode.size, last: RefCell::default() })
        }
    }
}

fn flat<'a, I: ReadAt + ?Sized>(
    image: &'a I,
    superblock: &Superblock,
    inode: &Inode,
    used: &mut Ranges,
) -> Result<Data<'a, I>, Refusal> {
    let refuse = |what| Err(Refusal::Layout(what, inode.at));
    let inline = inode.layout == Layout::Inline && inode.size > 0;
    let whole = inode.blocks() - u64::from(inline);
    let inline_from = whole.saturating_mul(BLOCK);
    let rest = if inline { inode.size - inline_from } else { 0 };
    // What lies behind an inode lies in one block with its end: the kernel maps that block alone.
    if rest > 0 && (inode.end.is_multiple_of(BLOCK) || inode.end % BLOCK + rest > BLOCK) {
        return refuse("has inline data that crosses a block's end");
    }
    used.push((inode.at, inode.end + rest));
    let blocks_at = u64::from(inode.union) * BLOCK;
    if whole > 0 {
        let end = u64::from(inode.union).checked_add(whole).filter(|end| *end <= superblock.blocks);
        let Some(end) = end else { return refuse("has data past its end") };
        if inode.union == 0 {
            return refuse("has data where the superblock is");
        }
        used.push((blocks_at, end * BLOCK));
    }
    let inline_from = if inline { inline_from } else { inode.size };
    Ok(Data::Flat { image, blocks_at, inline_at: inode.end, inline_from, size: inode.size })
}

impl<I: ReadAt + ?Sized> Data<'_, I> {
    /// Decompresses everything once, so that the kernel meets nothing that was not.
    pub(super) fn verify(&self) -> Result<(), Refusal> {
        let Self::Compressed { image, extents, .. } = self else { return Ok(()) };
        let mut out = Vec::new();
        extents.iter().try_for_each(|extent| compressed::decompress(*image, extent, &mut out))
    }
}

impl<I: ReadAt + ?Sized> ReadAt for Data<'_, I> {
    fn size(&self) -> u64 {
        match self {
            Self::Flat { size, .. } | Self::Compressed { size, .. } => *size,
        }
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let end = at.checked_add(buffer.len() as u64).ok_or(Unreadable)?;
        if end > self.size() {
            return Err(Unreadable);
        }
        match self {
            Self::Flat { image, blocks_at, inline_at, inline_from, .. } => {
                let split = inline_from.saturating_sub(at).min(buffer.len() as u64);
                let (head, tail) = buffer.split_at_mut(split as usize);
                if !head.is_empty() {
                    image.read_at(blocks_at + at, head)?;
                }
                match tail.is_empty() {
                    true => Ok(()),
                    false => image.read_at(inline_at + (at + split - inline_from), tail),
                }
            }
            Self::Compressed { image, extents, last, .. } => {
                let mut last = last.borrow_mut();
                let mut done = 0;
                while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
                    let position = at + done as u64;
                    let index = extents.partition_point(|extent| extent.start <= position);
                    let index = index.checked_sub(1).ok_or(Unreadable)?;
                    let extent = extents.get(index).ok_or(Unreadable)?;
                    let (_, bytes) = match last.take() {
                        Some(kept) if kept.0 == index => last.insert(kept),
                        _ => {
                            let mut out = Vec::new();
                            compressed::decompress(*image, extent, &mut out).map_err(|_| Unreadable)?;
                            last.insert((index, out))
                        }
                    };
                    let from = usize::try_from(position - extent.start).map_err(|_| Unreadable)?;
                    let part = bytes.get(from..).filter(|part| !part.is_empty()).ok_or(Unreadable)?;
                    let count = part.len().min(rest.len());
                    rest.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
                    done += count;
                }
                Ok(())
            }
        }
    }
}
