//! Two root images that differ by one rebuilt daemon: this tree's, and that of a copy with a change in `netd`.

use anyhow::{Result, ensure};
use image::assemble::{self, Audience};
use image::paths::Tree;
use image::reproducible;
use std::fs;
use std::path::PathBuf;

/// The source that changes, and how: two messages are longer, and one says more.
const SOURCE: &str = "netd/src/link/mod.rs";
const CHANGES: [(&str, &str); 2] = [
    (
        r#"eprintln!("net: {}: {e}", link.name);"#,
        r#"eprintln!("net: link {} (index {}) was refused by the kernel: {e}", link.name, link.index);"#,
    ),
    (
        r#"eprintln!("net: {} {}", link.name, if link.up { "up" } else { "down" });"#,
        r#"let others = now.links.iter().filter(|other| !other.loopback && other.up).count();
        eprintln!("net: {} is {}, {others} links are up", link.name, if link.up { "up" } else { "down" });"#,
    ),
];

/// The images, the folders they were made of, and a place for files.
pub(super) struct Pair {
    pub(super) old: PathBuf,
    pub(super) new: PathBuf,
    pub(super) old_root: PathBuf,
    pub(super) new_root: PathBuf,
    pub(super) scratch: PathBuf,
}

pub(super) fn build(tree: &Tree) -> Result<Pair> {
    let (_, old) = assemble::system(tree, Audience::Production)?;
    let place = tree.target.join("bench-update");
    let copy = reproducible::copy(tree, &place)?;
    let mut text = fs::read_to_string(copy.root.join(SOURCE))?;
    for (from, to) in CHANGES {
        ensure!(text.contains(from), "{SOURCE} has no more what this changes: {from}");
        text = text.replace(from, to);
    }
    fs::write(copy.root.join(SOURCE), text)?;
    let (_, new) = assemble::system(&copy, Audience::Production)?;
    let scratch = place.join("scratch");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch)?;
    let (old_root, new_root) = (old.image.with_extension("staged"), new.image.with_extension("staged"));
    Ok(Pair { old: old.image, new: new.image, old_root, new_root, scratch })
}
