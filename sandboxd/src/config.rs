//! Where things are. Fixed paths of the image; only the two block devices come from the kernel's command line,
//! which is part of what was signed.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cgroup::Limits;
use crate::storage::Quota;

/// What the kernel is asked to record of the boxes' refused calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recording {
    /// What any layer refuses.
    Everything,
    /// What filters refuse, which needs no rule. For tests: a rule would hold for all of a developer's machine.
    Filters,
}

/// How the images of apps are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Under their root hash.
    Verified,
    /// As they are. For tests on a kernel without device mapper.
    NotVerified,
}

/// Paths and devices.
#[derive(Debug, Clone)]
pub struct Config {
    /// The app store.
    pub apps: PathBuf,
    /// The block device it is on; `None` when something else mounts it.
    pub apps_device: Option<PathBuf>,
    /// The writable file system.
    pub data: PathBuf,
    /// The block device it is on; `None` when something else mounts it.
    pub data_device: Option<PathBuf>,
    /// The EFI system partition; `None` on a board that boots without one.
    pub esp: Option<PathBuf>,
    /// Where the board has what an update of the system needs, in the verified root; most have no such file.
    pub layout: PathBuf,
    /// Which release this is, in the verified root.
    pub os_release: PathBuf,
    /// The kernel's command line.
    pub command_line: PathBuf,
    /// What is copied onto a blank data device.
    pub template: PathBuf,
    /// Plans and roots of the system's boxes.
    pub system: PathBuf,
    /// For sockets and mounted images; gone after a power cut.
    pub runtime: PathBuf,
    /// The cgroup v2 tree.
    pub cgroups: PathBuf,
    /// A developer's device, which shows more of itself than one in production. Part of what was signed.
    pub developer: bool,
    /// The board has a TPM: apps are measured before they are launched, and a board that lacks it launches none. Part of
    /// what was signed.
    pub tpm: bool,
    /// What the system lets no older one behind, once it is good. Part of what was signed.
    pub floor: u32,
    /// Start the system's boxes only.
    pub safe_mode: bool,
    /// Always enforced on a device; see [`Limits::NotEnforced`].
    pub limits: Limits,
    /// Always enforced on a device; see [`Quota::NotEnforced`].
    pub quota: Quota,
    /// Always everything on a device; see [`Recording::Filters`].
    pub recording: Recording,
    /// Always verified on a device; see [`Images::NotVerified`].
    pub images: Images,
}

impl Config {
    /// The device's own.
    pub fn of_device() -> Self {
        Self::told(|name| std::env::var_os(name), std::env::args_os())
    }

    /// The device's own, as the kernel's command line has it by way of environment and arguments: `GABION_APPS`,
    /// `GABION_DATA` and `GABION_ESP` name the block devices, `GABION_DEVELOPER=1` is a developer's, `GABION_TPM=1` has a TPM,
    /// `GABION_FLOOR` is a number, 0 where there is none; `--safe-mode` is `init`'s word.
    pub fn told(
        variable: impl Fn(&str) -> Option<OsString>,
        mut arguments: impl Iterator<Item = OsString>,
    ) -> Self {
        let device = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self {
            apps: "/apps".into(),
            apps_device: device("GABION_APPS"),
            data: "/data".into(),
            data_device: device("GABION_DATA"),
            esp: device("GABION_ESP"),
            layout: "/usr/share/gabion/disk.layout".into(),
            os_release: crate::release::OS_RELEASE.into(),
            command_line: "/proc/cmdline".into(),
            template: "/usr/share/gabion/data.ext4".into(),
            system: "/usr/share/gabion/system".into(),
            runtime: "/run/gabion".into(),
            cgroups: "/sys/fs/cgroup".into(),
            developer: variable("GABION_DEVELOPER").is_some_and(|v| v == "1"),
            tpm: variable("GABION_TPM").is_some_and(|v| v == "1"),
            floor: variable("GABION_FLOOR").and_then(|v| v.to_str()?.parse().ok()).unwrap_or(0),
            safe_mode: arguments.any(|a| a == "--safe-mode"),
            limits: Limits::Enforced,
            quota: Quota::Enforced,
            recording: Recording::Everything,
            images: Images::Verified,
        }
    }
}
