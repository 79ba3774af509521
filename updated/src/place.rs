//! Where images lie: in one file, or over two partitions, data in front and the hash tree behind.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use delta::{BLOCK, ReadAt, Unreadable};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use ring::digest::{Context, SHA256};

/// Bytes that are copied or looked at, at once.
const CHUNK: usize = 64 << 10;
/// `struct verity_sb`, as `veritysetup` writes it in front of a hash tree: its beginning, and where the count of data blocks
/// is, 64 bits.
const MAGIC: &[u8] = b"verity\0\0";
const DATA_BLOCKS: std::ops::Range<usize> = 72..80;
/// Blocks of the longest image.
const BLOCKS_MAX: u64 = delta::IMAGE_MAX / BLOCK as u64;
/// Digests in a block of the tree.
const DIGESTS: u64 = BLOCK as u64 / 32;

/// An image's place.
#[derive(Debug)]
pub struct Place {
    data: File,
    tree: Option<File>,
    /// Where the tree begins, if it is apart.
    split: u64,
    length: u64,
}

impl Place {
    /// A file with an image of so many bytes.
    pub fn file(data: File, length: u64) -> Self {
        Self { data, tree: None, split: length, length }
    }

    /// Two partitions, of which the first has `split` bytes of the image.
    pub fn apart(data: File, tree: File, split: u64, length: u64) -> Self {
        Self { data, tree: Some(tree), split, length }
    }

    /// Two partitions with an image, whose tree says how long it is; none if there is none.
    pub fn found(data: File, tree: File) -> Option<Self> {
        let mut head = [0; 512];
        tree.read_exact_at(&mut head, 0).ok()?;
        let blocks = head.get(DATA_BLOCKS).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        let blocks = blocks.map(u64::from_le_bytes).filter(|blocks| (1..BLOCKS_MAX).contains(blocks));
        let blocks = blocks.filter(|_| head.starts_with(MAGIC))?;
        let block = u64::from(BLOCK);
        let length = (blocks + 1 + tree_blocks(blocks)) * block;
        let place = Self::apart(data, tree, blocks * block, length);
        (place.data.size() >= place.split && place.tree.as_ref()?.size() >= length - place.split)
            .then_some(place)
    }

    /// Writes there.
    ///
    /// # Errors
    /// The disk's; the image would be longer than it is.
    pub fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "outside of the image"));
        }
        let here = usize::try_from(self.split.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        let (data, tree) = bytes.split_at(here);
        self.data.write_all_at(data, at)?;
        match &self.tree {
            Some(file) if !tree.is_empty() => file.write_all_at(tree, (at + data.len() as u64) - self.split),
            _ => Ok(()),
        }
    }

    /// How many bytes there can be by now: of a file, what it has; a partition has them all.
    pub fn written(&self) -> u64 {
        if self.tree.is_some() { self.length } else { self.data.size() }
    }

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> io::Result<()> {
        self.data.sync_data()?;
        self.tree.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// SHA-256 of the image.
    ///
    /// # Errors
    /// It can't be read.
    pub fn digest(&self) -> Result<[u8; 32], Unreadable> {
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < self.length {
            let part = usize::try_from(self.length - at).map_or(CHUNK, |left| left.min(CHUNK));
            let part = buffer.get_mut(..part).ok_or(Unreadable)?;
            self.read_at(at, part)?;
            context.update(part);
            at += part.len() as u64;
        }
        context.finish().as_ref().try_into().map_err(|_| Unreadable)
    }

    /// The image in memory that nobody can change any more.
    ///
    /// # Errors
    /// It can't be read; those of `memfd_create(2)` and `write(2)`.
    pub fn sealed(&self, name: &std::ffi::CStr) -> io::Result<std::os::fd::OwnedFd> {
        // `MFD_NOEXEC_SEAL`: Linux has it since 6.3, `nix` not yet.
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | MFdFlags::from_bits_retain(8);
        let memory = File::from(memfd_create(name, flags)?);
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < self.length {
            let part = usize::try_from(self.length - at).map_or(CHUNK, |left| left.min(CHUNK));
            let part = buffer.get_mut(..part).ok_or(io::ErrorKind::InvalidInput)?;
            self.read_at(at, part).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            memory.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        let seals =
            SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(memory.into())
    }
}

impl ReadAt for Place {
    fn size(&self) -> u64 {
        self.length
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let end = at.checked_add(buffer.len() as u64).ok_or(Unreadable)?;
        if end > self.length {
            return Err(Unreadable);
        }
        let here = usize::try_from(self.split.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        let (data, tree) = buffer.split_at_mut(here);
        if !data.is_empty() {
            ReadAt::read_at(&self.data, at, data)?;
        }
        match &self.tree {
            Some(file) if !tree.is_empty() => {
                ReadAt::read_at(file, at + data.len() as u64 - self.split, tree)
            }
            _ => Ok(()),
        }
    }
}

/// Blocks of a hash tree over so many blocks.
fn tree_blocks(data: u64) -> u64 {
    let (mut level, mut sum) = (data, 0);
    loop {
        level = level.div_ceil(DIGESTS);
        sum += level;
        if level <= 1 {
            return sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn tree_has_a_block_for_each_128_and_one_above_them() {
        assert_eq!(
            (tree_blocks(1), tree_blocks(128), tree_blocks(129), tree_blocks(128 * 128 + 1)),
            (1, 1, 3, 129 + 2 + 1)
        );
    }

    #[test]
    fn image_over_two_partitions_is_found_by_its_tree() {
        let mut head = vec![0; 8192];
        head[..8].copy_from_slice(MAGIC);
        head[DATA_BLOCKS].copy_from_slice(&3_u64.to_le_bytes());
        let place = Place::found(file(&[1; 65_536]), file(&head)).unwrap();
        assert_eq!((place.size(), place.split), (5 * 4096, 3 * 4096));
        assert!(Place::found(file(&[1; 4096]), file(&head)).is_none(), "the data's partition is too short");
        head[DATA_BLOCKS].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Place::found(file(&[1; 65_536]), file(&head)).is_none());
        assert!(Place::found(file(&[1; 65_536]), file(&[0; 8192])).is_none());
    }

    #[test]
    fn sealed_copy_is_the_image_and_nobody_changes_it() {
        let bytes = vec![7; 100_000];
        let place = Place::file(file(&bytes), 100_000);
        let sealed = bus::bulk::Sealed::open(place.sealed(c"test").unwrap(), 100_000).unwrap();
        assert_eq!(sealed.read().unwrap(), bytes);
    }

    proptest! {
        #[test]
        fn what_is_written_over_two_partitions_is_read_as_one(
            parts in proptest::collection::vec((0_u64..20_000, 0_usize..9_000), 0..20), split in 1_u64..20_000
        ) {
            let place = Place::apart(file(&[]), file(&[]), split, 20_000);
            let mut model = vec![0_u8; 20_000];
            place.write_at(0, &model).unwrap();
            for (n, (at, length)) in parts.into_iter().enumerate() {
                let bytes = vec![n as u8 + 1; length];
                let fits = at as usize + length <= 20_000;
                prop_assert_eq!(place.write_at(at, &bytes).is_ok(), fits);
                if fits { model[at as usize..at as usize + length].copy_from_slice(&bytes); }
            }
            let mut read = vec![0; 20_000];
            place.read_at(0, &mut read).unwrap();
            prop_assert!(read == model);
            prop_assert!(place.read_at(1, &mut read).is_err());
            let (digest, expected) = (place.digest().unwrap(), ring::digest::digest(&SHA256, &model));
            prop_assert_eq!(&digest[..], expected.as_ref());
        }
    }
}
