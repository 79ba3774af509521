//! Where things are.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the tree.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The names of the book's pages below the tree's root, the README first.
///
/// # Errors
/// A folder can not be read.
pub fn pages() -> Result<Vec<String>> {
    let mut found = below(&root(), "docs")?;
    found.retain(|name| name.ends_with(".md"));
    found.insert(0, "README.md".to_owned());
    Ok(found)
}

/// The files below a folder of the tree, by their path below `root`, in order.
///
/// # Errors
/// A folder can not be read.
pub fn below(root: &Path, folder: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(root.join(folder)).with_context(|| folder.to_owned())?;
    for entry in entries {
        let entry = entry?;
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => found.extend(below(root, &name)?),
            false => found.push(name),
        }
    }
    found.sort();
    Ok(found)
}
