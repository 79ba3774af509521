//! A directory for what is needed for a moment.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One that only we can look into, gone when this is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let template = std::env::temp_dir().join("gabion-XXXXXX");
        nix::unistd::mkdtemp(&template).map(Self).with_context(|| format!("making {}", template.display()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in the place for what may be lost.
        let _ = fs::remove_dir_all(&self.0);
    }
}
