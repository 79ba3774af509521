//! A tree as a directory.
//!
//! The directory is new, so nothing in it was put there by another; parents come before what is in them and are
//! directories, so no link is ever on the way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::error::Error;
use crate::flatten::{Node, Tree};

/// Writes `tree` to `root`, which must not be there.
///
/// # Errors
/// It is there; the disk's.
pub fn write(tree: &Tree, root: &Path) -> Result<(), Error> {
    fs::create_dir(root).map_err(|e| Error::io(format!("making {}", root.display()), e))?;
    for (names, node) in tree.nodes() {
        let path = names.iter().fold(root.to_owned(), |path, name| path.join(name));
        let made = match node {
            Node::Directory => fs::create_dir(&path),
            Node::Link(target) => symlink(target, &path),
            // Copied, not moved: another name may have the same contents.
            Node::File(number, executable) => fs::copy(tree.kept(*number), &path).and_then(|_| {
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, Permissions::from_mode(mode))
            }),
        };
        made.map_err(|e| Error::io(format!("writing {}", path.display()), e))?;
    }
    Ok(())
}
