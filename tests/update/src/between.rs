//! Whoever is between a device and its repository: gives other files, none, or one that never ends.

use std::collections::BTreeMap;
use std::path::Path;

use tuf::source::{Body, Folders, Opened, Place, Source, SourceError};

/// What is done to a file.
#[derive(Clone, Debug)]
enum Act {
    Instead(Vec<u8>),
    Missing,
    Endless,
    /// No connection from here on.
    Cut,
}

/// Somebody in between.
#[derive(Debug)]
pub struct Between {
    real: Folders,
    acts: BTreeMap<String, Act>,
    /// What was asked for, in order.
    pub asked: Vec<String>,
    /// How many bytes were given of files that never end.
    pub given: std::rc::Rc<std::cell::Cell<u64>>,
}

/// A file on its way.
#[derive(Debug)]
pub enum File {
    /// As it is in the folder.
    Real(Opened),
    /// Another.
    Instead(Vec<u8>, bool),
    /// One that never ends, and who counts what was taken of it.
    Endless(Box<[u8]>, std::rc::Rc<std::cell::Cell<u64>>),
}

impl Between {
    /// Nothing is done yet.
    pub fn new(site: &Path) -> Self {
        let real = Folders { metadata: site.join("metadata"), targets: site.join("targets") };
        Self { real, acts: BTreeMap::new(), asked: Vec::new(), given: Default::default() }
    }

    /// Gives these bytes for a file.
    pub fn instead(mut self, name: &str, bytes: Vec<u8>) -> Self {
        self.acts.insert(name.to_owned(), Act::Instead(bytes));
        self
    }

    /// What is given in the place of a file.
    pub fn what(&self, name: &str) -> Option<Vec<u8>> {
        match self.acts.get(name) {
            Some(Act::Instead(bytes)) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Puts what is given in the place of files into a repository, for those who read a folder.
    ///
    /// # Errors
    /// The disk.
    pub fn put(&self, site: &Path) -> std::io::Result<()> {
        for (name, act) in &self.acts {
            if let Act::Instead(bytes) = act {
                std::fs::write(site.join("metadata").join(name), bytes)?;
            }
        }
        Ok(())
    }

    /// Says that there is no such file.
    pub fn missing(mut self, name: &str) -> Self {
        self.acts.insert(name.to_owned(), Act::Missing);
        self
    }

    /// Never stops giving bytes for a file.
    pub fn endless(mut self, name: &str) -> Self {
        self.acts.insert(name.to_owned(), Act::Endless);
        self
    }

    /// Ends the connection when a file is asked for.
    pub fn cut(mut self, name: &str) -> Self {
        self.acts.insert(name.to_owned(), Act::Cut);
        self
    }
}

impl Source for Between {
    type Body = File;

    async fn open(&mut self, place: Place<'_>, from: u64) -> Result<Option<File>, SourceError> {
        let (Place::Metadata(name) | Place::Target(name)) = place;
        self.asked.push(name.to_owned());
        match self.acts.get(name) {
            None => Ok(self.real.open(place, from).await?.map(File::Real)),
            Some(Act::Missing) => Ok(None),
            Some(Act::Instead(bytes)) => Ok(Some(File::Instead(bytes.clone(), false))),
            Some(Act::Endless) => Ok(Some(File::Endless(vec![b' '; 4096].into(), self.given.clone()))),
            Some(Act::Cut) => Err(SourceError::Io(std::io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl Body for File {
    async fn chunk(&mut self) -> Result<Option<&[u8]>, SourceError> {
        match self {
            Self::Real(opened) => opened.chunk().await,
            Self::Instead(_, true) => Ok(None),
            Self::Instead(bytes, said) => {
                *said = true;
                Ok(Some(bytes))
            }
            Self::Endless(chunk, given) => {
                given.set(given.get() + 4096);
                Ok(Some(chunk))
            }
        }
    }
}
