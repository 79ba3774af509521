//! One file of an image, by its path. For tools that show what is in a package: a device mounts it instead.

use super::data::{self, Ranges};
use super::inode::{self, Inode};
use super::superblock::{self, Superblock};
use super::{Refusal, directory};
use crate::read::ReadAt;
use crate::tree::Kind;

/// The bytes of the file at `path`, names with `/` between them; none if there is no regular file, or if it is longer than `most`.
/// Links are not followed.
///
/// # Errors
/// The image is not laid out as ours are, on the way to it.
pub fn file(image: &(impl ReadAt + ?Sized), path: &str, most: usize) -> Result<Option<Vec<u8>>, Refusal> {
    let superblock = superblock::read(image)?;
    let mut inode = inode::read(image, &superblock, superblock.root)?;
    for name in path.split('/') {
        let Some(number) = below(image, &superblock, &inode, name.as_bytes())? else { return Ok(None) };
        inode = inode::read(image, &superblock, number)?;
    }
    let length = match inode.kind {
        Kind::File(length) => usize::try_from(length).unwrap_or(usize::MAX),
        _ => return Ok(None),
    };
    if length > most {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    data::locate(image, &superblock, &inode, &mut Ranges::new())?.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

fn below(
    image: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    inode: &Inode,
    name: &[u8],
) -> Result<Option<u64>, Refusal> {
    if inode.kind != Kind::Directory {
        return Ok(None);
    }
    let mut found = None;
    directory::entries(&data::locate(image, superblock, inode, &mut Ranges::new())?, inode.at, |named| {
        if named.name == name {
            found = Some(named.number);
        }
        Ok(())
    })?;
    Ok(found)
}
