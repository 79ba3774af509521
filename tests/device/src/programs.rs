//! Debian's programs as they are, with the work that `tests/programs/apps` or `tests/device/visitors` gives them.

use anyhow::{Context, Result};
use image::paths::Tree;
use image::{assemble, pack};
use std::path::PathBuf;

/// The packed app `id` of `folder`. It is made once; copying it is what each test pays for.
pub(crate) fn packed(tree: &Tree, folder: &str, id: &str) -> Result<PathBuf> {
    let _lock = assemble::lock(tree)?;
    let name = id.strip_prefix("org.test.").context("programs are called org.test.NAME")?;
    let app = tree.out().join(folder.replace('/', "-")).join(id);
    pack::pack(tree, &tree.root.join(folder).join(name), &app).with_context(|| format!("packing {name}"))?;
    Ok(app)
}
