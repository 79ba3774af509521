//! Switching the device off, or off and on: `os.gabion.Power`.

use serde::Serialize;

use crate::call::{CallError, Connection, Nothing};

/// The device is already on its way down.
pub const BUSY: &str = "os.gabion.Power.Busy";

/// `os.gabion.Power`. A reason is one printable line of at most 120 bytes, for the record; the answer comes before anything
/// is ended.
///
/// ```no_run
/// # async fn f() -> Result<(), gabion::call::CallError> {
/// use gabion::power::{BUSY, Power};
///
/// match Power::of_app().reboot("the sensor's driver hangs").await {
///     Err(error) if error.is(BUSY) => {}
///     other => other?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Power(Connection);

#[derive(Serialize)]
struct Why<'a> {
    reason: &'a str,
}

impl Power {
    /// By the app's own manifest.
    pub fn of_app() -> Self {
        Self(Connection::to("os.gabion.Power"))
    }

    /// Over a connection to who serves it: for tests of an app.
    pub fn over(connection: Connection) -> Self {
        Self(connection)
    }

    /// Ends every app and boots again: `os.gabion.Power.Reboot`. The manifest needs `[uses] "os.gabion.Power" = ["Reboot"]`.
    ///
    /// # Errors
    /// [`BUSY`]; see [`CallError`].
    pub async fn reboot(&mut self, reason: &str) -> Result<(), CallError> {
        self.0.call("Reboot", &Why { reason }).await.map(|Nothing {}| ())
    }

    /// Ends every app and switches off: `os.gabion.Power.PowerOff`. The manifest needs `[uses] "os.gabion.Power" =
    /// ["PowerOff"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// gabion::power::Power::of_app().power_off("the battery is low").await
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BUSY`]; see [`CallError`].
    pub async fn power_off(&mut self, reason: &str) -> Result<(), CallError> {
        self.0.call("PowerOff", &Why { reason }).await.map(|Nothing {}| ())
    }
}
