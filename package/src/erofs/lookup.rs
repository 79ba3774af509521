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
        if inode.kind != Kind::Directory {
            return Ok(None);
        }
        let Some(next) = child(image, &superblock, &inode, name.as_bytes())? else { return Ok(None) };
        inode = next;
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

/// What is called `name` in a directory.
pub(super) fn child(
    image: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    directory: &Inode,
    name: &[u8],
) -> Result<Option<Inode>, Refusal> {
    let data = data::locate(image, superblock, directory, &mut Ranges::new())?;
    let mut found = None;
    directory::entries(&data, directory.at, |named| {
        if named.name == name {
            found = Some(named.number);
        }
        Ok(())
    })?;
    found.map(|number| inode::read(image, superblock, number)).transpose()
}
