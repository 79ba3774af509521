//! Part `size`: kernel and root image, MB (10^6 bytes); lines and external crates of what runs as PID 1.
//!
//! Lines are ours that are neither blank nor comment, tests left out: all of `init`, and of `sys` all that is compiled into
//! it, used or not. Crates are those of the normal dependency tree, procedural macros not counted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use image::assemble;
use image::command::{output, tool};
use image::paths::Tree;

use crate::stat::bar;

/// Measures and reports.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::here()?;
    println!("size: kernel, root image, PID 1");
    let (kernel, root) = assemble::system(&tree)?;
    let mb = |path: &Path| Ok::<f64, std::io::Error>(fs::metadata(path)?.len() as f64 / 1e6);
    bar("kernel_mb", mb(&kernel.bzimage)?, 4.5);
    bar("root_image_mb", mb(&root.image)?, 8.0);
    let (init, sys) =
        (lines(&tree.root.join("init/src"), &[])?, lines(&tree.root.join("sys/src"), &builder(&tree)?)?);
    println!("  init {init} lines, what it carries of sys {sys}");
    bar("pid1_lines", (init + sys) as f64, 2000.0);
    let crates = external_crates(&tree)?;
    println!("  {}", crates.iter().cloned().collect::<Vec<_>>().join(", "));
    bar("pid1_external_crates", crates.len() as f64, 6.0);
    Ok(())
}

/// The modules of `sys` behind the feature `builder`, which `init` is built without.
fn builder(tree: &Tree) -> Result<Vec<String>> {
    let text = fs::read_to_string(tree.root.join("sys/src/lib.rs"))?;
    let gated = text.split("#[cfg(feature = \"builder\")]").skip(1);
    let name = |part: &str| part.split("mod ").nth(1)?.split(';').next().map(str::to_owned);
    Ok(gated.filter_map(name).collect())
}

fn lines(dir: &Path, without: &[String]) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().context("file name")?.to_string_lossy().into_owned();
        if path.is_file() && !without.contains(&stem) {
            let text = fs::read_to_string(&path)?;
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            count += code.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")).count();
        }
    }
    Ok(count)
}

fn external_crates(tree: &Tree) -> Result<BTreeSet<String>> {
    let mut cargo = tool("cargo");
    cargo.current_dir(&tree.root).args(["tree", "-p", "gabion-init", "-e", "normal", "--prefix", "none"]);
    let text = output(&mut cargo)?;
    let names = text.lines().filter(|l| !l.contains("(proc-macro)")).filter_map(|l| l.split(' ').next());
    Ok(names.filter(|n| !n.is_empty() && !n.starts_with("gabion-")).map(str::to_owned).collect())
}
