//! A device: what it keeps, and what it would install.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tuf::source::Source;
use tuf::store::Store;
use tuf::{Client, Error, Limits, Refusal, Why};

use crate::site::Site;

/// A device that was made with the first root.
pub struct Device {
    folder: TempDir,
}

impl Device {
    /// Made in the factory.
    ///
    /// # Errors
    /// The disk.
    pub fn new(site: &Site) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Client::init(&Store::open(folder.path())?, &site.file("1.root.json")?)?;
        Ok(Self { folder })
    }

    /// What it keeps.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Brings it up to date, at this time.
    ///
    /// # Errors
    /// What it refuses.
    pub fn refresh<S: Source>(&self, source: &mut S, now_s: i64) -> Result<Client, Error> {
        let store = Store::open(self.path()).map_err(Error::Store)?;
        done(Client::refresh(store, source, now_s, Limits::default()))
    }

    /// Brings it up to date and fetches a target.
    ///
    /// # Errors
    /// What it refuses.
    pub fn fetch<S: Source>(&self, source: &mut S, now_s: i64, path: &str) -> Result<Vec<u8>, Error> {
        let mut client = self.refresh(source, now_s)?;
        let found = done(client.find(source, path))?;
        let mut bytes = Vec::new();
        done(Client::download(source, &found, &mut bytes))?;
        Ok(bytes)
    }

    /// The files that it keeps, and what is in them.
    ///
    /// # Errors
    /// The disk.
    pub fn kept(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(self.path())? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name")?;
            kept.push((name, std::fs::read(entry.path())?));
        }
        kept.sort();
        Ok(kept)
    }
}

/// Nothing here waits for anything.
fn done<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::Store(std::io::ErrorKind::WouldBlock.into())),
    }
}

/// What was refused, and why.
///
/// # Errors
/// Nothing was.
pub fn why<T>(result: Result<T, Error>) -> Result<(String, Why)> {
    match result {
        Err(Error::Refused(Refusal { what, why })) => Ok((what, why)),
        Err(error) => bail!("not refused, but {error}"),
        Ok(_) => bail!("taken"),
    }
}
