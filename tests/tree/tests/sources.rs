//! The Rust sources of this tree: opening comments, where `unsafe` may be, and what runs as PID 1.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use tree_test::rust::{self, Line};
use tree_test::tree;

/// Most lines of ours that run as PID 1 (`docs/specification.md`): all that is written, comments included, in `init`
/// and in the modules of `sys` it is built with; blank lines and tests not.
const PID_1_LINES_MAX: usize = 2000;

fn read(path: &Path) -> Result<Vec<Line>> {
    Ok(rust::lines(&tree::read(path)?))
}

fn below(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = tree::root().join(folder);
    let found: Vec<PathBuf> =
        tree::files("rs")?.into_iter().filter(|path| path.starts_with(&folder)).collect();
    anyhow::ensure!(!found.is_empty(), "nothing in {}", folder.display());
    Ok(found)
}

/// The files of `sys` that PID 1 is built with.
fn sys_of_init() -> Result<Vec<PathBuf>> {
    let folder = tree::root().join("sys/src");
    let lib = folder.join("lib.rs");
    let modules = rust::unconditional_modules(&tree::read(&lib)?);
    let mut found = vec![lib];
    for module in modules {
        let file = folder.join(&module).with_extension("rs");
        found.push(if file.exists() { file } else { folder.join(&module).join("mod.rs") });
        found.extend(below(&format!("sys/src/{module}")).unwrap_or_default());
    }
    found.dedup();
    Ok(found)
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() -> Result<()> {
    let mut wrong = Vec::new();
    for path in tree::files("rs")? {
        let text = tree::read(&path)?;
        // "//! x" says nothing.
        if !text.starts_with("//! ") || text.lines().next().is_none_or(|line| line.len() < 20) {
            wrong.push(tree::shown(&path));
        }
    }
    assert!(wrong.is_empty(), "no opening //! in\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn unsafe_is_in_sys_alone() -> Result<()> {
    let mut wrong = Vec::new();
    for path in tree::files("rs")? {
        let lines = rust::unsafe_lines(&read(&path)?);
        if !lines.is_empty() && !may_be_unsafe(&path)? {
            wrong.push(format!("{}: {lines:?}", tree::shown(&path)));
        }
    }
    assert!(wrong.is_empty(), "unsafe in\n{}", wrong.join("\n"));
    Ok(())
}

/// In `sys`, and in a host tool whose Cargo.toml gives the lint up where everybody can read it.
fn may_be_unsafe(path: &Path) -> Result<bool> {
    let shown = tree::shown(path);
    if shown.starts_with("sys/") {
        return Ok(true);
    }
    let host_tool = shown.starts_with("tests/") || shown.starts_with("image/src/");
    Ok(host_tool && !inherits_lints(&tree::read(&manifest_of(path)?)?))
}

fn manifest_of(path: &Path) -> Result<PathBuf> {
    let folders = path.ancestors().skip(1).map(|folder| folder.join("Cargo.toml"));
    folders.into_iter().find(|manifest| manifest.exists()).context("a file outside of every crate")
}

fn inherits_lints(manifest: &str) -> bool {
    let lints = manifest.split("\n[lints]\n").nth(1).unwrap_or_default();
    lints.split("\n[").next().unwrap_or_default().lines().any(|line| line.trim() == "workspace = true")
}

#[test]
fn crates_on_the_device_forbid_unsafe() -> Result<()> {
    for path in tree::files("toml")?.into_iter().filter(|path| path.ends_with("Cargo.toml")) {
        let shown = tree::shown(&path);
        if shown == "Cargo.toml"
            || shown.starts_with("sys/")
            || shown.starts_with("tests/")
            || shown == "image/Cargo.toml"
        {
            continue;
        }
        assert!(inherits_lints(&tree::read(&path)?), "{shown} does not take the workspace's lints");
    }
    Ok(())
}

#[test]
fn pid_1_has_at_most_2000_lines() -> Result<()> {
    let (mut written, mut code) = (0, 0);
    for path in below("init/src")?.into_iter().chain(sys_of_init()?) {
        for line in read(&path)?.iter().filter(|line| !line.test && !line.blank) {
            written += 1;
            code += usize::from(!line.code.trim().is_empty());
        }
    }
    println!("lines of PID 1: {written} written, of which {code} are code");
    assert!(written <= PID_1_LINES_MAX, "{written} lines");
    Ok(())
}

#[test]
fn pid_1_has_no_panic_on_its_run_path() -> Result<()> {
    let mut wrong = Vec::new();
    for path in below("init/src")?.into_iter().chain(sys_of_init()?) {
        let lines = read(&path)?;
        let found = rust::panics(&lines);
        wrong.extend(found.iter().map(|(line, word)| format!("{}:{line}: {word}", tree::shown(&path))));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}
