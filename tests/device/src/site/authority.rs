//! Certificates of a site's servers: an authority that lives as long as the site, and one certificate with every host's name.
//!
//! Made by Debian's `openssl`, so that what the apps' libraries check is not made by a library of ours.

use anyhow::{Context, Result};
use image::command::{output, tool};
use image::stage;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// See the module.
pub(super) struct Authority(PathBuf);

impl Authority {
    /// In `folder`, for these hosts.
    pub(super) fn new(folder: &Path, hosts: &[(&str, &str, &str)]) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let names: Vec<String> =
            hosts.iter().map(|(name, v4, v6)| format!("DNS:{name},IP:{v4},IP:{v6}")).collect();
        let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let run = |words: &[&str]| {
            output(tool("openssl").arg("req").arg("-x509").current_dir(folder).args(ec).args(words))
                .context("openssl; `make packages` installs it")
        };
        // A device's clock may be behind until it is set, but not by more than its build.
        run(&["-days", "3650", "-subj", "/CN=Site", "-keyout", "ca.key", "-out", "ca.pem"])?;
        let alternative = format!("subjectAltName={}", names.join(","));
        run(&[
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-days",
            "3650",
            "-subj",
            "/CN=server",
            "-addext",
            &alternative,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])?;
        fs::set_permissions(folder.join("key.pem"), fs::Permissions::from_mode(0o644))?;
        Ok(Self(folder.to_owned()))
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    pub(super) fn lay_out(&self, folder: &Path) -> Result<()> {
        ["ca.pem", "cert.pem", "key.pem"]
            .iter()
            .try_for_each(|name| stage::copy(&self.0.join(name), &folder.join(name)))
    }
}
