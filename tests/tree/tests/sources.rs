//! The Rust sources of this tree: opening comments, where `unsafe` may be, and what runs as PID 1.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use tree_test::rust::{self, Line};
use tree_test::{pid1, tree};

fn read(path: &Path) -> Result<Vec<Line>> {
    Ok(rust::lines(&tree::read(path)?))
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
    let lines = pid1::lines()?;
    println!("lines of PID 1: {} written, of which {} are code", lines.written, lines.code);
    assert!(lines.written <= pid1::LINES_MAX, "{} lines", lines.written);
    Ok(())
}

#[test]
fn pid_1_has_no_panic_on_its_run_path() -> Result<()> {
    let wrong = pid1::panics()?;
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}
