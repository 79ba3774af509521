//! The device's own programs: static, for the toolchain's own GNU target, and the same bytes wherever they are built.
//!
//! `init` is built in an invocation of its own: Cargo would otherwise give it the features that `sandboxd` asks of
//! the shared crates, and PID 1 would carry code it must not need.

use crate::command::{tool, visibly};
use crate::layout;
use crate::paths::Tree;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The target the device's programs are built for, unless `GABION_TARGET` names another.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// The program called `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Builds the packages named, each set in its own invocation of Cargo.
pub fn build(tree: &Tree, sets: &[&[&str]]) -> Result<Binaries> {
    let target = std::env::var("GABION_TARGET").unwrap_or_else(|_| TARGET.to_owned());
    for packages in sets {
        crate::say("build", format_args!("{} ({target}, static)", packages.join(", ")));
        let mut cargo = tool("cargo");
        cargo
            .current_dir(&tree.root)
            .args(["build", "--quiet", "--release", "--target", &target])
            .env("CARGO_TARGET_DIR", &tree.target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags(tree)?)
            .env_remove("RUSTFLAGS");
        for package in *packages {
            cargo.args(["-p", package]);
        }
        visibly(&mut cargo)?;
    }
    Ok(Binaries { directory: tree.target.join(target).join("release") })
}

/// The programs of every root image.
pub fn system(tree: &Tree) -> Result<Binaries> {
    build(tree, &[&["gabion-init"], &["gabion-sandboxd", "gabion-appsd", "gabion-busd"]])
}

/// The programs of developer images: built apart, so that the others are the same bytes as in any image.
pub fn developer(tree: &Tree) -> Result<Binaries> {
    system(tree)?;
    build(tree, &[&["gabion-devport"]])
}

/// Compiler flags; no path of this machine may end up in a binary.
fn flags(tree: &Tree) -> Result<String> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => Path::new(&std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    // Later prefixes win, so the target directory comes after the tree it may lie in.
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        remap(&cargo_home, "/cargo"),
        remap(&tree.root, "/gabion"),
        remap(&tree.target, "/target"),
    ];
    flags.extend(layout::flags(tree)?);
    Ok(flags.join("\u{1f}"))
}
