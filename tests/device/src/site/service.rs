//! A Security Service at the site: a process of `gabion-service` as an operator sets it up, on SQLite, over TLS; and
//! `gabion` of somebody who administers a catalog on it.
//!
//! It trusts the maker of the reference boards' TPMs and nobody else's.

use super::Site;
use super::servers::Server;
use crate::images;
use anyhow::{Context, Result, ensure};
use image::command::{output, tool};
use image::paths::Tree;
use image::swtpm;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where it is: `service.example`, and its address for those who have no name server.
const NAME: &str = "service.example";
const ADDRESS: &str = "198.51.100.14";
const PORT: u16 = 8443;

/// A Security Service. It ends with its site.
pub struct Security {
    site: Site,
    folder: PathBuf,
    gabion: PathBuf,
}

impl Security {
    /// Sets one up, starts it with these further words, and signs its operator in.
    ///
    /// # Errors
    /// It cannot be built, or does not start.
    pub fn start(site: &Site, words: &[&str]) -> Result<Self> {
        let tree = Tree::here()?;
        let program = images::service(&tree)?;
        let security =
            Self { site: site.clone(), folder: site.folder("service")?, gabion: images::gabion(&tree)? };
        let at = |name: &str| security.folder.join(name).display().to_string();
        fs::write(at("passphrase"), "a passphrase of the site's\n")?;
        let state = ["--state", &at("state"), "--passphrase-file", &at("passphrase")].map(str::to_owned);
        let said = output(
            Command::new(&program).arg("init").args(["--name", NAME, "--name", ADDRESS]).args(&state),
        )?;
        let code = said.trim().rsplit(' ').next().context("a one-time code")?;
        let makers = makers(&tree)?.display().to_string();
        let listen = format!("{ADDRESS}:{PORT}");
        let mut all = vec!["run", "--listen", &listen, "--tpm-makers", &makers];
        all.extend(state.iter().map(String::as_str));
        all.extend(words);
        site.serve(Server::start(site, "gabion-service", &program, &all, "\"serving\"")?);
        let url = format!("https://{ADDRESS}:{PORT}");
        security.done(&["service", "login", &url, "--root", &at("state/root.pem"), code])?;
        Ok(security)
    }

    /// `service.toml` of its devices.
    ///
    /// # Errors
    /// Its root is not there.
    pub fn settings(&self) -> Result<String> {
        Ok(format!("url = \"https://{NAME}:{PORT}\"\nca = \"\"\"\n{}\"\"\"\n", self.root()?))
    }

    /// Its root, PEM.
    ///
    /// # Errors
    /// It is not there.
    pub fn root(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("state/root.pem"))?)
    }

    /// A folder of its operator's.
    ///
    /// # Errors
    /// It can not be made.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    /// What it says to anybody at this path.
    ///
    /// # Errors
    /// Debian's curl does not get it.
    pub fn get(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8(self.get_bytes(path)?)?)
    }

    /// The same, as bytes.
    ///
    /// # Errors
    /// Debian's curl does not get it.
    pub fn get_bytes(&self, path: &str) -> Result<Vec<u8>> {
        self.site.inside(|| {
            let mut curl = tool("curl");
            curl.args(["--silent", "--show-error", "--fail", "--cacert"]);
            curl.arg(self.folder.join("state/root.pem"));
            let done = curl.arg(format!("https://{ADDRESS}:{PORT}{path}")).output()?;
            ensure!(done.status.success(), "{path}: {}", String::from_utf8_lossy(&done.stderr));
            Ok(done.stdout)
        })
    }

    /// `gabion` with these arguments, by whoever is signed in.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn gabion(&self, arguments: &[&str]) -> Result<Output> {
        self.gabion_of(&self.folder, arguments)
    }

    /// The same by somebody whose things are in this folder.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn gabion_of(&self, folder: &Path, arguments: &[&str]) -> Result<Output> {
        self.site.inside(|| {
            let mut command = Command::new(&self.gabion);
            command.args(arguments).env("XDG_CONFIG_HOME", folder).stdin(Stdio::null());
            command.env("GABION_REPOSITORY", self.folder.join("repository/repository"));
            command.env("GABION_REPOSITORY_PASSPHRASE_FILE", self.folder.join("passphrase"));
            Ok(command.output()?)
        })
    }

    /// The same, which does what it is told; what it said.
    ///
    /// # Errors
    /// It did not.
    pub fn done(&self, arguments: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.gabion(arguments)?;
        let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ensure!(status.success(), "gabion {}: {status}: {}", arguments.join(" "), said.concat());
        let [out, _] = said;
        Ok(out)
    }
}

/// The certificate that our boards' TPMs have theirs from. swtpm makes it with the first of them.
fn makers(tree: &Tree) -> Result<PathBuf> {
    let certificate = swtpm::maker_folder(tree).join("issuercert.pem");
    if !certificate.exists() {
        let place = tempfile::tempdir()?;
        swtpm::manufacture(tree, &place.path().join("tpm"))?;
    }
    Ok(certificate)
}
