//! Kernel and root image, MB (10^6 bytes); lines and external crates of what runs as PID 1.
//!
//! Counted by the same code that refuses a tree which is over the limits (`tests/tree`).

use std::fs;
use std::path::Path;

use anyhow::Result;
use image::assemble::{self, Audience};
use image::paths::Tree;
use tree_test::pid1;

use crate::stat::bar;

/// Measures and reports.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::here()?;
    println!("size: kernel, root image, PID 1");
    let (kernel, root) = assemble::system(&tree, Audience::Production)?;
    let mb = |path: &Path| Ok::<f64, std::io::Error>(fs::metadata(path)?.len() as f64 / 1e6);
    bar("kernel_mb", mb(&kernel.bzimage)?, 4.5);
    bar("root_image_mb", mb(&root.image)?, 8.0);
    bar("pid1_lines", pid1::lines()?.written as f64, pid1::LINES_MAX as f64);
    let crates = pid1::external_crates()?;
    println!("  {}", crates.iter().cloned().collect::<Vec<_>>().join(", "));
    bar("pid1_external_crates", crates.len() as f64, pid1::CRATES_MAX as f64);
    bar("pid1_panics", pid1::panics()?.len() as f64, 0.0);
    Ok(())
}
