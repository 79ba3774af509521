//! The app's own storage, `/data` in a box that has `[resources] storage`: it survives updates and is bounded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NOFOLLOW;
use nix::sys::statvfs::statvfs;

/// Where it is.
///
/// ```
/// let settings = gabion::storage::path().join("settings.toml");
/// # assert!(settings.ends_with("settings.toml"));
/// ```
pub fn path() -> PathBuf {
    crate::place("GABION_DATA", "/data")
}

/// How large it may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What the manifest says, bytes.
    pub total_bytes: u64,
    /// What is left of it, bytes.
    pub free_bytes: u64,
}

/// How large it may become, and how much of that is free.
///
/// ```no_run
/// if gabion::storage::space()?.free_bytes < 4096 {
///     eprintln!("the oldest has to go");
/// }
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// The manifest asks for no storage, or those of `statvfs(2)`.
pub fn space() -> io::Result<Space> {
    let space = statvfs(&path())?;
    Ok(Space {
        total_bytes: space.blocks() * space.fragment_size(),
        free_bytes: space.blocks_available() * space.fragment_size(),
    })
}

/// Writes a file, its name relative to the storage, so that after a loss of power it is the old or the new one, whole.
///
/// ```no_run
/// gabion::storage::replace("settings", b"21.5\n")?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// There is no room; the old one is whole then.
pub fn replace(name: &str, content: &[u8]) -> io::Result<()> {
    let (to, fresh) = (path().join(name), path().join(format!("{name}.new")));
    write(OpenOptions::new().write(true).truncate(true), &fresh, content)?;
    fs::rename(&fresh, &to)?;
    sync_folder(&to)
}

/// Adds to the end of a file, and is back when it is on the disk.
///
/// ```no_run
/// gabion::storage::append("history", b"1700000000 20.5\n")?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// There is no room, in which case a part of it may have been added.
pub fn append(name: &str, content: &[u8]) -> io::Result<()> {
    let to = path().join(name);
    let is_new = fs::symlink_metadata(&to).is_err();
    write(OpenOptions::new().append(true), &to, content)?;
    if is_new { sync_folder(&to) } else { Ok(()) }
}

fn write(options: &mut OpenOptions, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = options.create(true).mode(0o600).custom_flags(O_NOFOLLOW).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A name in a folder is on the disk once the folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
