//! Erasing what an app has stored: a little at a time, and nothing twice.
//!
//! What is to go is moved to a directory of ours, `wiped`, first: from then on nobody reaches it, whatever happens. There it
//! is taken apart, some entries a turn, so that a million files hold up nobody; after a power cut it goes on at the next boot.
//!
//! An app controls names, depth and number of what it leaves behind. Each name is handed to `unlinkat` and `renameat` below a
//! directory that is open, so no link is ever followed; a directory that is not empty is moved up instead of descended into,
//! so no depth is too deep. The kernel gives a block to nobody with another's bytes in it; on the medium they stay until they
//! are overwritten.
//!
//! ```text
//! DATA/apps/ID        the app's own            ─┐
//! DATA/developed/ID   a developer's of that id  ├─▶ DATA/wiped/NUMBER ─▶ gone
//! DATA/logs/ID        its log, its exits       ─┘
//! DATA/gabion/wiping  ids that are being wiped while their box is there, one a line
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::whole;

/// Entries that are dealt with in one turn.
const AT_ONCE: usize = 256;
/// Where developers' apps store, each beside the storage of what lies beneath it.
pub const DEVELOPED: &str = "developed";

/// `DATA/wiped`, and what is in it.
#[derive(Debug)]
pub struct Wiped {
    data: PathBuf,
    place: OwnedFd,
    next: u64,
    work: bool,
}

impl Wiped {
    /// Opens it below `data`, made if need be. Whatever is in it is work.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join("wiped");
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let place = directory(AT_FDCWD, &path)?;
        let names = names(place.as_fd(), usize::MAX)?;
        let numbers = names.iter().filter_map(|name| name.to_str().ok()?.parse::<u64>().ok());
        let next = numbers.max().map_or(0, |number| number.saturating_add(1));
        Ok(Self { data: data.to_owned(), place, next, work: !names.is_empty() })
    }

    /// Whether something is left to do.
    pub fn has_work(&self) -> bool {
        self.work
    }

    /// Moves all of the app `id` away, on disk for good; it may have nothing. No box of it may be there.
    pub fn take(&mut self, id: &str) -> io::Result<()> {
        for kind in ["apps", "logs"] {
            self.take_away(kind, id)?;
        }
        Ok(())
    }

    /// Moves away what a developer's app of this id has stored.
    pub fn take_developed(&mut self, id: &str) -> io::Result<()> {
        self.take_away(DEVELOPED, id)
    }

    /// Moves the app's log and records away.
    pub fn take_logs(&mut self, id: &str) -> io::Result<()> {
        self.take_away("logs", id)
    }

    fn take_away(&mut self, kind: &str, id: &str) -> io::Result<()> {
        let from = match directory(AT_FDCWD, &self.data.join(kind)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            from => from?,
        };
        match self.move_here(from.as_fd(), id) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        File::from(from).sync_all()?;
        File::from(self.place.try_clone()?).sync_all()
    }

    /// Takes some entries out of the storage of the app `id` below `kind`, whose box has it mounted; true once it is empty.
    pub fn empty_some(&mut self, kind: &str, id: &str) -> io::Result<bool> {
        let storage = match directory(AT_FDCWD, &self.data.join(kind))
            .and_then(|apps| directory(apps, Path::new(id)))
        {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            storage => storage?,
        };
        let empty = self.some_of(storage.as_fd())?;
        if empty {
            File::from(storage).sync_all()?;
        }
        Ok(empty)
    }

    /// Deals with some of what is there.
    pub fn some(&mut self) -> io::Result<()> {
        let found = names(self.place.as_fd(), 1)?;
        let Some(name) = found.first() else {
            self.work = false;
            return Ok(());
        };
        match directory(&self.place, Path::new(&*name.to_string_lossy())) {
            Ok(inside) => {
                if self.some_of(inside.as_fd())? {
                    unlinkat(&self.place, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
                }
                Ok(())
            }
            Err(_) => Ok(unlinkat(&self.place, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?),
        }
    }

    /// Unlinks some entries of `inside`, and moves directories that are not empty here; true if nothing is left.
    fn some_of(&mut self, inside: BorrowedFd<'_>) -> io::Result<bool> {
        let names = names(inside, AT_ONCE)?;
        for name in &names {
            match unlinkat(inside, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                Err(Errno::EISDIR) => match unlinkat(inside, name.as_c_str(), UnlinkatFlags::RemoveDir) {
                    Err(Errno::ENOTEMPTY) => self.move_here(inside, name.as_c_str())?,
                    removed => removed?,
                },
                unlinked => unlinked?,
            }
        }
        Ok(names.len() < AT_ONCE)
    }

    fn move_here<P: ?Sized + nix::NixPath>(&mut self, from: BorrowedFd<'_>, name: &P) -> io::Result<()> {
        renameat(from, name, &self.place, self.next.to_string().as_str())?;
        self.next += 1;
        self.work = true;
        Ok(())
    }

    /// The ids that are being wiped.
    pub fn under_way(&self) -> io::Result<Vec<String>> {
        match fs::read_to_string(self.list()) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// Records which ids are being wiped, on disk for good.
    pub fn note<'a>(&self, ids: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let text: String = ids.flat_map(|id| [id, "\n"]).collect();
        whole::replace(&self.list(), text.as_bytes())
    }

    fn list(&self) -> PathBuf {
        self.data.join("gabion/wiping")
    }
}

/// Opens a directory; no component may be a symbolic link.
fn directory(base: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(base, path, how)?)
}

/// Some names in a directory, `.` and `..` left out.
fn names(directory: BorrowedFd<'_>, most: usize) -> io::Result<Vec<std::ffi::CString>> {
    // A descriptor of its own: the position in a directory belongs to who opened it.
    let mut dir = Dir::openat(
        directory,
        ".",
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    let mut found = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            if found.len() == most {
                break;
            }
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn data() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        for directory in ["apps/com.example.a", "apps/com.example.b", "logs/com.example.a", "gabion"] {
            fs::create_dir_all(data.path().join(directory)).unwrap();
        }
        data
    }

    fn finish(wiped: &mut Wiped) -> usize {
        (0..)
            .take_while(|_| {
                wiped.some().unwrap();
                wiped.has_work()
            })
            .count()
    }

    #[test]
    fn wipe_follows_no_link_and_leaves_others_alone() {
        let data = data();
        let at = |path: &str| data.path().join(path);
        fs::write(at("apps/com.example.b/kept"), "b").unwrap();
        symlink("../com.example.b", at("apps/com.example.a/up")).unwrap();
        symlink("/", at("apps/com.example.a/root")).unwrap();
        fs::write(at("logs/com.example.a/current"), "said").unwrap();
        let mut wiped = Wiped::open(data.path()).unwrap();
        wiped.take("com.example.a").unwrap();
        assert!(!at("apps/com.example.a").exists() && !at("logs/com.example.a").exists());
        finish(&mut wiped);
        assert_eq!(fs::read_dir(at("wiped")).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(at("apps/com.example.b/kept")).unwrap(), "b");
        wiped.take("com.example.a").unwrap();
    }

    #[test]
    fn wipe_of_deep_and_wide_storage_takes_many_turns_and_ends() {
        let data = data();
        let storage = data.path().join("apps/com.example.a");
        let deep: PathBuf = std::iter::repeat_n("d", 300).collect();
        fs::create_dir_all(storage.join(deep)).unwrap();
        for number in 0..1000 {
            fs::write(storage.join(number.to_string()), "x").unwrap();
        }
        let mut wiped = Wiped::open(data.path()).unwrap();
        assert!(!wiped.empty_some("apps", "com.example.a").unwrap());
        // A power cut: who comes next goes on, under fresh numbers.
        let mut wiped = Wiped::open(data.path()).unwrap();
        while !wiped.empty_some("apps", "com.example.a").unwrap() {}
        assert!(storage.exists() && fs::read_dir(&storage).unwrap().next().is_none());
        let mut wiped = Wiped::open(data.path()).unwrap();
        assert!(wiped.has_work());
        assert!(finish(&mut wiped) > 100);
        assert_eq!(fs::read_dir(data.path().join("wiped")).unwrap().count(), 0);
    }

    #[test]
    fn wipe_under_way_is_remembered() {
        let data = data();
        let wiped = Wiped::open(data.path()).unwrap();
        assert!(wiped.under_way().unwrap().is_empty());
        wiped.note(["com.example.a", "com.example.b"].into_iter()).unwrap();
        assert_eq!(wiped.under_way().unwrap(), ["com.example.a", "com.example.b"]);
        wiped.note(std::iter::empty()).unwrap();
        assert!(wiped.under_way().unwrap().is_empty());
    }
}
