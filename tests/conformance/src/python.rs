//! Python packages that others wrote, each set fetched once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

/// The package `varlink`. The name of the folder, so that another version is another folder, and the list.
const VARLINK: (&str, &str) = ("python-varlink-31.0.0", include_str!("../python/requirements.txt"));
/// The package `jwt`, with what it checks signatures by.
const JWT: (&str, &str) = ("python-jwt-2.15.1", include_str!("../python/jwt.txt"));
/// The package `tuf`, and what the public conformance suite for its clients runs on.
const TUF: (&str, &str) = ("python-tuf-7.0.0", include_str!("../python/tuf.txt"));

/// The package `moto`, a server of what Amazon's do.
const S3: (&str, &str) = ("python-moto-5.2.5", include_str!("../python/s3.txt"));
/// The package `schemathesis`, with all it needs.
const SCHEMATHESIS: (&str, &str) = ("python-schemathesis-4.32.5", include_str!("../python/schemathesis.txt"));

/// A Python that has the package `varlink`.
///
/// # Errors
/// There is no Python, or the package could not be fetched; with what it said.
pub fn python() -> Result<Command> {
    Ok(with(&folder()?))
}

/// A Python that has the package `jwt`.
///
/// # Errors
/// There is no Python, or the package could not be fetched; with what it said.
pub fn with_jwt() -> Result<Command> {
    Ok(with(&fetched(JWT)?))
}

/// A Python that has the package `moto`, which speaks S3.
///
/// # Errors
/// There is no Python, or the package could not be fetched; with what it said.
pub fn with_s3() -> Result<Command> {
    Ok(with(&fetched(S3)?))
}

/// A Python that has the package `tuf`, and `pytest`.
///
/// # Errors
/// There is no Python, or a package could not be fetched; with what it said.
pub fn with_tuf() -> Result<Command> {
    Ok(with(&fetched(TUF)?))
}

/// A Python that has the package `schemathesis`.
///
/// # Errors
/// There is no Python, or the package could not be fetched; with what it said.
pub fn with_schemathesis() -> Result<Command> {
    Ok(with(&fetched(SCHEMATHESIS)?))
}

fn with(folder: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg("-u").env("PYTHONPATH", folder);
    command
}

/// Where the package `varlink` is, a folder of that name in it.
///
/// # Errors
/// It could not be fetched.
pub fn folder() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| fetched(VARLINK).map_err(|error| format!("{error:#}")));
    folder.clone().map_err(anyhow::Error::msg)
}

/// The folder of files for Python here.
pub fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python")
}

fn fetched((package, list): (&str, &str)) -> Result<PathBuf> {
    let cache = match env::var_os("GABION_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache/gabion"),
    };
    let folder = cache.join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache)?;
    // Whole or not at all: another run may be doing the same.
    let fresh = tempfile::tempdir_in(&cache)?;
    let target = fresh.path().join("package");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target"]).arg(&target);
    let requirements = fresh.path().join("requirements.txt");
    fs::write(&requirements, list)?;
    pip.arg("--requirement").arg(requirements);
    let output = pip.output().context("python3")?;
    ensure!(output.status.success(), "pip: {}", String::from_utf8_lossy(&output.stderr));
    if let Err(error) = fs::rename(&target, &folder) {
        ensure!(folder.is_dir(), "{}: {error}", folder.display());
    }
    Ok(folder)
}
