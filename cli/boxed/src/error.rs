//! Why nothing was recorded, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sandboxd::problem::BoxError;
use sys::step::Step;

/// What kept the box from being made, launched or watched.
#[derive(Debug)]
pub enum Error {
    /// Not root.
    NotRoot,
    /// No cgroup v2 mount.
    NoCgroup,
    /// A file of the app can not be read.
    App(PathBuf, io::Error),
    /// The app has no root directory.
    NoRoot(PathBuf),
    /// The manifest has problems, one text each.
    Manifest(Vec<String>),
    /// The file of answers is not what it must be.
    Answers(PathBuf, String),
    /// The box can not be built.
    Box(BoxError),
    /// The kernel refused a step of the launch.
    Refused(Step, io::Error),
    /// Something of this machine failed.
    Machine(&'static str, io::Error),
}

impl Error {
    /// What to do about it; empty where the message says it all.
    pub fn help(&self) -> String {
        match self {
            Self::NotRoot => "boxes are made by root: run it with sudo".into(),
            Self::NoCgroup => "mount one: mount -t cgroup2 none /sys/fs/cgroup".into(),
            Self::App(..) | Self::NoRoot(..) => {
                "an app is a directory with `manifest.toml` and `root/`; for any other directory use --root".into()
            }
            Self::Manifest(_) => "`gabion check` says more".into(),
            Self::Answers(..) => r#"write {"os.gabion.Device.GetInfo": {…parameters…}}"#.into(),
            Self::Box(error) => error.help(),
            Self::Refused(Step::Landlock, _) => "boxes need Landlock ABI 6 (Linux 6.12); use such a kernel".into(),
            Self::Refused(Step::Exec, _) => {
                "is its interpreter or loader in the root too, executable for everybody, in a directory that is?".into()
            }
            Self::Refused(..) | Self::Machine(..) => String::new(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRoot => f.write_str("not root"),
            Self::NoCgroup => f.write_str("no cgroup v2 file system is mounted"),
            Self::App(path, e) => write!(f, "can not read {}: {e}", path.display()),
            Self::NoRoot(path) => write!(f, "no directory {}", path.display()),
            Self::Manifest(problems) => f.write_str(&problems.join("\n")),
            Self::Answers(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Box(error) => write!(f, "{error}"),
            Self::Refused(step, e) => write!(f, "the kernel refused the launch at step {}: {e}", step.name()),
            Self::Machine(what, e) => write!(f, "{what}: {e}"),
        }
    }
}

// No `source()`: the messages above already carry the cause.
impl std::error::Error for Error {}

impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        Self::Box(error)
    }
}

/// Names what failed, in passing.
pub(crate) trait Context<T> {
    fn context(self, what: &'static str) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|e| Error::Machine(what, e.into()))
    }
}
