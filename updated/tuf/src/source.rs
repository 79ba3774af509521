//! Where a repository's files come from.
//!
//! What an attacker controls: everything that comes. Who reads decides when it is enough.

use std::fmt;
use std::fs::File;
use std::future::{Future, ready};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

/// A file of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Metadata: one name.
    Metadata(&'a str),
    /// A target: a path that leads down.
    Target(&'a str),
}

/// Why nothing comes.
#[derive(Debug)]
pub enum SourceError {
    /// A disk, or a connection.
    Io(io::Error),
    /// The server says something else than yes or that there is none.
    Refused(u16),
    /// It comes too slowly.
    Slow,
    /// The server's words are not understood.
    Form(String),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("reading"),
            Self::Refused(status) => write!(f, "the server refuses ({status})"),
            Self::Slow => f.write_str("it comes too slowly"),
            Self::Form(why) => write!(f, "the server's answer is not understood: {why}"),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for SourceError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A repository.
pub trait Source {
    /// A file on its way.
    type Body: Body;

    /// Opens a file from its byte `from` on; none if there is no such file.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn open(
        &mut self,
        place: Place<'_>,
        from: u64,
    ) -> impl Future<Output = Result<Option<Self::Body>, SourceError>>;

    /// Opens a part of a file. What goes on after its end is not to be taken: a source that can send the part alone does.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn open_part(
        &mut self,
        place: Place<'_>,
        part: Range<u64>,
    ) -> impl Future<Output = Result<Option<Self::Body>, SourceError>> {
        self.open(place, part.start)
    }
}

/// A file on its way.
pub trait Body {
    /// The next bytes; none at its end.
    ///
    /// # Errors
    /// See [`SourceError`].
    fn chunk(&mut self) -> impl Future<Output = Result<Option<&[u8]>, SourceError>>;
}

/// A repository in folders: on a disk that was put in, or copied over a cable.
#[derive(Debug)]
pub struct Folders {
    /// Where its metadata is.
    pub metadata: PathBuf,
    /// Where its targets are.
    pub targets: PathBuf,
}

/// A file of it.
#[derive(Debug)]
pub struct Opened {
    file: File,
    chunk: Box<[u8]>,
}

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

impl Source for Folders {
    type Body = Opened;

    fn open(
        &mut self,
        place: Place<'_>,
        from: u64,
    ) -> impl Future<Output = Result<Option<Opened>, SourceError>> {
        let path = match place {
            Place::Metadata(name) => self.metadata.join(name),
            Place::Target(path) => self.targets.join(path),
        };
        let opened = File::open(path).and_then(|mut file| {
            if from > 0 {
                file.seek(SeekFrom::Start(from))?;
            }
            Ok(Opened { file, chunk: vec![0; CHUNK].into() })
        });
        ready(match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        })
    }
}

impl Body for Opened {
    fn chunk(&mut self) -> impl Future<Output = Result<Option<&[u8]>, SourceError>> {
        let read = self.file.read(&mut self.chunk);
        ready(
            read.map(|length| self.chunk.get(..length).filter(|chunk| !chunk.is_empty())).map_err(Into::into),
        )
    }
}
