//! What the device is: `os.gabion.Device`.

use serde::Deserialize;

use crate::call::{CallError, Connection, Nothing};

/// `os.gabion.Device`.
///
/// ```no_run
/// # async fn f() -> Result<(), gabion::call::CallError> {
/// let info = gabion::device::Device::of_app().info().await?;
/// println!("{} {} on {}", info.os, info.os_version, info.board);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Device(Connection);

/// What does not change until the next boot, and how long ago that was.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// The system's name.
    pub os: String,
    /// Its version.
    pub os_version: String,
    /// The board, as its firmware names it, or `unknown`.
    pub board: String,
    /// The processor's architecture, as `uname -m` names it.
    pub architecture: String,
    /// The kernel's release.
    pub kernel: String,
    /// A random name of this boot: 32 hexadecimal digits.
    pub boot_id: String,
    /// Since the kernel started, microseconds; time asleep is counted.
    pub uptime_us: u64,
    /// The mode the system runs in.
    pub mode: Mode,
    /// Whether it is a developer's device.
    pub developer: bool,
    /// Memory that the kernel can use, bytes.
    pub memory_bytes: u64,
}

/// The state of the system as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// Everything is allowed to run.
    Normal,
    /// Only the system's own boxes run.
    Safe,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

impl Device {
    /// By the app's own manifest.
    pub fn of_app() -> Self {
        Self(Connection::to("os.gabion.Device"))
    }

    /// Over a connection to who serves it: for tests of an app.
    pub fn over(connection: Connection) -> Self {
        Self(connection)
    }

    /// `os.gabion.Device.GetInfo`. The manifest needs `[uses] "os.gabion.Device" = ["GetInfo"]`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn info(&mut self) -> Result<Info, CallError> {
        self.0.call_again("GetInfo", &Nothing {}).await
    }
}
