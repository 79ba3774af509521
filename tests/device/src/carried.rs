//! A repository in a folder, without a service: what `gabion` writes to a disk, for a device that has no network.

use crate::next;
use anyhow::{Context, Result, ensure};
use image::assemble::Bootable;
use image::chain::disk::System;
use image::paths::Tree;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// See the module. One key for the system and another for the rest.
pub struct Carried {
    place: TempDir,
    gabion: PathBuf,
}

impl Carried {
    /// Makes one, of the catalog `acme`.
    ///
    /// # Errors
    /// It can not be made.
    pub fn begin() -> Result<Self> {
        let gabion = crate::images::gabion(&Tree::here()?)?;
        let made = Self { place: tempfile::tempdir()?, gabion };
        fs::write(made.place.path().join("passphrase"), "correct horse battery\n")?;
        for line in [
            "repository key os",
            "repository key all",
            "repository init r --root all --targets all --os os --snapshot all --timestamp all",
            "repository delegate r apps-acme --targets apps/acme --key all",
            "repository sign r --key all",
            "repository sign r --key os",
            "repository refresh r --key all",
        ] {
            made.done(&line.split(' ').collect::<Vec<_>>())?;
        }
        Ok(made)
    }

    /// Its first root: `update-root.json` of its devices.
    ///
    /// # Errors
    /// It is not there.
    pub fn root(&self) -> Result<String> {
        Ok(fs::read_to_string(self.place.path().join("r/metadata/1.root.json"))?)
    }

    /// Signs a packed app.
    ///
    /// # Errors
    /// It is not taken.
    pub fn app(&self, packed: &Path) -> Result<()> {
        let packed = packed.to_str().context("a path that is a text")?;
        self.done(&["image", "add", "acme", packed, "--repository", "r", "--key", "all", "--keep"])?;
        self.refresh()
    }

    fn refresh(&self) -> Result<()> {
        self.done(&["repository", "refresh", "r", "--key", "all", "--timestamp-days", "60"])
    }

    /// Signs a system, of the product `meter`.
    ///
    /// # Errors
    /// It is not taken.
    pub fn system(&self, bootable: &Bootable, system: &System, floor: u32) -> Result<()> {
        let about = next::words(bootable, system, floor)?;
        let add = ["image", "add", "acme", "--repository", "r", "--key", "os", "--keep"];
        self.done(&[&add[..], &about.each_ref().map(|word| &**word)].concat())?;
        self.refresh()
    }

    /// The disk, for these releases.
    ///
    /// # Errors
    /// What no device would take.
    pub fn disk(&self, releases: &[&str]) -> Result<PathBuf> {
        let words = ["update", "offline", "make", "disk.tar", "--repository", "r"];
        self.done(&[&words, releases].concat())?;
        Ok(self.place.path().join("disk.tar"))
    }

    fn done(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.gabion);
        command.current_dir(&self.place).env("GABION_REPOSITORY_PASSPHRASE_FILE", "passphrase");
        let done = command.args(arguments).output()?;
        let said = [done.stdout, done.stderr].concat();
        ensure!(done.status.success(), "gabion {}: {}", arguments.join(" "), String::from_utf8_lossy(&said));
        Ok(())
    }
}
