//! The dm-verity hash tree of an image, made from the image.
//!
//! It is SHA-256 of 4 KiB blocks with a salt in front, as `veritysetup` lays it out (format 1): the level above the data last.
//! It is never downloaded, and making it reads back what was written: what differs from the index's digest was
//! not written as it was given. Memory is a 128th of the data.

use crate::index::{BLOCK, Digest};
use crate::read::{ReadAt, Unreadable};
use ring::digest::{Context, SHA256};

/// The tree of `image`, which begins at `at`, behind the data and `veritysetup`'s superblock.
pub(crate) fn over(image: &(impl ReadAt + ?Sized), at: u64, salt: &Digest) -> Result<Vec<u8>, Unreadable> {
    let block = u64::from(BLOCK);
    let length = at.checked_sub(block).filter(|length| *length > 0).ok_or(Unreadable)?;
    let blocks = length / block;
    let mut level = Vec::with_capacity(usize::try_from(blocks).map_err(|_| Unreadable)? * 32);
    let mut buffer = vec![0; 16 * BLOCK as usize];
    let mut at = 0;
    while at < length {
        let part = usize::try_from(length - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let part = buffer.get_mut(..part).ok_or(Unreadable)?;
        image.read_at(at, part)?;
        at += part.len() as u64;
        hash(part, salt, &mut level);
    }
    let mut levels = Vec::new();
    loop {
        pad(&mut level);
        let mut above = Vec::with_capacity(level.len() / 128);
        hash(&level, salt, &mut above);
        let top = level.len() == BLOCK as usize;
        levels.push(level);
        if top || levels.last().is_some_and(Vec::is_empty) {
            break;
        }
        level = above;
    }
    levels.reverse();
    Ok(levels.concat())
}

fn hash(bytes: &[u8], salt: &Digest, into: &mut Vec<u8>) {
    for block in bytes.chunks_exact(BLOCK as usize) {
        let mut context = Context::new(&SHA256);
        context.update(salt);
        context.update(block);
        into.extend_from_slice(context.finish().as_ref());
    }
}

fn pad(level: &mut Vec<u8>) {
    level.resize(level.len().next_multiple_of(BLOCK as usize), 0);
}
