//! Another release for a device: what an update would bring.

use crate::chain;
use crate::device::Device;
use crate::images;
use anyhow::Result;
use image::assemble::Bootable;
use image::chain::disk::{self, System};
use image::chain::keys::Keys;
use image::paths::{Release, Tree};

impl Device {
    /// Makes a release with this version and floor, for devices with the same store as this one: its root, and what was
    /// signed of it.
    ///
    /// # Errors
    /// It can not be built.
    pub fn next_release(&self, version: &str, floor: u32) -> Result<(Bootable, System)> {
        let parts = &self.parts;
        let release = Release { version: version.to_owned(), floor };
        let tree = Tree::here()?.of_release(release)?;
        let (kernel, root) = images::system(&tree, parts.bench.wanted)?;
        let bootable = Bootable { kernel, root, ..parts.bootable.clone() };
        let to = parts.place.path().join(format!("release-{version}.img"));
        let system = disk::build(&tree, &bootable, &Keys::of(&tree)?, &chain::words(parts), &to)?;
        Ok((bootable, system))
    }
}
