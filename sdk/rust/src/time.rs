//! How far the device's clock can be trusted: `os.gabion.Time`.

use serde::Deserialize;

use crate::call::{CallError, Connection, Nothing};

/// `os.gabion.Time`.
///
/// ```no_run
/// # async fn f() -> Result<(), gabion::call::CallError> {
/// let clock = gabion::time::Time::of_app().status().await?;
/// if clock.synchronised {
///     println!("{} us, give or take {:?}", clock.realtime_us, clock.error_us);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Time(Connection);

/// Who set the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// Nobody: it may be wrong by years.
    None,
    /// The board's clock.
    Rtc,
    /// It was set to the latest time that is known to be over: it is late.
    Floor,
    /// A time server.
    Network,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// What the clock shows and where that came from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The time, microseconds since 1970-01-01 UTC.
    pub realtime_us: i64,
    /// The monotonic clock at the same moment, microseconds.
    pub monotonic_us: i64,
    /// Who set it last.
    pub source: Source,
    /// Whether it is kept in step with a time server now.
    pub synchronised: bool,
    /// The time server that counted most.
    pub server: Option<String>,
    /// How far off it may have been when it was last compared, microseconds.
    pub error_us: Option<i64>,
    /// Whether the server proved who it is.
    pub authenticated: bool,
    /// What the last questions to time servers failed by, for people.
    pub problem: Option<String>,
}

impl Time {
    /// By the app's own manifest.
    pub fn of_app() -> Self {
        Self(Connection::to("os.gabion.Time"))
    }

    /// Over a connection to who serves it: for tests of an app.
    pub fn over(connection: Connection) -> Self {
        Self(connection)
    }

    /// `os.gabion.Time.GetStatus`. The manifest needs `[uses] "os.gabion.Time" = ["GetStatus"]`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn status(&mut self) -> Result<Status, CallError> {
        self.0.call_again("GetStatus", &Nothing {}).await
    }
}
