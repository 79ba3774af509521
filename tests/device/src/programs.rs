//! Debian's programs as they are, with the work that `tests/programs/apps` gives them.

use anyhow::{Context, Result};
use image::paths::Tree;
use image::{assemble, pack};
use std::path::PathBuf;

/// The packed app `id`. It is made once; copying it is what each test pays for.
pub(crate) fn packed(tree: &Tree, id: &str) -> Result<PathBuf> {
    let _lock = assemble::lock(tree)?;
    let name = id.strip_prefix("org.test.").context("programs are called org.test.NAME")?;
    let app = tree.out().join("programs").join(id);
    pack::pack(tree, &tree.root.join("tests/programs/apps").join(name), &app)
        .with_context(|| format!("packing {name}"))?;
    Ok(app)
}
