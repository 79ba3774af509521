//! Packing this tree's apps: the demo's, and those of tests.

use crate::binaries;
use crate::paths::Tree;
use crate::stamp::sorted_entries;
use anyhow::{Context, Result};
pub use packing::app::root_to_image;
use packing::app::{self, Sources};
use std::path::{Path, PathBuf};

/// The demo's apps, packed: one directory each, called as the app.
pub fn demo(tree: &Tree) -> Result<Vec<PathBuf>> {
    let mut apps = Vec::new();
    for source in sorted_entries(&tree.demo()).context("reading image/demo")? {
        if source.join("app.list").exists() {
            let name = source.file_name().context("an app's directory has a name")?;
            let app = tree.out().join("demo").join(name);
            pack(tree, &source, &app).with_context(|| format!("packing {}", source.display()))?;
            apps.push(app);
        }
    }
    Ok(apps)
}

/// Packs the app of the directory `source` into the directory `app`, unless it is there already. A `cargo` line of its
/// recipe names a static program of this workspace.
pub fn pack(tree: &Tree, source: &Path, app: &Path) -> Result<()> {
    let program = |package: &str| Ok(binaries::build(tree, &[&[package]])?.path(package));
    app::pack(source, app, &Sources { debian: &tree.debian(), program: &program })
}
