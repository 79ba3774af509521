//! Reading ahead in a new image: the parts that the running app uses of the old one, so that what starts does not wait for the disk.
//!
//! The kernel is asked which parts of the old image's files it holds; the same parts of files of the same names are read from
//! the new one. That is program, loader, libraries and modules, whatever the app is written in, and nothing is parsed.
//!
//! Nothing depends on it: what can not be read is left out, and a kernel that does not tell has the app wait. Who wrote the
//! images chooses their names and what of them is held, within the bounds below; links are not followed. What is read is charged
//! to sandboxd, and is the first to go when memory is short.

use std::fs::{self, File, ReadDir};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use sys::pagecache;

/// Bytes that are read, or not, as one: the kernel maps so many at a fault.
const PART: usize = 64 << 10;
/// Parts read in one turn: each may be a cluster of its own, far from the others.
const PARTS_AT_ONCE: usize = 4;
/// Of a longer file, bytes that are looked at.
const LENGTH_MAX: u64 = 64 << 20;
/// Names looked at in one turn, and in all.
const NAMES_AT_ONCE: u32 = 32;
const NAMES_MAX: u32 = 8192;

/// What is still to be looked at.
#[derive(Debug)]
pub struct Warming {
    old: PathBuf,
    roots: [File; 2],
    /// Directories below the old one, and that whose names are read.
    directories: Vec<PathBuf>,
    names: Option<(PathBuf, ReadDir)>,
    file: Option<Same>,
    names_left: u32,
    bytes_left: u64,
}

/// A file that is in both.
#[derive(Debug)]
struct Same {
    new: File,
    /// Where those parts begin of which the old one's are held.
    parts: std::vec::IntoIter<u64>,
}

impl Warming {
    /// Of the image mounted at `new`, as far as the one at `old` is in memory, up to so many bytes.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn new(old: PathBuf, new: &Path, most: u64) -> io::Result<Self> {
        Ok(Self {
            roots: [File::open(&old)?, File::open(new)?],
            old,
            directories: vec![PathBuf::new()],
            names: None,
            file: None,
            names_left: NAMES_MAX,
            bytes_left: most,
        })
    }

    /// Goes on for one turn; false when nothing is left.
    pub fn turn(&mut self) -> bool {
        for _ in 0..NAMES_AT_ONCE {
            if let Some(file) = &mut self.file {
                if file.turn(&mut self.bytes_left) {
                    return true;
                }
                self.file = None;
            } else if !self.look() {
                return false;
            }
        }
        true
    }

    /// Looks at the next name; false when there is none.
    fn look(&mut self) -> bool {
        if self.names_left == 0 || self.bytes_left == 0 {
            return false;
        }
        let Some((directory, names)) = &mut self.names else {
            let Some(directory) = self.directories.pop() else { return false };
            self.names = fs::read_dir(self.old.join(&directory)).ok().map(|names| (directory, names));
            return true;
        };
        let Some(name) = names.next() else {
            self.names = None;
            return true;
        };
        self.names_left -= 1;
        if let Ok(name) = name
            && let Ok(kind) = name.file_type()
        {
            let path = directory.join(name.file_name());
            if kind.is_dir() {
                self.directories.push(path);
            } else if kind.is_file() {
                self.file = Same::open(&self.roots, &path);
            }
        }
        true
    }
}

impl Same {
    fn open([old, new]: &[File; 2], path: &Path) -> Option<Self> {
        let old = regular(old.as_fd(), path)?;
        let length = usize::try_from(old.metadata().ok()?.len().min(LENGTH_MAX)).ok()?;
        let held = pagecache::held(old.as_fd(), length, PART).ok()?;
        let parts: Vec<u64> =
            (0..).step_by(PART).zip(held).filter(|(_, held)| *held).map(|(at, _)| at).collect();
        // Most are not used at all.
        if parts.is_empty() {
            return None;
        }
        Some(Self { new: regular(new.as_fd(), path)?, parts: parts.into_iter() })
    }

    /// Reads some more parts; false when it is through.
    fn turn(&mut self, left: &mut u64) -> bool {
        let mut part = vec![0; PART];
        for at in self.parts.by_ref().take(PARTS_AT_ONCE) {
            let read = self.new.read_at(&mut part, at).unwrap_or(0);
            *left = left.saturating_sub(read as u64);
        }
        *left > 0 && self.parts.len() > 0
    }
}

/// No part of the path is a link, and the file is none that waits for somebody.
fn regular(root: BorrowedFd<'_>, path: &Path) -> Option<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let file = File::from(openat2(root, path, how).ok()?);
    file.metadata().is_ok_and(|about| about.is_file()).then_some(file)
}
