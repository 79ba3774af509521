//! Where things are: the source tree, what is built from it, and the caches that outlive it.
//!
//! Everything takes a [`Tree`] instead of asking the environment, so that two copies of the tree can be built by one
//! process and compared (see `reproducible`).

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A source tree and the places that belong to it.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The directory that holds the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target directory; ours is `image/` in it.
    pub target: PathBuf,
    /// What is expensive and independent of the tree: kernels by content, Debian packages by name.
    pub cache: PathBuf,
}

impl Tree {
    /// The tree this program was compiled from. `CARGO_TARGET_DIR` and `GABION_CACHE` are respected.
    pub fn here() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the image crate lies directly below the workspace")?
            .to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let cache = match std::env::var_os("GABION_CACHE") {
            Some(cache) => PathBuf::from(cache),
            None => {
                let home = std::env::var_os("HOME").context("HOME is not set; set it or GABION_CACHE")?;
                PathBuf::from(home).join(".cache/gabion")
            }
        };
        Ok(Self { target: std::path::absolute(target)?, cache: std::path::absolute(cache)?, root })
    }

    /// Where images are written.
    pub fn out(&self) -> PathBuf {
        self.target.join("image")
    }

    /// Where Debian's packages are kept.
    pub fn debian(&self) -> PathBuf {
        packing::debian::place(&self.cache)
    }

    /// The manifests of the system's own boxes.
    pub fn system(&self) -> PathBuf {
        self.root.join("image/system")
    }

    /// The manifests of the boxes that developer images have besides.
    pub fn system_developer(&self) -> PathBuf {
        self.root.join("image/system-developer")
    }

    /// The demo's apps, one directory each.
    pub fn demo(&self) -> PathBuf {
        self.root.join("image/demo")
    }
}
