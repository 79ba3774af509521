//! What can be wrong with a box, said so that somebody can act on it: the thing by name, and a remedy.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A step of making a box that only fails when the device itself is short of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Starting the builder thread.
    Thread,
    /// Leaving our mount namespace.
    Namespace,
    /// Cloning and attaching the root.
    Root,
    /// `/dev`.
    Devices,
    /// `/data`.
    Storage,
    /// `/run` and the notify socket.
    Run,
    /// Making the box's root the namespace's root.
    Pivot,
    /// The Landlock ruleset.
    Landlock,
    /// The seccomp program's memfd.
    Seccomp,
    /// The cgroup and its limits.
    Cgroup,
    /// The network namespace.
    Network,
    /// The log pipes and standard input.
    Stdio,
    /// The storage quota.
    Quota,
    /// Loop device and dm-verity of an image.
    Verity,
    /// Mounting an image.
    Image,
}

impl Step {
    /// The step's name as events and tests know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Namespace => "namespace",
            Self::Root => "root",
            Self::Devices => "devices",
            Self::Storage => "storage",
            Self::Run => "run",
            Self::Pivot => "pivot",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Cgroup => "cgroup",
            Self::Network => "network",
            Self::Stdio => "stdio",
            Self::Quota => "quota",
            Self::Verity => "verity",
            Self::Image => "image",
        }
    }
}

/// Why a box was not made.
#[derive(Debug)]
pub enum BoxError {
    /// A step failed.
    Step(Step, io::Error),
    /// The app's root directory can not be opened.
    Root(PathBuf, io::Error),
    /// A mount point is missing in the app's root.
    MountPoint(String, io::Error),
    /// The program to run is not there, or (no source) not an executable file.
    Executable(String, Option<io::Error>),
    /// A device outside `/dev`, or in a folder of it.
    DeviceName(String),
    /// A device this board does not have.
    NoDevice(String, io::Error),
    /// A device that the app with this uid holds.
    DeviceHeld(String, u32),
    /// The kernel's Landlock can not enforce what a box needs.
    Landlock(String),
    /// Nothing would hold a box to the network that it was granted.
    NoFirewall,
    /// A limit the kernel has no controller for.
    NoController(String, io::Error),
    /// `root.verity` does not say what it must.
    VerityText(String),
}

impl BoxError {
    /// A failed step.
    pub fn step(step: Step, error: impl Into<io::Error>) -> Self {
        Self::Step(step, error.into())
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Step(Step::Verity | Step::Image, _) => {
                "the image or its root hash is damaged: install the app again".into()
            }
            Self::Step(..) => "see the kernel's log; the box stays down, other boxes are not affected".into(),
            Self::Root(..) => "an app is a directory with `manifest.toml` and `root/` (or `root.img`)".into(),
            Self::MountPoint(name, _) => format!("put an empty directory `{name}` into the app's root"),
            Self::Executable(path, Some(_)) => {
                format!("put the program into the app's root at {path}, or correct `exec` in its manifest")
            }
            Self::Executable(..) => "it must be a regular file that others may execute (mode 0755)".into(),
            Self::DeviceName(_) => "name a device as /dev/NAME".into(),
            Self::NoDevice(..) => "remove it from `[devices]`, or use a board that has it".into(),
            Self::DeviceHeld(..) => {
                "a device belongs to one app: remove it from the other's manifest first".into()
            }
            Self::Landlock(_) => "boxes need Landlock ABI 6 (Linux 6.12); use such a kernel".into(),
            Self::NoFirewall => {
                "the console said at the start what the kernel lacks; without [network] the app starts".into()
            }
            Self::NoController(..) => "the kernel needs cgroup v2 with memory, cpu and pids".into(),
            Self::VerityText(_) => "pack the app again; root.verity is one line made by the packer".into(),
        }
    }
}

impl fmt::Display for BoxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step, e) => write!(f, "can not prepare the box: step {}: {e}", step.name()),
            Self::Root(path, e) => write!(f, "can not open the app's root {}: {e}", path.display()),
            Self::MountPoint(name, e) => write!(f, "the app's root has no directory /{name}: {e}"),
            Self::Executable(path, Some(e)) => write!(f, "the program {path} is not in the app's root: {e}"),
            Self::Executable(path, None) => write!(f, "{path} is not an executable file"),
            Self::DeviceName(path) => write!(f, "{path} is no device name"),
            Self::NoDevice(path, e) => write!(f, "this device has no character device {path}: {e}"),
            Self::DeviceHeld(path, uid) => write!(f, "{path} is held by the app with uid {uid}"),
            Self::Landlock(why) => write!(f, "the kernel can not enforce the box's Landlock rules: {why}"),
            Self::NoFirewall => write!(f, "it has a [network], and the device has no firewall"),
            Self::NoController(file, e) => write!(f, "can not set the limit {file}: {e}"),
            Self::VerityText(why) => write!(f, "root.verity: {why}"),
        }
    }
}

// No `source()`: the messages above are for one console line and already carry the cause.
impl std::error::Error for BoxError {}
