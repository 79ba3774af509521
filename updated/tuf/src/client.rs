//! The client: the workflow, what is kept, and where files come from, put together.

use std::fmt;
use std::io;

use crate::limits::Limits;
use crate::name;
use crate::refusal::{Refusal, Why};
use crate::source::{Body, Place, Source, SourceError};
use crate::store::Store;
use crate::target::Check;
use crate::update::{Ask, Found, Keep, Update};

/// Why there is no update.
#[derive(Debug)]
pub enum Error {
    /// What came was refused.
    Refused(Refusal),
    /// Nothing came.
    Source(SourceError),
    /// What is kept could not be read or written.
    Store(io::Error),
    /// There is no root to begin with.
    NoRoot,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Source(_) => f.write_str("fetching from the repository"),
            Self::Store(_) => f.write_str("what is kept of the repository"),
            Self::NoRoot => f.write_str("there is no root to begin with"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Refused(_) | Self::NoRoot => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// A device's view of a repository, up to date.
#[derive(Debug)]
pub struct Client {
    store: Store,
    update: Update,
}

impl Client {
    /// Gives a device the root that it was made with. What it keeps already stays.
    ///
    /// # Errors
    /// It is no root, or the disk.
    pub fn init(store: &Store, root: &[u8]) -> Result<(), Error> {
        let limits = Limits::default();
        Update::new(root, 0, limits)?;
        let name = name::kept("root");
        if store.read(&name, limits.root).map_err(Error::Store)?.is_none() {
            store.write(&Keep { name, bytes: root.to_vec() }).map_err(Error::Store)?;
        }
        Ok(())
    }

    /// Brings what is kept up to date. `now_s`: see [`Update::new`].
    ///
    /// # Errors
    /// See [`Error`]. What was taken before stays.
    pub async fn refresh<S: Source>(
        store: Store,
        source: &mut S,
        now_s: i64,
        limits: Limits,
    ) -> Result<Self, Error> {
        let root =
            store.read(&name::kept("root"), limits.root).map_err(Error::Store)?.ok_or(Error::NoRoot)?;
        let mut client = Self { update: Update::new(&root, now_s, limits)?, store };
        client.go_on(source).await?;
        if !client.update.is_ready() {
            return Err(Refusal::of("update", Why::Missing).into());
        }
        client.store.keep_only(client.update.kept()).map_err(Error::Store)?;
        Ok(client)
    }

    /// What was signed of a target.
    ///
    /// # Errors
    /// See [`Error`]; nobody who may says that there is such a target.
    pub async fn find<S: Source>(&mut self, source: &mut S, path: &str) -> Result<Found, Error> {
        self.update.look_for(path)?;
        self.go_on(source).await?;
        Ok(self.update.found()?)
    }

    /// Fetches a target into `into`, checked as it comes. What was written is worth something only when this comes back well.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn download<S: Source>(
        source: &mut S,
        found: &Found,
        into: &mut impl io::Write,
    ) -> Result<(), Error> {
        let mut check = Check::new(&found.path, &found.target)?;
        let opened = source.open(Place::Target(&found.file), 0).await?;
        let mut body = opened.ok_or_else(|| Refusal::of(&found.path, Why::Missing))?;
        while let Some(chunk) = body.chunk().await? {
            check.update(chunk)?;
            into.write_all(chunk).map_err(Error::Store)?;
        }
        Ok(check.finish()?)
    }

    /// The newest root's version.
    pub fn root_version(&self) -> u64 {
        self.update.root().version
    }

    async fn go_on<S: Source>(&mut self, source: &mut S) -> Result<(), Error> {
        loop {
            let bytes = match self.update.ask() {
                Ask::Nothing => return Ok(()),
                Ask::Kept { name, most } => self.store.read(&name, most).map_err(Error::Store)?,
                Ask::Fetch { name, most } => fetch(source, &name, most).await?,
            };
            if let Some(keep) = self.update.give(bytes)? {
                self.store.write(&keep).map_err(Error::Store)?;
            }
        }
    }
}

/// A file of metadata, no longer than `most`.
async fn fetch<S: Source>(source: &mut S, name: &str, most: usize) -> Result<Option<Vec<u8>>, Error> {
    let Some(mut body) = source.open(Place::Metadata(name), 0).await? else { return Ok(None) };
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if bytes.len() + chunk.len() > most {
            return Err(
                Refusal::of(name, Why::Length { most: u64::try_from(most).unwrap_or(u64::MAX) }).into()
            );
        }
        bytes.extend_from_slice(chunk);
    }
    Ok(Some(bytes))
}
