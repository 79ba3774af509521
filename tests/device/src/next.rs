//! Another release for a device: what an update would bring.

use crate::bench::Parts;
use crate::chain;
use crate::device::Device;
use crate::images;
use anyhow::{Context, Result};
use image::assemble::Bootable;
use image::chain::disk::{self, System};
use image::chain::keys::Keys;
use image::paths::Release;
use image::verity::BLOCK;
use std::fs;
use std::path::{Path, PathBuf};

impl Device {
    /// The root that it was made with and its hash tree, and how long the first is.
    ///
    /// # Errors
    /// It can not be read.
    pub fn root(&self) -> Result<(Vec<u8>, usize)> {
        let root = &self.parts.bootable.root;
        Ok((fs::read(&root.image)?, usize::try_from(root.data_blocks * BLOCK)?))
    }

    /// The release that it left its maker with.
    ///
    /// # Errors
    /// It is on no board.
    pub fn release(&self) -> Result<(Bootable, System)> {
        Ok((self.parts.bootable.clone(), self.system()?))
    }

    /// Makes a release with this version and floor, for devices with the same store as this one: its root, and what was
    /// signed of it.
    ///
    /// # Errors
    /// It can not be built.
    pub fn next_release(&self, version: &str, floor: u32) -> Result<(Bootable, System)> {
        release(&self.parts, Release { version: version.to_owned(), floor })
    }
}

/// What `gabion image add` is told of a system of the product `meter`.
pub(crate) fn words(bootable: &Bootable, system: &System, floor: u32) -> Result<[String; 10]> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is a text");
    let (root, kernel) = (text(&bootable.root.image)?, text(&system.kernel)?);
    let [product, release, of_root, of_kernel, of_floor] =
        ["--product", "--release", "--root", "--kernel", "--floor"].map(str::to_owned);
    let (meter, version) = ("meter".to_owned(), system.release.clone());
    Ok([product, meter, release, version, of_root, root, of_kernel, kernel, of_floor, floor.to_string()])
}

fn release(parts: &Parts, release: Release) -> Result<(Bootable, System)> {
    let to = parts.place.path().join(format!("release-{}.img", release.version));
    let tree = parts.bench.tree_of(release)?;
    let (kernel, root) = images::system(&tree, parts.bench.wanted)?;
    let bootable = Bootable { kernel, root, ..parts.bootable.clone() };
    let system = disk::build(&tree, &bootable, &Keys::of(&tree)?, &chain::words(parts), &to)?;
    Ok((bootable, system))
}

/// The disk with the release that the stand-in for the update daemon installs (`updater.rs` has its form).
pub(crate) fn payload(parts: &Parts) -> Result<Option<PathBuf>> {
    let Some(next) = parts.bench.next.clone() else { return Ok(None) };
    let file = parts.place.path().join("payload.img");
    if !file.exists() {
        let floor = next.floor;
        let (bootable, system) = release(parts, next)?;
        let (kernel, root) = (fs::read(&system.kernel)?, fs::read(&bootable.root.image)?);
        let data_bytes = bootable.root.data_blocks * BLOCK;
        let text = format!(
            "{} {floor} {} {} {data_bytes}\n{}",
            system.release,
            kernel.len(),
            root.len(),
            bootable.root.to_text()
        );
        let mut bytes = Vec::new();
        for part in [text.as_bytes(), &kernel, &root] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        }
        fs::write(&file, bytes)?;
    }
    Ok(Some(file))
}
