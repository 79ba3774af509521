//! What runs as PID 1: its lines, its crates, and what it must not contain. For the tests and for the bench.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::rust::{self, Line};
use crate::{graph, tree};

/// Most lines of ours that run as PID 1 (`docs/specification.md`): all that is written, comments included, in `init`
/// and in the modules of `sys` it is built with; blank lines and tests not.
pub const LINES_MAX: usize = 2000;
/// Most external crates in PID 1 (`docs/specification.md`).
pub const CRATES_MAX: usize = 6;

/// Lines of PID 1.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// What counts against [`LINES_MAX`].
    pub written: usize,
    /// Those of them that are more than a comment.
    pub code: usize,
}

/// Counts the lines of PID 1.
///
/// # Errors
/// A file that cannot be read.
pub fn lines() -> Result<Lines> {
    let mut found = Lines { written: 0, code: 0 };
    for path in files()? {
        for line in read(&path)?.iter().filter(|line| !line.test && !line.blank) {
            found.written += 1;
            found.code += usize::from(!line.code.trim().is_empty());
        }
    }
    Ok(found)
}

/// Every way to panic on its run path: file, line, word.
///
/// # Errors
/// A file that cannot be read.
pub fn panics() -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for path in files()? {
        let found = rust::panics(&read(&path)?);
        wrong.extend(found.iter().map(|(line, word)| format!("{}:{line}: {word}", tree::shown(&path))));
    }
    Ok(wrong)
}

/// The external crates of its closure, procedural macros and build-time ones not counted.
///
/// # Errors
/// Those of running cargo; a tree that is not init's.
pub fn external_crates() -> Result<BTreeSet<String>> {
    let tree = tree::cargo(&["tree", "-p", "gabion-init", "-e", "normal,no-proc-macro", "--prefix", "none"])?;
    ensure!(tree.contains("gabion-sys"), "not init's tree:\n{tree}");
    Ok(graph::external_crates(&tree))
}

fn files() -> Result<Vec<PathBuf>> {
    Ok(below("init/src")?.into_iter().chain(sys_of_init()?).collect())
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

fn below(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = tree::root().join(folder);
    let found: Vec<PathBuf> =
        tree::files("rs")?.into_iter().filter(|path| path.starts_with(&folder)).collect();
    ensure!(!found.is_empty(), "nothing in {}", folder.display());
    Ok(found)
}

fn read(path: &std::path::Path) -> Result<Vec<Line>> {
    Ok(rust::lines(&tree::read(path)?))
}
