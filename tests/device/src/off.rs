//! A device that is off: what it said, and its disk, which may be read, changed and booted again.

use crate::app::App;
use crate::bench::Parts;
use crate::console::Console;
use crate::device::Device;
use crate::images;
use anyhow::{Context, Result};
use image::chain::{disk, esp};
use image::command::{output, tool};
use image::paths::Tree;
use std::fs;
use std::path::PathBuf;

/// A device that is off.
pub struct Off {
    pub(crate) console: Console,
    pub(crate) parts: Parts,
}

impl Off {
    /// What it said.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// What `e2fsck -fn` says about its data disk; it must find nothing to do.
    ///
    /// # Errors
    /// When it finds something.
    pub fn check_data(&self) -> Result<String> {
        output(tool("e2fsck").arg("-fn").arg(self.data()))
    }

    /// The text of a file on its data disk, by its path from the disk's root.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_file(&self, path: &str) -> Result<String> {
        output(tool("debugfs").arg("-R").arg(format!("cat {path}")).arg(self.data()))
    }

    /// `UID MODE` of a file on its data disk.
    ///
    /// # Errors
    /// When there is none.
    pub fn owner_and_mode(&self, path: &str) -> Result<String> {
        let about = output(tool("debugfs").arg("-R").arg(format!("stat {path}")).arg(self.data()))?;
        let words: Vec<&str> = about.split_whitespace().collect();
        let behind = |key: &str| words.iter().position(|word| *word == key).and_then(|at| words.get(at + 1));
        let (user, mode) =
            behind("User:").zip(behind("Mode:")).context("debugfs told neither owner nor mode")?;
        Ok(format!("{user} {mode}"))
    }

    /// The kernel images on its board's disk, with their attempts.
    ///
    /// # Errors
    /// It was on no board.
    pub fn kernels(&self) -> Result<Vec<String>> {
        esp::names(&self.system(), disk::ESP_OFFSET, esp::KERNELS)
    }

    /// Writes a file of its data disk anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, path: &str, text: &str) -> Result<()> {
        let source = self.parts.place.path().join("file");
        fs::write(&source, text)?;
        for request in [format!("rm {path}"), format!("write {} {path}", source.display())] {
            output(tool("debugfs").args(["-w", "-R", &request]).arg(self.data()))?;
        }
        Ok(())
    }

    /// Its data disk.
    pub fn data(&self) -> PathBuf {
        self.parts.place.path().join("data.img")
    }

    /// Its system's disk, on its board.
    pub fn system(&self) -> PathBuf {
        self.parts.place.path().join("board/system.img")
    }

    /// Puts another store of apps into it.
    ///
    /// # Errors
    /// When that cannot be made.
    pub fn store(mut self, apps: Vec<App>) -> Result<Self> {
        let place = tempfile::tempdir_in(self.parts.place.path())?.keep();
        let bench = &self.parts.bench;
        self.parts.bootable = images::bootable(&Tree::here()?, &apps, &bench.texts, bench.wanted, &place)?;
        Ok(self)
    }

    /// Puts a release with these words on its command line onto its board's disk.
    #[must_use]
    pub fn release(mut self, words: &str) -> Self {
        (self.parts.bench.words, self.parts.bench.flash) = (words.to_owned(), true);
        self
    }

    /// Lets its battery-backed clock show this from the next boot on, `2020-02-02T02:02:02`, UTC.
    #[must_use]
    pub fn clock(mut self, shows: &str) -> Self {
        self.parts.bench.clock = Some(shows.to_owned());
        self
    }

    /// Boots it again, with the same disks.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn boot(self) -> Result<Device> {
        Device::start(self.parts)
    }
}
