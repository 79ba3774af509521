//! An app as its developer has it: a manifest and a root directory.

use std::fs;
use std::path::{Path, PathBuf};

use policy::{Board, Manifest};

use crate::error::Error;

/// An app to be run.
#[derive(Debug, Clone)]
pub struct App {
    /// What it asks for.
    pub manifest: Manifest,
    /// Its root directory.
    pub root: PathBuf,
    /// Arguments beyond those of the manifest, for this time.
    pub arguments: Vec<String>,
}

impl App {
    /// The app in the directory `dir`: `manifest.toml` and `root/`, as in the store.
    ///
    /// # Errors
    /// What is missing, and what is wrong with the manifest.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let file = dir.join("manifest.toml");
        let text = fs::read_to_string(&file).map_err(|e| Error::App(file, e))?;
        Self::with(&text, &dir.join("root"))
    }

    /// An app of this manifest and root.
    ///
    /// # Errors
    /// As [`App::open`].
    pub fn with(manifest: &str, root: &Path) -> Result<Self, Error> {
        let manifest = policy::check(manifest, &Board::default());
        let manifest =
            manifest.map_err(|all| Error::Manifest(all.iter().map(ToString::to_string).collect()))?;
        if !root.is_dir() {
            return Err(Error::NoRoot(root.to_owned()));
        }
        // The builder follows no link on the way to it.
        let root = fs::canonicalize(root).map_err(|e| Error::App(root.to_owned(), e))?;
        Ok(Self { manifest, root, arguments: Vec::new() })
    }
}
