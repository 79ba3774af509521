//! A client that others wrote: Debian's Python with the package `varlink` and the script of `tests/device/foreign`.

use anyhow::Result;
use image::paths::Tree;
use image::stamp::sorted_entries;
use image::{assemble, pack, stage};
use std::path::PathBuf;

/// The packed app, with its root as a directory.
pub(crate) fn packed(tree: &Tree) -> Result<PathBuf> {
    let _lock = assemble::lock(tree)?;
    let source = tree.root.join("tests/device/foreign");
    let app = tree.out().join("foreign/org.test.foreign");
    pack::pack(tree, &source, &app)?;
    let to = app.join("root/usr/lib/python3/dist-packages/varlink");
    stage::fresh(&to)?;
    let package = conformance::python::folder()?.join("varlink");
    // Its own tests, which are directories, stay away.
    for file in sorted_entries(&package)?.into_iter().filter(|entry| entry.is_file()) {
        stage::copy(&file, &to.join(file.file_name().unwrap_or_default()))?;
    }
    Ok(app)
}
