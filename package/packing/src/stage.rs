//! Laying out a directory that will become a file system.
//!
//! What holds afterwards, whatever the umask and whoever made the source: directories are 0755, files 0644 or 0755,
//! and there is nothing setuid, no device node, no socket. Owners and times are set by `mkfs.erofs`.

use crate::check::Unfit;
use crate::sha256;
use crate::stamp::sorted_entries;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The directories that every box has in its root, for what is mounted over them at launch.
pub const BOX_DIRECTORIES: [&str; 5] = ["data", "dev", "proc", "run", "tmp"];

/// Makes `directory` new and empty.
pub fn fresh(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("removing {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))
}

/// Makes the empty directories `names` below `root`.
pub fn directories(root: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let directory = root.join(name);
        fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    }
    Ok(())
}

/// Copies a file, a link, or a directory with all below it, to exactly `to`; parents are made.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let about = fs::symlink_metadata(from).with_context(|| format!("reading {}", from.display()))?;
    refuse_privileged(from, &about)?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    if about.is_dir() {
        fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
        for entry in sorted_entries(from)? {
            copy(&entry, &to.join(entry.file_name().unwrap_or_default()))?;
        }
        return Ok(());
    }
    if to.symlink_metadata().is_ok() {
        fs::remove_file(to).with_context(|| format!("replacing {}", to.display()))?;
    }
    let copied = if about.is_symlink() {
        fs::read_link(from).and_then(|target| symlink(target, to))
    } else {
        fs::copy(from, to).map(|_| ())
    };
    copied.with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

/// Writes `text` to the file `to`; parents are made.
pub fn write(to: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    fs::write(to, text).with_context(|| format!("writing {}", to.display()))
}

/// Gives everything below `root` the mode it has in an image.
pub fn normalise(root: &Path) -> Result<()> {
    let about = fs::symlink_metadata(root).with_context(|| format!("reading {}", root.display()))?;
    refuse_privileged(root, &about)?;
    if about.is_symlink() {
        return Ok(());
    }
    let executable = about.is_dir() || about.permissions().mode() & 0o100 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(root, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", root.display()))?;
    if about.is_dir() {
        for entry in sorted_entries(root)? {
            normalise(&entry)?;
        }
    }
    Ok(())
}

/// Makes files of the same bytes and mode below `root` one file of several names: one in the image, and in a device's memory.
pub fn share(root: &Path) -> Result<()> {
    let mut known = HashMap::new();
    share_with(root, &mut known)
}

/// By length, mode and SHA-256.
type Known = HashMap<(u64, u32, [u8; 32]), PathBuf>;

fn share_with(path: &Path, known: &mut Known) -> Result<()> {
    let about = fs::symlink_metadata(path).with_context(|| format!("reading {}", path.display()))?;
    if about.is_dir() {
        for entry in sorted_entries(path)? {
            share_with(&entry, known)?;
        }
    } else if about.is_file() && about.len() > 0 {
        let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        match known.entry((about.len(), about.permissions().mode(), sha256(&[&content]))) {
            Entry::Vacant(free) => _ = free.insert(path.to_owned()),
            Entry::Occupied(first) => {
                fs::remove_file(path)
                    .and_then(|()| fs::hard_link(first.get(), path))
                    .with_context(|| format!("linking {} to {}", path.display(), first.get().display()))?
            }
        }
    }
    Ok(())
}

/// An image never holds a way to more privilege than the launcher gives.
fn refuse_privileged(path: &Path, about: &fs::Metadata) -> Result<()> {
    let kind = about.file_type();
    if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
        let what = "is a device node, socket or pipe\n  help: leave it out; an app's root has only directories, files and links";
        return Err(Unfit(format!("{} {what}", path.display())).into());
    }
    if kind.is_file() && about.permissions().mode() & 0o6000 != 0 {
        let what = "is setuid or setgid\n  help: remove the bit (chmod ug-s), or the file";
        return Err(Unfit(format!("{} {what}", path.display())).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setuid_file_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("su");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
        let error = copy(&file, &place.path().join("copy")).unwrap_err().to_string();
        assert!(error.contains("su is setuid"), "{error}");
    }

    #[test]
    fn files_of_the_same_bytes_and_mode_become_one() {
        use std::os::unix::fs::MetadataExt;
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for (name, text) in [("a/one", "same"), ("b/two", "same"), ("c", "else"), ("d", "same"), ("e", "")] {
            write(&at(name), text).unwrap();
        }
        fs::set_permissions(at("d"), fs::Permissions::from_mode(0o755)).unwrap();
        share(place.path()).unwrap();
        let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
        assert_eq!(inode("a/one"), inode("b/two"));
        assert_ne!(inode("a/one"), inode("d"));
        assert_eq!(fs::read_to_string(at("c")).unwrap(), "else");
    }

    #[test]
    fn modes_do_not_depend_on_the_source() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("tool");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).unwrap();
        normalise(place.path()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o755);
    }
}
