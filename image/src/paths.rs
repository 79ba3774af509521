//! Where things are: the source tree, what is built from it, and the caches that outlive it.
//!
//! Everything takes a [`Tree`] instead of asking the environment, so that two copies of the tree can be built by one
//! process and compared (see `reproducible`).

use anyhow::{Context, Result, anyhow, ensure};
use slots::layout::Layout;
use std::fs;
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
    /// Which release is made of it.
    pub release: Release,
    /// Which board that is for.
    pub layout: BoardLayout,
}

/// Where a board has its disks and partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoardLayout {
    /// What images for it are called besides; nothing for those of the tree's own board.
    name: Option<String>,
    /// The file, which becomes part of the root. Without one it is as on the reference board.
    pub(crate) text: Option<String>,
    /// What it says.
    pub says: Layout,
}

impl BoardLayout {
    fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let says = Layout::parse(&text).map_err(|why| anyhow!("{}: {why}", file.display()))?;
        Ok(Self { name: None, text: Some(text), says })
    }
}

/// What a release is called, and what a device that runs it does not go back behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Numbers with dots. In the root, in the kernel image, and in their names on a device's disk.
    pub version: String,
    /// Goes up by one with a release whose forerunners must not open a device's data any more, because something in them is
    /// known to be exploited. A device whose floor is higher than a release's does not run that release.
    pub floor: u32,
}

impl Release {
    /// The release of this source.
    pub fn of_this_tree() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), floor: 0 }
    }
}

impl Tree {
    /// The tree this program was compiled from. `CARGO_TARGET_DIR` and `GABION_CACHE` are respected.
    pub fn here() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the image crate lies directly below the workspace")?
            .to_path_buf();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let (target, cache) = (std::path::absolute(target)?, packing::debian::cache()?);
        let own = root.join("image/disk.layout");
        let layout = if own.exists() { BoardLayout::read(&own)? } else { BoardLayout::default() };
        Ok(Self { target, cache, root, release: Release::of_this_tree(), layout })
    }

    /// The same tree, of which a release for the board is made that `file` describes.
    ///
    /// # Errors
    /// It cannot be read; it says what can not be.
    pub fn of_board(self, file: &Path) -> Result<Self> {
        let name = file.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        Ok(Self { layout: BoardLayout { name, ..BoardLayout::read(file)? }, ..self })
    }

    /// The same tree, of which another release is made.
    ///
    /// # Errors
    /// The version is none that a boot loader can compare.
    pub fn of_release(self, release: Release) -> Result<Self> {
        let version = &release.version;
        ensure!(slots::kernel::is_version(version), "{version} is no version: numbers with dots are");
        Ok(Self { release, ..self })
    }

    /// Where an image is written, by its name in the release of this source for the tree's own board: another release, and one
    /// for another board, have names of their own for it.
    pub fn image(&self, name: &str) -> PathBuf {
        let Release { version, .. } = &self.release;
        let Some((stem, ending)) = name.split_once('.') else { return self.out().join(name) };
        let version = Some(version).filter(|version| **version != Release::of_this_tree().version);
        let further =
            [self.layout.name.as_ref(), version].into_iter().flatten().map(|name| format!("-{name}"));
        self.out().join(format!("{stem}{}.{ending}", further.collect::<String>()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_release_has_images_of_its_own() {
        let tree = Tree::here().unwrap();
        assert_eq!(tree.image("root.img"), tree.out().join("root.img"));
        let release = |version: &str| Release { version: version.to_owned(), floor: 0 };
        let other = tree.clone().of_release(release("9.1.0")).unwrap();
        assert_eq!(other.image("root.img"), tree.out().join("root-9.1.0.img"));
        assert!(tree.of_release(release("nine")).is_err());
    }

    #[test]
    fn another_board_has_images_of_its_own_and_one_that_can_not_be_is_refused_with_its_line() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("gate.layout");
        fs::write(&file, "disk /dev/mmcblk0\n").unwrap();
        let tree = Tree::here().unwrap().of_board(&file).unwrap();
        assert_eq!(tree.image("root.img"), tree.out().join("root-gate.img"));
        assert_eq!(tree.layout.says.esp_device(), "/dev/mmcblk0p1");
        fs::write(&file, "disk here\n").unwrap();
        let refused = tree.of_board(&file).unwrap_err().to_string();
        assert!(refused.contains("gate.layout: line 1: one of"), "{refused}");
    }
}
