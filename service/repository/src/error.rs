//! What can go wrong.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing was done.
#[derive(Debug)]
pub enum Error {
    /// A file.
    Io(PathBuf, io::Error),
    /// A file that is not what it should be.
    Content(PathBuf, String),
    /// What was asked for can't be.
    Asked(String),
    /// A key's file does not open.
    Passphrase(PathBuf),
    /// There is no chance to be had.
    Random,
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io(path, error)
    }

    pub(crate) fn content(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Content(path, error.to_string())
    }
}

impl From<crate::seal::SecretError> for Error {
    fn from(_: crate::seal::SecretError) -> Self {
        Self::Random
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, _) => write!(f, "{}", path.display()),
            Self::Content(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Asked(why) => f.write_str(why),
            Self::Passphrase(path) => {
                write!(f, "{}: it does not open; is the passphrase right?", path.display())
            }
            Self::Random => f.write_str("the kernel gave no random bytes"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}
