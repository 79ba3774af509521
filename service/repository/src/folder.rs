//! The repository's folder.
//!
//! Files are written beside their places, brought to the disk, and moved there.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tuf::date::Date;
use tuf::metadata::{Root, Signed, Targets};
use tuf::{hex, name};

use crate::document::Document;
use crate::error::Error;

/// For how many days a signature of each role is worth something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Periods {
    /// Root: how long its holders may take to come together again.
    pub root_days: u32,
    /// Targets, and delegated roles: longer than any release is the newest.
    pub targets_days: u32,
    /// Snapshot: longer than the service may be down.
    pub snapshot_days: u32,
    /// Timestamp: for how long somebody on the way can keep a device from learning of a newer one, and for how long a disk that
    /// is carried to a device is good.
    pub timestamp_days: u32,
}

impl Default for Periods {
    fn default() -> Self {
        Self { root_days: 730, targets_days: 400, snapshot_days: 100, timestamp_days: 14 }
    }
}

/// A repository.
#[derive(Debug)]
pub struct Repository {
    folder: PathBuf,
    pub(crate) periods: Periods,
    pub(crate) now_s: i64,
}

/// A file that was taken in.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) length: u64,
    pub(crate) sha256: String,
}

impl Repository {
    /// Opens one. `now_s`: the time, in seconds since 1970.
    ///
    /// # Errors
    /// There is none.
    pub fn open(folder: &Path, now_s: i64) -> Result<Self, Error> {
        let path = folder.join("repository.json");
        let text = fs::read(&path).map_err(Error::io(&path))?;
        let periods = serde_json::from_slice(&text).map_err(Error::content(&path))?;
        Ok(Self { folder: folder.to_owned(), periods, now_s })
    }

    /// Makes an empty one, in a folder that has none.
    ///
    /// # Errors
    /// It has, or the disk.
    pub(crate) fn make(folder: &Path, periods: Periods, now_s: i64) -> Result<Self, Error> {
        let path = folder.join("repository.json");
        if path.exists() {
            return Err(Error::Asked(format!("{}: there is a repository already", folder.display())));
        }
        for place in ["metadata", "targets", "staged"] {
            let place = folder.join(place);
            fs::create_dir_all(&place).map_err(Error::io(&place))?;
        }
        let made = Self { folder: folder.to_owned(), periods, now_s };
        let text = serde_json::to_vec_pretty(&made.periods).map_err(Error::content(&path))?;
        write(&path, &text)?;
        Ok(made)
    }

    /// With timestamps that are good for so many days: for a copy that is carried to devices.
    #[must_use]
    pub fn with_timestamp_days(mut self, days: u32) -> Self {
        self.periods.timestamp_days = days;
        self
    }

    /// Where what devices read is.
    pub fn metadata(&self) -> PathBuf {
        self.folder.join("metadata")
    }

    /// Where files are.
    pub fn targets(&self) -> PathBuf {
        self.folder.join("targets")
    }

    pub(crate) fn expiry(&self, days: u32) -> Result<Date, Error> {
        let date = Date::from_unix(self.now_s.saturating_add(i64::from(days) * 86_400));
        date.ok_or_else(|| Error::Asked("the clock shows no year that metadata can have".to_owned()))
    }

    /// The newest version that is published; none if none is.
    pub(crate) fn newest(&self, role: &str) -> Result<Option<u64>, Error> {
        let (folder, ending) = (self.metadata(), format!(".{}", name::kept(role)));
        let mut newest = None;
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let name = entry.map_err(Error::io(&folder))?.file_name();
            let version =
                name.to_str().and_then(|name| name.strip_suffix(&ending)).and_then(|n| n.parse().ok());
            newest = newest.max(version);
        }
        Ok(newest)
    }

    pub(crate) fn published<T: Signed>(&self, role: &str) -> Result<Option<Document<T>>, Error> {
        let Some(version) = self.newest(role)? else { return Ok(None) };
        read(&self.metadata().join(name::published(role, Some(version))))
    }

    pub(crate) fn timestamp<T: Signed>(&self) -> Result<Option<Document<T>>, Error> {
        read(&self.metadata().join(name::published("timestamp", None)))
    }

    pub(crate) fn publish(&self, role: &str, version: Option<u64>, bytes: &[u8]) -> Result<(), Error> {
        write(&self.metadata().join(name::published(role, version)), bytes)
    }

    pub(crate) fn staged_path(&self, role: &str) -> PathBuf {
        self.folder.join("staged").join(name::kept(role))
    }

    pub(crate) fn staged<T: Signed>(&self, role: &str) -> Result<Option<Document<T>>, Error> {
        read(&self.staged_path(role))
    }

    pub(crate) fn stage<T: Signed>(&self, role: &str, value: T) -> Result<(), Error> {
        let path = self.staged_path(role);
        let document =
            Document::unsigned(value).map_err(|why| Error::Content(path.clone(), why.to_string()))?;
        write(&path, &document.bytes)
    }

    pub(crate) fn stage_bytes(&self, role: &str, bytes: &[u8]) -> Result<(), Error> {
        write(&self.staged_path(role), bytes)
    }

    /// It is published, if it is no other by now.
    pub(crate) fn unstage(&self, role: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.staged_path(role);
        match fs::read(&path) {
            Ok(there) if there == bytes => fs::remove_file(&path).map_err(Error::io(&path)),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::Io(path, e)),
        }
    }

    /// The next root: what is staged, or what is published.
    pub(crate) fn latest_root(&self) -> Result<Root, Error> {
        let found = self.staged("root")?.map_or_else(|| self.published("root"), |staged| Ok(Some(staged)))?;
        found.map(|root| root.value).ok_or_else(|| Error::Asked("there is no root".to_owned()))
    }

    /// The next version of a role's targets: what is staged, or what is published.
    pub(crate) fn latest_targets(&self, role: &str) -> Result<Targets, Error> {
        let found = self.staged(role)?.map_or_else(|| self.published(role), |staged| Ok(Some(staged)))?;
        found.map(|targets| targets.value).ok_or_else(|| Error::Asked(format!("there is no role {role}")))
    }

    /// Copies a file to where devices fetch it as the target `path`.
    pub(crate) fn take(&self, path: &str, from: &Path) -> Result<Taken, Error> {
        let mut file = File::open(from).map_err(Error::io(from))?;
        let place = self.targets().join(path);
        let folder = place.parent().unwrap_or(&place);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let new = folder.join(".new");
        let mut copy = File::create(&new).map_err(Error::io(&new))?;
        let (mut digest, mut length, mut chunk) = (Context::new(&SHA256), 0_u64, vec![0; 64 << 10]);
        loop {
            let read = file.read(&mut chunk).map_err(Error::io(from))?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            digest.update(bytes);
            copy.write_all(bytes).map_err(Error::io(&new))?;
            length += u64::try_from(read).unwrap_or(0);
        }
        copy.sync_all().map_err(Error::io(&new))?;
        let sha256 = hex::encode(digest.finish().as_ref());
        let place = self.targets().join(name::target_file(path, Some(&sha256)));
        fs::rename(&new, &place).map_err(Error::io(&place))?;
        sync(folder)?;
        Ok(Taken { length, sha256 })
    }
}

fn read<T: Signed>(path: &Path) -> Result<Option<Document<T>>, Error> {
    match fs::read(path) {
        Ok(bytes) => {
            let document =
                Document::read(bytes).map_err(|why| Error::Content(path.to_owned(), why.to_string()))?;
            Ok(Some(document))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::Io(path.to_owned(), e)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let new = folder.join(".new");
    let mut file = File::create(&new).map_err(Error::io(&new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(&new))?;
    fs::rename(&new, path).map_err(Error::io(path))?;
    sync(folder)
}

fn sync(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))
}
