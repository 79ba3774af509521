//! Releases of the site: a repository in a folder, whose keys lie beside it, and what goes into it by `gabion`.

use super::service::Security;
use crate::next;
use anyhow::{Context, Result};
use image::assemble::Bootable;
use image::chain::disk::System;
use std::fs;
use std::path::{Path, PathBuf};

/// Each role has a key of its own.
const KEYS: [&str; 4] = ["root", "targets", "os", "apps"];

/// A repository whose releases a Security Service serves.
pub struct Releases<'a> {
    security: &'a Security,
    folder: PathBuf,
}

impl<'a> Releases<'a> {
    /// Makes one for the product `meter` and the apps of the catalog `acme`, and has the service serve it.
    ///
    /// # Errors
    /// It can not be made, or the service does not take it.
    pub fn begin(security: &'a Security) -> Result<Self> {
        let made = Self { security, folder: security.folder("repository")? };
        let [root, targets, os, apps] = KEYS.map(|name| made.at(name));
        for key in [&root, &targets, &os, &apps] {
            made.done(&["repository", "key", key])?;
        }
        let (repository, online) = (made.at("repository"), made.at("online"));
        made.done(&["repository", "online", &online])?;
        made.done(&[
            "repository",
            "init",
            &repository,
            "--root",
            &root,
            "--targets",
            &targets,
            "--os",
            &os,
            "--snapshot",
            &online,
            "--timestamp",
            &online,
        ])?;
        made.done(&[
            "repository",
            "delegate",
            &repository,
            "apps-acme",
            "--targets",
            "apps/acme",
            "--key",
            &apps,
        ])?;
        for key in [&root, &targets, &os, &apps] {
            made.done(&["repository", "sign", &repository, "--key", key])?;
        }
        made.done(&["repository", "push", &repository, "acme"])?;
        Ok(made)
    }

    /// Its first root: `update-root.json` of its devices.
    ///
    /// # Errors
    /// It is not there.
    pub fn root(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("repository/metadata/1.root.json"))?)
    }

    /// Makes a release of a system, and publishes it with what it will be seen to be; gives its target.
    ///
    /// # Errors
    /// It is not taken.
    pub fn system(&self, bootable: &Bootable, system: &System, floor: u32) -> Result<String> {
        let (os, about) = (self.at("os"), next::words(bootable, system, floor)?);
        let add = ["image", "add", "acme", "--key", &os];
        self.done(&[&add[..], &about.each_ref().map(|word| &**word)].concat())?;
        Ok(format!("os/meter/{}.json", system.release))
    }

    /// Makes a release of a packed app.
    ///
    /// # Errors
    /// It is not taken.
    pub fn app(&self, packed: &Path) -> Result<()> {
        let packed = packed.to_str().context("a path that is a text")?;
        self.done(&["image", "add", "acme", packed, "--key", &self.at("apps")]).map(drop)
    }

    /// Has all devices of the group `field` run these.
    ///
    /// # Errors
    /// The service refuses.
    pub fn deploy(&self, targets: &[&str]) -> Result<String> {
        let words = ["deployment", "create", "acme", "meter", "field"];
        self.done(&[&words, targets].concat())
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn done(&self, arguments: &[&str]) -> Result<String> {
        self.security.done(arguments)
    }
}
