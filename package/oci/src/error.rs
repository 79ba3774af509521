//! Why an image is not taken.

use std::fmt;
use std::io;

/// What is wrong.
#[derive(Debug)]
pub enum Error {
    /// There is no image at that place.
    NotAnImage(String),
    /// The image contradicts itself, or what is said of it.
    Damaged(String),
    /// It is larger than is taken.
    TooLarge(&'static str),
    /// There is one, and none for this processor.
    Platform(String),
    /// A file system's error, and during what.
    Io(String, io::Error),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        Self::Io(what.into(), error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage(why) => write!(
                f,
                "no container image: {why}; an OCI layout (a directory or a tar file), or what `docker save` writes, is taken"
            ),
            Self::Damaged(why) => write!(f, "the image is damaged: {why}"),
            Self::TooLarge(what) => write!(f, "the image has {what}"),
            Self::Platform(found) => {
                write!(
                    f,
                    "the image is for {found}; fetch the one for this machine (`skopeo copy --override-arch`)"
                )
            }
            Self::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {}
