//! The entries of a package's tree, one after the other, and what they sum up to.
//!
//! Whoever walks the tree (a directory on the packer's machine, an image in the worker's box) describes each entry and asks
//! [`Tree::add`]; whatever is wrong comes back with the path and what to do about it.

use std::fmt;

use crate::elf::Fault;

/// Entries of a package at most.
pub const ENTRIES_MAX: u32 = 65_536;
/// Bytes of all its files together at most.
pub const BYTES_MAX: u64 = 4 << 30;
/// Directories above an entry at most.
pub const DEPTH_MAX: usize = 32;
/// Bytes of a path at most, below the kernel's `PATH_MAX` with room for where it is mounted.
pub const PATH_MAX: usize = 1024;
/// `NAME_MAX` of the kernel.
const NAME_MAX: usize = 255;

/// What kind of inode an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file of so many bytes.
    File(u64),
    /// A symbolic link whose target has so many bytes.
    Link(u64),
    /// A device node.
    Device,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

/// An entry as its package has it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its path below the package's root, components separated by `/`, without one at the start.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `st_mode & 0o7777`.
    pub mode: u32,
    /// Names of extended attributes it has.
    pub attributes: &'a [Vec<u8>],
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is no directory, file or link.
    Kind(&'static str),
    /// It is setuid, setgid, or a sticky file.
    Mode,
    /// It has extended attributes: file capabilities, access lists, labels.
    Attributes,
    /// A component of its path is empty, `.`, `..`, too long, or has characters that cannot be shown.
    Name,
    /// Its path is too long or too deep.
    Deep,
    /// Its link's target is longer than a path can be.
    Target,
    /// There are more entries or bytes than a package may have.
    Large,
    /// It is a program that is not fit to be run.
    Program(Fault),
    /// Its dynamic loader is not in the package.
    NoLoader,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => {
                write!(f, "is a {kind}: a package has directories, files and symbolic links only")
            }
            Self::Mode => f.write_str("is setuid, setgid or sticky, which no app can use: clear the bit"),
            Self::Attributes => f.write_str("has extended attributes, which no app can use: remove them"),
            Self::Name => f.write_str(
                "has a name that is empty, `.`, `..`, longer than 255 bytes, or not printable UTF-8",
            ),
            Self::Deep => {
                write!(
                    f,
                    "lies deeper than {DEPTH_MAX} directories, or its path is longer than {PATH_MAX} bytes"
                )
            }
            Self::Target => f.write_str("is a link whose target is empty or longer than a path can be"),
            Self::Large => {
                write!(
                    f,
                    "is one too many: a package has at most {ENTRIES_MAX} entries and {BYTES_MAX} bytes"
                )
            }
            Self::Program(fault) => fault.fmt(f),
            Self::NoLoader => f.write_str("needs a dynamic loader that is not in the package"),
        }
    }
}

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path, printable.
    pub path: String,
    /// What it is.
    pub wrong: Wrong,
}

impl Problem {
    /// Makes the path printable.
    pub fn new(path: &[u8], wrong: Wrong) -> Self {
        let shown = path.utf8_chunks().flat_map(|chunk| {
            let valid = chunk.valid().chars().flat_map(char::escape_debug);
            valid.chain(
                chunk.invalid().iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).map(char::from),
            )
        });
        Self { path: shown.take(PATH_MAX).collect(), wrong }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.wrong)
    }
}

impl std::error::Error for Problem {}

/// The sums.
#[derive(Debug, Default)]
pub struct Tree {
    entries: u32,
    bytes: u64,
}

impl Tree {
    /// Checks one entry.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn add(&mut self, entry: &Entry<'_>) -> Result<(), Problem> {
        self.verdict(entry).map_err(|wrong| Problem::new(entry.path, wrong))
    }

    /// Entries so far.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes of files and links so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn verdict(&mut self, entry: &Entry<'_>) -> Result<(), Wrong> {
        let components = entry.path.split(|b| *b == b'/');
        if entry.path.len() > PATH_MAX || components.clone().count() > DEPTH_MAX {
            return Err(Wrong::Deep);
        }
        if !components.clone().all(good_name) {
            return Err(Wrong::Name);
        }
        let (bytes, plain) = match entry.kind {
            Kind::Directory => (0, 0o6000),
            Kind::File(bytes) => (bytes, 0o7000),
            Kind::Link(bytes) if (1..=PATH_MAX as u64).contains(&bytes) => (bytes, 0),
            Kind::Link(_) => return Err(Wrong::Target),
            Kind::Device => return Err(Wrong::Kind("device node")),
            Kind::Fifo => return Err(Wrong::Kind("FIFO")),
            Kind::Socket => return Err(Wrong::Kind("socket")),
        };
        if entry.mode & plain != 0 {
            return Err(Wrong::Mode);
        }
        if !entry.attributes.is_empty() {
            return Err(Wrong::Attributes);
        }
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries > ENTRIES_MAX || self.bytes > BYTES_MAX { Err(Wrong::Large) } else { Ok(()) }
    }
}

/// A name that the kernel takes, that every tool can show, and that is no way up.
fn good_name(name: &[u8]) -> bool {
    let printable = |text: &str| text.chars().all(|c| !c.is_control() && !deceives(c));
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && std::str::from_utf8(name).is_ok_and(printable)
}

/// Whether a character is no control character and still shows a text as another one: line and paragraph separators, and
/// what changes the direction of the text around it.
pub fn deceives(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(path: &[u8], kind: Kind, mode: u32) -> Option<Wrong> {
        Tree::default().add(&Entry { path, kind, mode, attributes: &[] }).err().map(|problem| problem.wrong)
    }

    #[test]
    fn tree_of_directories_files_and_links_is_good() {
        assert_eq!(wrong(b"bin", Kind::Directory, 0o1755), None);
        assert_eq!(wrong("bin/gr\u{fc}n".as_bytes(), Kind::File(10), 0o755), None);
        assert_eq!(wrong(b"bin/sh", Kind::Link(4), 0o777), None);
    }

    #[test]
    fn inode_that_is_more_than_a_file_is_refused() {
        assert_eq!(wrong(b"a", Kind::Device, 0o666), Some(Wrong::Kind("device node")));
        assert_eq!(wrong(b"a", Kind::Fifo, 0o666), Some(Wrong::Kind("FIFO")));
        assert_eq!(wrong(b"a", Kind::Socket, 0o666), Some(Wrong::Kind("socket")));
        for mode in [0o4755, 0o2755, 0o1755] {
            assert_eq!(wrong(b"a", Kind::File(1), mode), Some(Wrong::Mode));
        }
        let attributes = [b"security.capability".to_vec()];
        let entry = Entry { path: b"a", kind: Kind::File(1), mode: 0o755, attributes: &attributes };
        assert_eq!(Tree::default().add(&entry).unwrap_err().wrong, Wrong::Attributes);
    }

    #[test]
    fn name_that_is_a_way_up_or_cannot_be_shown_is_refused() {
        for path in [
            &b""[..],
            b"..",
            b"a/../b",
            b"/a",
            b"a//b",
            b"a/",
            b".",
            b"a\nb",
            b"\xff",
            "a\u{202e}b".as_bytes(),
        ] {
            assert_eq!(wrong(path, Kind::File(1), 0o644), Some(Wrong::Name), "{path:?}");
        }
        assert_eq!(wrong(&[b'a'; 256], Kind::File(1), 0o644), Some(Wrong::Name));
        assert_eq!(wrong(&b"a/".repeat(40), Kind::File(1), 0o644), Some(Wrong::Deep));
        assert_eq!(wrong(b"a", Kind::Link(0), 0o777), Some(Wrong::Target));
    }

    #[test]
    fn tree_too_large_is_refused() {
        assert_eq!(wrong(b"a", Kind::File(u64::MAX), 0o644), Some(Wrong::Large));
        let mut tree = Tree::default();
        let entry = Entry { path: b"a", kind: Kind::Directory, mode: 0o755, attributes: &[] };
        let good = (0..=ENTRIES_MAX).filter(|_| tree.add(&entry).is_ok()).count();
        assert_eq!(good, ENTRIES_MAX as usize);
    }

    #[test]
    fn problem_is_printable() {
        let problem = Problem::new(b"a\x1b[2J\xff", Wrong::Mode);
        assert_eq!(problem.path, "a\\u{1b}[2J\\xff");
    }
}
