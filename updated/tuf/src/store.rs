//! What a device keeps of a repository: a folder with the newest file of each role.
//!
//! Each file is written beside its place, brought to the disk, and moved there, so that a power cut leaves the old one or the
//! new one. In which order files are kept is the workflow's ([`crate::update`]): whatever a cut leaves is a state of it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use crate::update::Keep;

/// Files of roles that are kept; more roles than this are fetched each time that they are asked.
const FILES_MAX: usize = 68;
/// The name of what is being written.
const NEW: &str = "new";

/// A folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// This folder, which is made if it is not there.
    ///
    /// # Errors
    /// The disk.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// What is kept under this name; none if nothing is, or if it is longer than `most`.
    ///
    /// # Errors
    /// The disk.
    pub fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.folder.join(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        file.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Some(bytes).filter(|bytes| bytes.len() <= most))
    }

    /// Keeps a file; it is on the disk when this comes back.
    ///
    /// # Errors
    /// The disk. What was there still is.
    pub fn write(&self, keep: &Keep) -> io::Result<()> {
        let place = self.folder.join(&keep.name);
        if !place.exists() && self.names()?.len() >= FILES_MAX {
            return Ok(());
        }
        let new = self.folder.join(NEW);
        let mut file = File::create(&new)?;
        file.write_all(&keep.bytes)?;
        file.sync_all()?;
        fs::rename(&new, place)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes what is none of `names`.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_only(&self, names: impl Iterator<Item = String>) -> io::Result<()> {
        let worth: Vec<String> = names.collect();
        for name in self.names()?.into_iter().filter(|name| !worth.contains(name)) {
            fs::remove_file(self.folder.join(name))?;
        }
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name().into_string().ok();
            names.extend(name.filter(|name| name.ends_with(".json")));
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(name: &str, bytes: &[u8]) -> Keep {
        Keep { name: name.to_owned(), bytes: bytes.to_vec() }
    }

    #[test]
    fn what_is_kept_is_read_and_what_is_too_long_is_not() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path().join("a/b"))?;
        assert_eq!(store.read("root.json", 9)?, None);
        store.write(&keep("root.json", b"12"))?;
        store.write(&keep("root.json", b"345"))?;
        assert_eq!(store.read("root.json", 3)?.as_deref(), Some(&b"345"[..]));
        assert_eq!(store.read("root.json", 2)?, None);
        Ok(())
    }

    #[test]
    fn files_that_are_kept_have_a_bound() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        for number in 0..FILES_MAX + 9 {
            store.write(&keep(&format!("{number}.json"), b"1"))?;
        }
        assert_eq!(store.names()?.len(), FILES_MAX);
        store.write(&keep("0.json", b"2"))?;
        assert_eq!(store.read("0.json", 1)?.as_deref(), Some(&b"2"[..]));
        store.keep_only(["1.json".to_owned()].into_iter())?;
        assert_eq!(store.names()?, ["1.json"]);
        Ok(())
    }
}
