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
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotAnImage(_) => {
                "give an OCI layout (a directory or a tar file), as `skopeo copy docker://NAME oci-archive:FILE` makes one, or what \
                 `docker save` writes"
            }
            Self::Damaged(_) => "fetch or save the image again; if that is no help, it was made wrong",
            Self::TooLarge(_) => "make a smaller image, or build the app by an app.list",
            Self::Platform(_) => "fetch the one for this machine: `skopeo copy --override-arch`",
            Self::Io(..) => "see that the disk has room, and that the image may be read",
        }
    }

    /// The same, of this part of the image.
    pub(crate) fn within(self, part: &str) -> Self {
        match self {
            Self::Damaged(why) => Self::Damaged(format!("{part}: {why}")),
            Self::Io(what, error) => Self::Io(format!("{part}: {what}"), error),
            other => other,
        }
    }

    pub(crate) fn io(what: impl Into<String>, error: io::Error) -> Self {
        Self::Io(what.into(), error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage(why) => write!(f, "no container image: {why}"),
            Self::Damaged(why) => write!(f, "the image is damaged: {why}"),
            Self::TooLarge(what) => write!(f, "the image has {what}"),
            Self::Platform(found) => write!(f, "the image is for {found}"),
            Self::Io(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Error {}
