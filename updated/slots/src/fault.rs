//! Why a disk is not read or written.

use std::{fmt, io};

/// What is wrong with a disk, or with what is asked of it.
#[derive(Debug)]
pub enum Fault {
    /// The disk's own.
    Disk(io::Error),
    /// A structure on it is not what the standards say; which.
    Damaged(&'static str),
    /// There is nothing by this name.
    Missing(String),
    /// There is something by this name already.
    Exists(String),
    /// A name that cannot be written.
    Name(String),
    /// No room is left; where.
    Full(&'static str),
    /// A file is longer than whoever reads it takes, bytes.
    Long(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk: {error}"),
            Self::Damaged(what) => write!(f, "{what} is damaged"),
            Self::Missing(name) => write!(f, "there is no {name}"),
            Self::Exists(name) => write!(f, "there is a {name} already"),
            Self::Name(name) => write!(f, "{name} cannot be a name here"),
            Self::Full(what) => write!(f, "no room is left {what}"),
            Self::Long(bytes) => write!(f, "a file of {bytes} bytes is too long"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}
