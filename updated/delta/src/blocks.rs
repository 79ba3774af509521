//! Which blocks of a new image an old one has, whichever old one it is.
//!
//! The index of a full payload lists the beginnings of its blocks' digests. The device reads its old image once and remembers
//! where each listed one lies; a segment all of whose blocks it has is put together from them. A listed digest is short, so
//! what is put together is checked like what is fetched, and fetched if it is not right.

use crate::index::{BLOCK, Index};
use crate::read::{ReadAt, Unreadable};
use ring::digest::{SHA256, digest};
use std::collections::HashMap;

/// Where in an old image blocks of the new one lie.
#[derive(Debug, Default)]
pub struct Found(HashMap<[u8; 8], u32>);

impl Found {
    /// Reads `old`, for an index with a list of blocks. Memory: some 24 bytes for each block of the new image.
    ///
    /// # Errors
    /// The old image cannot be read.
    pub fn search(index: &Index, old: &(impl ReadAt + ?Sized)) -> Result<Self, Unreadable> {
        let wanted: std::collections::HashSet<_> = index.blocks.iter().copied().collect();
        let mut found = HashMap::new();
        let size = BLOCK as usize;
        let mut buffer = vec![0; 16 * size];
        let blocks = old.size().min(crate::index::IMAGE_MAX) / u64::from(BLOCK);
        let mut block = 0;
        while block < blocks && !wanted.is_empty() {
            let part = usize::try_from(blocks - block).map_or(16, |left| left.min(16)) * size;
            let part = buffer.get_mut(..part).ok_or(Unreadable)?;
            old.read_at(block * u64::from(BLOCK), part)?;
            for bytes in part.chunks_exact(size) {
                let key = key(bytes);
                if wanted.contains(&key) {
                    found.entry(key).or_insert(block as u32);
                }
                block += 1;
            }
        }
        Ok(Self(found))
    }

    /// Whether all blocks of `length` bytes from `at` on may be there.
    pub(crate) fn has(&self, index: &Index, at: u64, length: u32) -> bool {
        let mut blocks = range(index, at, length).unwrap_or_default().iter().peekable();
        blocks.peek().is_some() && blocks.all(|block| self.0.contains_key(block))
    }

    /// Puts them together.
    pub(crate) fn assemble(
        &self,
        index: &Index,
        at: u64,
        length: u32,
        old: &(impl ReadAt + ?Sized),
    ) -> Result<Vec<u8>, Unreadable> {
        let mut out = vec![0; length as usize];
        let blocks = range(index, at, length).ok_or(Unreadable)?;
        for (block, into) in blocks.iter().zip(out.chunks_mut(BLOCK as usize)) {
            let from = self.0.get(block).ok_or(Unreadable)?;
            old.read_at(u64::from(*from) * u64::from(BLOCK), into)?;
        }
        Ok(out)
    }
}

/// The listed digests of whole blocks; none where the range is not of whole blocks.
fn range(index: &Index, at: u64, length: u32) -> Option<&[[u8; 8]]> {
    let block = u64::from(BLOCK);
    if !at.is_multiple_of(block) || !length.is_multiple_of(BLOCK) {
        return None;
    }
    let first = usize::try_from(at / block).ok()?;
    index.blocks.get(first..first + (length / BLOCK) as usize)
}

/// What a block is listed as.
pub(crate) fn key(block: &[u8]) -> [u8; 8] {
    digest(&SHA256, block).as_ref().first_chunk().copied().unwrap_or_default()
}
