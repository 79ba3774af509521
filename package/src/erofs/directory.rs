//! Directories: in each block entries of 12 bytes (`struct erofs_dirent`), then their names.

use super::{BLOCK, Refusal};
use crate::read::{ReadAt, u16_at, u64_at};

const ENTRY: usize = 12;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) number: u64,
    pub(super) file_type: u8,
    pub(super) name: Vec<u8>,
}

/// Calls `each` with every entry of a directory, `.` and `..` too, in order; they are sorted and no name is there twice.
/// Not more than one block is in memory at a time.
pub(super) fn entries(
    data: &(impl ReadAt + ?Sized),
    at: u64,
    mut each: impl FnMut(Named) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::Layout(what, at));
    let mut last: Option<Vec<u8>> = None;
    let mut start = 0;
    while start < data.size() {
        let mut block = [0; BLOCK as usize];
        let length = (data.size() - start).min(BLOCK);
        let block = block.get_mut(..length as usize).ok_or(Refusal::Unreadable)?;
        data.read_at(start, block)?;
        start += length;
        let names_at = usize::from(u16_at(block, 8));
        if block.len() <= ENTRY || names_at < ENTRY || names_at % ENTRY != 0 || names_at >= block.len() {
            return refuse("has a directory whose entries do not lie in a row");
        }
        for index in 0..names_at / ENTRY {
            let entry = index * ENTRY;
            let from = usize::from(u16_at(block, entry + 8));
            let is_last = entry + ENTRY == names_at;
            let to = if is_last { block.len() } else { usize::from(u16_at(block, entry + ENTRY + 8)) };
            let expected = if index == 0 { names_at } else { from };
            let Some(name) = block.get(from..to).filter(|_| from == expected && from >= names_at) else {
                return refuse("has a directory whose names do not follow each other");
            };
            // Only the last of a block may be shorter than its room.
            let name = if is_last { name.split(|byte| *byte == 0).next().unwrap_or_default() } else { name };
            if name.is_empty() || name.contains(&0) || block.get(entry + 11) != Some(&0) {
                return refuse("has a directory with an empty name or an entry of another form");
            }
            if last.as_deref().is_some_and(|last| last >= name) {
                return refuse("has a directory whose names are not sorted, or one of them twice");
            }
            last = Some(name.to_vec());
            let file_type = block.get(entry + 10).copied().unwrap_or_default();
            each(Named { number: u64_at(block, entry), file_type, name: name.to_vec() })?;
        }
    }
    Ok(())
}
