//! Updates of the system and of the app, and putting them off: `os.gabion.Update`.
//!
//! Before an update is applied, who watches is told twice: `Pending`, when it still can be put off, and `Final`, shortly
//! before it happens.

use serde::{Deserialize, Serialize};

use crate::call::{CallError, Connection, Nothing, Replies};

/// There is no update that could be put off.
pub const NOTHING_PENDING: &str = "os.gabion.Update.NothingPending";
/// The time is over the limit; its parameter `limit_minutes` is the longest that would be accepted.
pub const TOO_LONG: &str = "os.gabion.Update.TooLong";
/// The update is being applied already.
pub const TOO_LATE: &str = "os.gabion.Update.TooLate";
/// The service could not be asked.
pub const CHECK_FAILED: &str = "os.gabion.Update.CheckFailed";
/// A check was asked for too soon; its parameter `wait_s` is how long to wait, seconds.
pub const TOO_OFTEN: &str = "os.gabion.Update.TooOften";

/// What an update replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The system: the device boots to apply it.
    Os,
    /// This app: it is restarted.
    App,
}

/// How far an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// There is none.
    None,
    /// It is being fetched.
    Fetching,
    /// It is fetched and checked, and waits to be applied.
    Pending,
    /// It waits because somebody put it off.
    Deferred,
    /// It is being applied.
    Applying,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// One update.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// What it replaces.
    pub target: Target,
    /// The version that runs now.
    pub running_version: String,
    /// The version that is coming.
    pub coming_version: Option<String>,
    /// How far it is.
    pub state: State,
    /// Until when it is put off, microseconds since 1970-01-01 UTC.
    pub deferred_until_us: Option<i64>,
    /// When the last check ended, microseconds since 1970-01-01 UTC.
    pub checked_us: Option<i64>,
    /// What the last check or update failed with, for people.
    pub failure: Option<String>,
}

/// What happens to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Happening {
    /// It is ready and will be applied at [`Event::at_us`], unless it is put off.
    Pending,
    /// It is applied in a few seconds and cannot be put off any more.
    Final,
    /// It was put off until [`Event::at_us`].
    Deferred,
    /// It was applied, and runs.
    Complete,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// Something that happens to an update.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// What it is about.
    pub target: Target,
    /// What happens.
    pub happening: Happening,
    /// The version that is coming, or came.
    pub version: String,
    /// The time that `happening` speaks of, microseconds since 1970-01-01 UTC.
    pub at_us: Option<i64>,
}

#[derive(Deserialize)]
struct Updates {
    updates: Vec<Status>,
}

#[derive(Serialize)]
struct Defer {
    target: Target,
    minutes: u32,
}

#[derive(Deserialize)]
struct Deferred {
    until_us: i64,
}

#[derive(Serialize)]
struct Resume {
    target: Target,
}

/// `os.gabion.Update`.
#[derive(Debug)]
pub struct Update(Connection);

impl Update {
    /// By the app's own manifest.
    pub fn of_app() -> Self {
        Self(Connection::to("os.gabion.Update"))
    }

    /// Over a connection to who serves it: for tests of an app.
    pub fn over(connection: Connection) -> Self {
        Self(connection)
    }

    /// The system's update and this app's: `os.gabion.Update.GetStatus`. The manifest needs `[uses] "os.gabion.Update" =
    /// ["GetStatus"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// for update in gabion::update::Update::of_app().status().await? {
    ///     println!("{:?} {} {:?}", update.target, update.running_version, update.coming_version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn status(&mut self) -> Result<Vec<Status>, CallError> {
        Ok(self.0.call_again::<Updates>("GetStatus", &Nothing {}).await?.updates)
    }

    /// Looks for updates now, which may take a while: `os.gabion.Update.CheckNow`. The manifest needs `[uses]
    /// "os.gabion.Update" = ["CheckNow"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// let found = gabion::update::Update::of_app().check_now().await?;
    /// println!("{}", found.iter().any(|update| update.coming_version.is_some()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CHECK_FAILED`], [`TOO_OFTEN`]; see [`CallError`].
    pub async fn check_now(&mut self) -> Result<Vec<Status>, CallError> {
        Ok(self.0.call_again::<Updates>("CheckNow", &Nothing {}).await?.updates)
    }

    /// Puts an update off for so many minutes from now, and gives the time until when, microseconds since 1970-01-01 UTC:
    /// `os.gabion.Update.Defer`. The manifest needs `[uses] "os.gabion.Update" = ["Defer"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// use gabion::update::{NOTHING_PENDING, Target, Update};
    ///
    /// let mut updates = Update::of_app();
    /// match updates.defer(Target::App, 30).await {
    ///     Ok(until_us) => println!("not before {until_us}"),
    ///     Err(error) if error.is(NOTHING_PENDING) => {}
    ///     Err(error) => return Err(error),
    /// }
    /// // As soon as it may happen after all:
    /// updates.resume(Target::App).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NOTHING_PENDING`], [`TOO_LONG`], [`TOO_LATE`]; see [`CallError`].
    pub async fn defer(&mut self, target: Target, minutes: u32) -> Result<i64, CallError> {
        let deferred: Deferred = self.0.call_again("Defer", &Defer { target, minutes }).await?;
        Ok(deferred.until_us)
    }

    /// Lets an update that was put off go on at once: `os.gabion.Update.Resume`. The manifest needs `[uses]
    /// "os.gabion.Update" = ["Resume"]`. Example: see [`Update::defer`].
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn resume(&mut self, target: Target) -> Result<(), CallError> {
        self.0.call_again("Resume", &Resume { target }).await.map(|Nothing {}| ())
    }

    /// What happens to updates from now on, on a connection of its own: `os.gabion.Update.Watch`. The manifest needs
    /// `[uses] "os.gabion.Update" = ["Watch"]`.
    pub fn watch(&self) -> Watch {
        Watch(self.0.another().more("Watch", Nothing {}))
    }
}

/// What happens to updates.
///
/// ```no_run
/// # async fn f() -> Result<(), gabion::call::CallError> {
/// use gabion::update::{Happening, Target, Update};
/// use std::time::Duration;
///
/// let mut updates = Update::of_app();
/// let mut watch = updates.watch();
/// let mut tick = tokio::time::interval(Duration::from_secs(1));
/// # let heating = true;
/// loop {
///     tokio::select! {
///         event = watch.next() => match event?.happening {
///             Happening::Pending if heating => drop(updates.defer(Target::App, 30).await?),
///             Happening::Final => break,
///             _ => {}
///         },
///         _ = tick.tick() => { /* the app's own work */ }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watch(Replies<Nothing, Event>);

impl Watch {
    /// Waits for the next event. May stand in `select!`: what is dropped while it waits loses nothing. It is watched from
    /// the first time on that this is asked, and watched anew when it is asked after an error.
    ///
    /// # Errors
    /// [`CallError::Closed`], when who serves it was started anew; what happened until it is next asked is not told, so look
    /// at [`Update::status`] then.
    pub async fn next(&mut self) -> Result<Event, CallError> {
        self.0.next().await?.ok_or(CallError::Closed)
    }
}
