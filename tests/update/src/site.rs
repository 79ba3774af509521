//! A repository with all its keys.
//!
//! Root is held by two of two, `os` by two of three, the rest by one each; a release of the system and an app's are published.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context as _, Result};
use repository::Repository;
use repository::document::Document;
use repository::edit::{Beginning, Holders};
use repository::folder::Periods;
use repository::keys::{KeyFile, Signer};
use tempfile::TempDir;
use tuf::custom::{Custom, Kind};
use tuf::metadata::Signed;
use tuf::name;

use crate::NOW_S;

/// The path of the system's release.
pub const OS: &str = "os/box/root.img";
/// The path of the app's.
pub const APP: &str = "apps/acme/thermostat.img";

/// A repository with its keys.
pub struct Site {
    folder: TempDir,
    now_s: i64,
    signers: BTreeMap<String, Signer>,
    files: BTreeMap<String, KeyFile>,
}

impl Site {
    /// Makes one, at [`NOW_S`].
    ///
    /// # Errors
    /// The disk.
    pub fn new() -> Result<Self> {
        Self::at(NOW_S)
    }

    /// Makes one.
    ///
    /// # Errors
    /// The disk.
    pub fn at(now_s: i64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut site = Self { folder, now_s, signers: BTreeMap::new(), files: BTreeMap::new() };
        let begin = Beginning {
            root: site.held(&["root-1", "root-2"], 2)?,
            targets: site.held(&["targets"], 1)?,
            snapshot: site.held(&["snapshot"], 1)?,
            timestamp: site.held(&["timestamp"], 1)?,
            os: site.held(&["os-1", "os-2", "os-3"], 2)?,
        };
        let made = Repository::init(site.path(), Periods::default(), &begin, now_s)?;
        made.delegate("apps-acme", "apps/acme", &site.held(&["acme"], 1)?)?;
        site.add(OS, b"system 1", "1")?;
        site.add(APP, b"app 1", "1")?;
        site.sign(&["root-1", "root-2", "targets", "os-1", "os-2", "acme"])?;
        site.refresh()?;
        Ok(site)
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The repository, now.
    ///
    /// # Errors
    /// The disk.
    pub fn repository(&self) -> Result<Repository> {
        Ok(Repository::open(self.path(), self.now_s)?)
    }

    /// Time passes here.
    pub fn pass(&mut self, seconds: i64) {
        self.now_s += seconds;
    }

    /// The time here.
    pub fn now_s(&self) -> i64 {
        self.now_s
    }

    /// A key by its name here, which is made if it is not there.
    ///
    /// # Errors
    /// No chance.
    pub fn key(&mut self, name: &str) -> Result<KeyFile> {
        if !self.files.contains_key(name) {
            let file = KeyFile::make("passphrase", NonZeroU32::MIN)?;
            self.signers.insert(name.to_owned(), file.open("passphrase", Path::new(name))?);
            self.files.insert(name.to_owned(), file);
        }
        Ok(self.files[name].clone())
    }

    /// Keys by their names, of which so many have to sign.
    ///
    /// # Errors
    /// No chance.
    pub fn held(&mut self, names: &[&str], threshold: u32) -> Result<Holders> {
        let keys = names.iter().map(|name| Ok(self.key(name)?.public)).collect::<Result<_>>()?;
        Ok(Holders { keys, threshold })
    }

    /// What signs by the keys of these names.
    pub fn signers(&self, names: &[&str]) -> Vec<&Signer> {
        names.iter().map(|name| &self.signers[*name]).collect()
    }

    /// Takes a file in.
    ///
    /// # Errors
    /// See [`Repository::add`].
    pub fn add(&self, path: &str, bytes: &[u8], version: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), bytes)?;
        let custom = Custom {
            kind: if path.starts_with("os/") { Kind::Os } else { Kind::App },
            product: Some("box".to_owned()),
            app: None,
            version: version.to_owned(),
            floor: None,
            root_hash: None,
            reference: None,
            blocks: None,
            from: None,
            rest: BTreeMap::new(),
        };
        self.repository()?.add(path, file.path(), &custom)?;
        Ok(())
    }

    /// Signs what waits, by each of these keys.
    ///
    /// # Errors
    /// Nothing waits for one of them.
    pub fn sign(&self, names: &[&str]) -> Result<()> {
        let repository = self.repository()?;
        for name in names {
            repository.sign(&self.signers[*name], None).with_context(|| (*name).to_owned())?;
        }
        Ok(())
    }

    /// Publishes, by the keys named `snapshot` and `timestamp`.
    ///
    /// # Errors
    /// See [`Repository::refresh`].
    pub fn refresh(&self) -> Result<()> {
        self.repository()?.refresh(&self.signers(&["snapshot", "timestamp"]))?;
        Ok(())
    }

    /// Publishes another release of the system.
    ///
    /// # Errors
    /// The disk.
    pub fn release(&self, bytes: &[u8], version: &str) -> Result<()> {
        self.add(OS, bytes, version)?;
        self.sign(&["os-1", "os-3"])?;
        self.refresh()
    }

    /// A file that devices read.
    ///
    /// # Errors
    /// There is none.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        fs::read(self.path().join("metadata").join(name)).with_context(|| name.to_owned())
    }

    /// A file as somebody else would have made it: changed, and signed by these keys.
    ///
    /// # Errors
    /// There is no such file.
    pub fn forged<T: Signed>(
        &self,
        name: &str,
        change: impl FnOnce(&mut T),
        keys: &[&str],
    ) -> Result<Vec<u8>> {
        let mut value = Document::<T>::read(self.file(name)?)?.value;
        change(&mut value);
        Ok(Document::unsigned(value)?.signed(&self.signers(keys))?.bytes)
    }
}

/// The name of a file of metadata.
pub fn file(role: &str, version: u64) -> String {
    name::published(role, Some(version))
}
