//! An EROFS image: does it hold a package, and only bytes that the kernel reads as it is read here?
//!
//! Whoever signs a package is its author, so a root hash says nothing about what the kernel's file-system code would meet.
//! This reads the subset that `mkfs.erofs` makes for us, and refuses the rest by name:
//!
//! | part | as we make it | refused |
//! |---|---|---|
//! | superblock | 4 KiB blocks, checksum, LZ4 with zeros in front | every other feature bit, further devices, packed inode |
//! | inodes | compact or extended, owner 0:0, no attributes | attributes, chunks, fragments, unknown bits |
//! | directories | plain or inline, sorted, `.` and `..` right | unsorted, repeated, two parents |
//! | files | plain, inline, LZ4 in single blocks, one after the other | other algorithms, big clusters, blocks used twice |
//!
//! What holds for an accepted image: each inode was reached, as often as its link count says, directories once; no two of
//! superblock, inodes, indexes, inline data and blocks overlap; everything lies within the image; every compressed block
//! decompresses to exactly what its index says; every entry passes [`crate::tree`], every program [`crate::elf`].
//!
//! Memory is bounded by the entries a package may have (a few MiB); time by the image's length and [`BYTES_MAX`]. An
//! attacker controls every byte. Layouts are those of `fs/erofs/erofs_fs.h` of Linux 6.12.
//!
//! [`BYTES_MAX`]: crate::tree::BYTES_MAX

mod compressed;
mod data;
mod directory;
mod inode;
mod lookup;
mod superblock;
mod walk;

use std::fmt;

use crate::elf::Machine;
use crate::read::{ReadAt, Unreadable};
use crate::tree::Problem;

pub use lookup::file;

/// Block size, the only one.
pub(crate) const BLOCK: u64 = 4096;

/// Why an image is not to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It can not be read, or a part of it lies past its end.
    Unreadable,
    /// It is not laid out as our images are; what is wrong, and near which byte.
    Layout(&'static str, u64),
    /// What it holds is no package.
    Entry(Problem),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("cannot be read, or a part of it lies past its end"),
            Self::Layout(what, at) => write!(f, "{what} (byte {at})"),
            Self::Entry(problem) => problem.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Unreadable> for Refusal {
    fn from(Unreadable: Unreadable) -> Self {
        Self::Unreadable
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Entry(problem)
    }
}

/// What an accepted image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Entries, the root not counted.
    pub entries: u32,
    /// Bytes of its files and links.
    pub bytes: u64,
}

/// Checks a whole image for `machine`.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(image: &(impl ReadAt + ?Sized), machine: Machine) -> Result<Contents, Refusal> {
    walk::check(image, machine)
}
