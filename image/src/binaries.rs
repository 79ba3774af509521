//! The device's own programs: static, for the toolchain's own GNU target, and the same bytes wherever they are built.
//!
//! `init` is built in an invocation of its own: Cargo would otherwise give it the features that `sandboxd` asks of
//! the shared crates, and PID 1 would carry code it must not need.

use crate::command::{cargo, visibly};
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
    weak: Option<PathBuf>,
}

/// Names of daemons that are one program, which goes by its name.
const DAEMONS: [&str; 4] = ["attestd", "door", "netd", "updated"];
/// The programs of which tests have a weak build.
const WEAK: [&str; 2] = ["init", "sandboxd"];

impl Binaries {
    /// The program called `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        match &self.weak {
            Some(weak) if WEAK.contains(&name) => weak.join(name),
            _ if DAEMONS.contains(&name) => self.directory.join("daemons"),
            _ => self.directory.join(name),
        }
    }
}

/// Builds the packages named, each set in its own invocation of Cargo.
pub fn build(tree: &Tree, sets: &[&[&str]]) -> Result<Binaries> {
    let directory = build_as(tree, sets, "release", &[])?;
    Ok(Binaries { directory, weak: None })
}

/// Builds them by a profile and with features; gives the directory they are in.
fn build_as(tree: &Tree, sets: &[&[&str]], profile: &str, features: &[&str]) -> Result<PathBuf> {
    let target = std::env::var("GABION_TARGET").unwrap_or_else(|_| TARGET.to_owned());
    for packages in sets {
        crate::say("build", format_args!("{} ({target}, static)", packages.join(", ")));
        let mut cargo = cargo();
        cargo
            .current_dir(&tree.root)
            .args(["build", "--quiet", "--profile", profile, "--target", &target])
            .args(features)
            .env("CARGO_TARGET_DIR", &tree.target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags(tree)?)
            .env_remove("RUSTFLAGS");
        for package in *packages {
            cargo.args(["-p", package]);
        }
        visibly(&mut cargo)?;
    }
    Ok(tree.target.join(target).join(profile))
}

/// The programs of every root image.
pub fn system(tree: &Tree) -> Result<Binaries> {
    build(tree, &[&["gabion-init"], &["gabion-sandboxd", "gabion-appsd", "gabion-busd", "gabion-daemons"]])
}

/// The programs of developer images: built apart, so that the others are the same bytes as in any image.
pub fn developer(tree: &Tree) -> Result<Binaries> {
    system(tree)?;
    build(tree, &[&["gabion-devport"]])
}

/// The programs of every root image, but PID 1 and `sandboxd` in the build that can leave layers of a box out. For tests;
/// no image that ships is made of them.
pub fn weak(tree: &Tree) -> Result<Binaries> {
    let sets: [&[&str]; 2] = [&["gabion-init"], &["gabion-sandboxd"]];
    let weak = build_as(tree, &sets, "weak", &["--features", "weak"])?;
    Ok(Binaries { weak: Some(weak), ..system(tree)? })
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
