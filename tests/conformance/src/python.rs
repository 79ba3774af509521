//! The Python package `varlink`, fetched once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// Also the name of the folder, so that another version is another folder.
const PACKAGE: &str = "python-varlink-31.0.0";

/// A Python that has the package.
///
/// # Errors
/// There is no Python, or the package could not be fetched; with what it said.
pub fn python() -> Result<Command> {
    let mut command = Command::new("python3");
    command.arg("-u").env("PYTHONPATH", folder()?);
    Ok(command)
}

/// Where the package is, a folder `varlink` in it.
///
/// # Errors
/// It could not be fetched.
pub fn folder() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| fetched().map_err(|error| format!("{error:#}")));
    folder.clone().map_err(anyhow::Error::msg)
}

/// The folder of files for Python here.
pub fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python")
}

fn fetched() -> Result<PathBuf> {
    let cache = match env::var_os("GABION_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache/gabion"),
    };
    let folder = cache.join(PACKAGE);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache)?;
    // Whole or not at all: another run may be doing the same.
    let fresh = tempfile::tempdir_in(&cache)?;
    let target = fresh.path().join("package");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target"]).arg(&target);
    pip.arg("--requirement").arg(scripts().join("requirements.txt"));
    let output = pip.output().context("python3")?;
    ensure!(output.status.success(), "pip: {}", String::from_utf8_lossy(&output.stderr));
    if let Err(error) = fs::rename(&target, &folder) {
        ensure!(folder.is_dir(), "{}: {error}", folder.display());
    }
    Ok(folder)
}
