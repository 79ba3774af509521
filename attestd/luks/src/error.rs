//! What may be wrong with a header, or with reading it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// Why a header was not made, read or opened.
#[derive(Debug)]
pub enum Error {
    /// The disk can't be read or written.
    Disk(io::Error),
    /// There is no header, or one that was never finished: the first copy does not begin as one, and the second is not
    /// whole.
    Absent,
    /// There was a header: the first copy begins as one, and neither is whole.
    Damaged,
    /// It is whole, and not one that this crate reads.
    Foreign(&'static str),
    /// No slot opens with this passphrase.
    Passphrase,
    /// What was to be stored does not fit.
    TooLong,
    /// The system has no random numbers for us.
    NoRandom,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(_) => write!(f, "can't read or write the disk"),
            Self::Absent => write!(f, "the disk has no luks header"),
            Self::Damaged => write!(f, "both copies of the luks header are damaged"),
            Self::Foreign(what) => write!(f, "the luks header is not one of ours: {what}"),
            Self::Passphrase => write!(f, "no slot opens with this passphrase"),
            Self::TooLong => write!(f, "the token is too long for the header"),
            Self::NoRandom => write!(f, "the system has no random numbers"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Disk(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}
