//! Files that were published elsewhere are taken in: by the service that has the online keys, or by somebody else who signs.
//!
//! What an attacker controls: all of it, if the service is his. Whoever signs the next version of a role signs what the last one
//! said, so nothing is taken in that its role's keys have not signed, nothing older, and no other file of a version that is here.

use serde::Deserialize;
use tuf::envelope::{Authority, Envelope};
use tuf::metadata::{Role, Root, TargetFile, Targets, Timestamp};
use tuf::name;

use crate::document::Document;
use crate::error::Error;
use crate::folder::Repository;
use crate::sign::{authority_of, delegated_authority};

/// Of any role.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl Repository {
    /// Takes in a file of a role's version (none: the timestamp). Root comes first, in its order, then targets, then what they
    /// delegate. What is staged and the same file is done. The first root is believed if it is what is staged.
    ///
    /// # Errors
    /// It is none of that role's, not signed by whom it has to be, or another than what is here.
    pub fn received(&self, role: &str, version: Option<u64>, bytes: &[u8]) -> Result<(), Error> {
        let path = self.metadata().join(name::published(role, version));
        let wrong = |why: String| Error::Content(path.clone(), why);
        let envelope = Envelope::read(bytes).map_err(|why| wrong(why.to_string()))?;
        let head: Versioned = serde_json::from_str(envelope.signed_text()).map_err(Error::content(&path))?;
        if version.is_some_and(|version| version != head.version) {
            return Err(wrong(format!("it is version {}", head.version)));
        }
        for authority in self.trusted(role, bytes)? {
            envelope.signed_by(&authority).map_err(|why| wrong(why.to_string()))?;
        }
        let known: Option<Document<Timestamp>> = if version.is_none() { self.timestamp()? } else { None };
        let newest =
            if version.is_none() { known.map(|known| known.value.version) } else { self.newest(role)? };
        if newest.is_some_and(|newest| newest > head.version) {
            return Err(wrong("a newer one is here".to_owned()));
        }
        match std::fs::read(&path) {
            Ok(there) if version.is_some() && there != bytes => {
                return Err(wrong("another file of this version is here".to_owned()));
            }
            _ => self.publish(role, version, bytes)?,
        }
        self.unstage(role, bytes)
    }

    /// Believes a root, in a repository that has none yet.
    ///
    /// # Errors
    /// It has one, or this is none.
    pub fn begin_with(&self, root: &[u8]) -> Result<(), Error> {
        if self.newest("root")?.is_some() {
            return Err(Error::Asked("there is a root already".to_owned()));
        }
        let path = self.metadata();
        let document: Document<Root> =
            Document::read(root.to_vec()).map_err(|why| Error::Content(path, why.to_string()))?;
        self.publish("root", Some(document.value.version), root)
    }

    /// A folder for a repository that was made elsewhere.
    ///
    /// # Errors
    /// There is one, or the disk.
    pub fn elsewhere(folder: &std::path::Path, now_s: i64) -> Result<Self, Error> {
        Self::make(folder, crate::folder::Periods::default(), now_s)
    }

    /// The newest version of a role that is here.
    ///
    /// # Errors
    /// The disk.
    pub fn newest_version(&self, role: &str) -> Result<Option<u64>, Error> {
        self.newest(role)
    }

    /// A role that is staged, as its file.
    ///
    /// # Errors
    /// It is not, or the disk.
    pub fn staged_file(&self, role: &str) -> Result<Vec<u8>, Error> {
        let path = self.staged_path(role);
        std::fs::read(&path).map_err(Error::io(&path))
    }

    /// Forgets what is staged of a role.
    ///
    /// # Errors
    /// Nothing is, or the disk.
    pub fn drop_staged(&self, role: &str) -> Result<(), Error> {
        let path = self.staged_path(role);
        std::fs::remove_file(&path).map_err(Error::io(&path))
    }

    /// Targets of a staged role that the published one has not, or has with another digest: their paths, and the files.
    ///
    /// # Errors
    /// The disk.
    pub fn new_targets(&self, role: &str) -> Result<Vec<(String, std::path::PathBuf)>, Error> {
        let published: Option<Document<Targets>> = self.published(role)?;
        let staged = self.latest_targets(role)?;
        let known = |path: &str| published.as_ref().and_then(|published| published.value.targets.get(path));
        let new = staged
            .targets
            .iter()
            .filter(|(path, file)| known(path).map(|known| &known.hashes) != Some(&file.hashes));
        Ok(new.map(|(path, file)| (path.clone(), self.target_file(path, file))).collect())
    }

    /// All targets of a role's next version, and their files.
    ///
    /// # Errors
    /// There is no such role, or the disk.
    pub fn all_targets(&self, role: &str) -> Result<Vec<(String, std::path::PathBuf)>, Error> {
        let all = self.latest_targets(role)?.targets;
        Ok(all.iter().map(|(path, file)| (path.clone(), self.target_file(path, file))).collect())
    }

    fn target_file(&self, path: &str, file: &TargetFile) -> std::path::PathBuf {
        self.targets().join(name::target_file(path, file.hashes.get("sha256").map(String::as_str)))
    }

    fn trusted(&self, role: &str, bytes: &[u8]) -> Result<Vec<Authority>, Error> {
        let known: Option<Document<Root>> = self.published("root")?;
        if role == "root" {
            let content = |why: tuf::Why| Error::Content(self.metadata(), why.to_string());
            let next: Document<Root> = Document::read(bytes.to_vec()).map_err(content)?;
            let own = authority_of(&next.value, Role::Root);
            return match known {
                Some(known) => Ok(vec![authority_of(&known.value, Role::Root), own]),
                None if std::fs::read(self.staged_path(role)).is_ok_and(|staged| staged == bytes) => {
                    Ok(vec![own])
                }
                None => Err(Error::Asked("there is no root here that could be believed".to_owned())),
            };
        }
        let root = known.ok_or_else(|| Error::Asked("there is no root".to_owned()))?;
        if let Some(top) = Role::ALL.into_iter().find(|top| top.name() == role) {
            return Ok(vec![authority_of(&root.value, top)]);
        }
        let targets: Option<Document<Targets>> = self.published("targets")?;
        let found = targets.and_then(|targets| delegated_authority(&targets.value, role));
        found.map(|found| vec![found]).ok_or_else(|| Error::Asked(format!("there is no role {role}")))
    }
}
