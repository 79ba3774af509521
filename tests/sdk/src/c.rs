//! The C library and programs on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What a program that reads behind an end, or leaks, is built with.
const SANITIZERS: [&str; 3] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"];
const WARNINGS: [&str; 6] = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// The library's folder.
pub fn library() -> PathBuf {
    crate::tree("sdk/c")
}

/// Builds the program of one file with the library's sources and the sanitizers, as `to`.
///
/// # Errors
/// What the compiler says.
pub fn program(source: &Path, to: &Path) -> Result<()> {
    let sources = std::fs::read_dir(library().join("src"))?.map(|entry| Ok(entry?.path()));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let is_c = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "c");
    let mut compiler = Command::new("cc");
    compiler.args(WARNINGS).args(SANITIZERS).arg("-I").arg(library()).arg("-o").arg(to).arg(source);
    done(compiler.args(sources.iter().filter(is_c))).map(drop)
}

/// Runs a command to its end; gives what it said.
///
/// # Errors
/// It failed, with what it said.
pub fn done(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(said)
}
