//! Being up, and the watchdog: `sd_notify`, as `[lifecycle] notify` and `watchdog` of the manifest want it.
//!
//! Where nobody listens, nothing happens and it is no error.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::task::JoinHandle;

/// Says that the app is up.
///
/// ```
/// gabion::notify::ready()?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// The message could not be sent.
pub fn ready() -> io::Result<()> {
    say("READY=1")
}

/// Says how the app is, in one line, for `gabion ps`.
///
/// ```
/// gabion::notify::status("heating to 21 degrees")?;
/// # std::io::Result::Ok(())
/// ```
///
/// # Errors
/// It is not one line, or the message could not be sent.
pub fn status(text: &str) -> io::Result<()> {
    if text.contains('\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a status is one line"));
    }
    say(&format!("STATUS={text}"))
}

fn say(message: &str) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(message.as_bytes(), &address(&path)?).map(drop)
}

/// A path, or, with `@` in front, a name without one.
fn address(path: &OsString) -> io::Result<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

/// The watchdog of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watchdog {
    period: Duration,
}

impl Watchdog {
    /// `None` when the manifest has none.
    ///
    /// ```
    /// use gabion::notify::Watchdog;
    ///
    /// if let Some(watchdog) = Watchdog::of_app() {
    ///     watchdog.ping()?; // at least each watchdog.every()
    /// }
    /// # std::io::Result::Ok(())
    /// ```
    pub fn of_app() -> Option<Self> {
        Self::of(&env::var("WATCHDOG_USEC").ok()?)
    }

    fn of(us: &str) -> Option<Self> {
        let us = us.parse().ok().filter(|us| *us > 0)?;
        Some(Self { period: Duration::from_micros(us) })
    }

    /// How often to feed it: half of what the manifest says.
    pub fn every(&self) -> Duration {
        self.period / 2
    }

    /// Feeds it. Say it where the app's work is done: what is to be noticed is that it is not done any more.
    ///
    /// # Errors
    /// The message could not be sent.
    pub fn ping(&self) -> io::Result<()> {
        say("WATCHDOG=1")
    }

    /// Feeds it from a task of its own, as long as `well` says so. That alone shows that the runtime still turns; `well` is where
    /// the app says whether it does its work.
    ///
    /// ```no_run
    /// # async fn f() {
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// let worked = Arc::new(AtomicBool::new(true));
    /// let seen = Arc::clone(&worked);
    /// if let Some(watchdog) = gabion::notify::Watchdog::of_app() {
    ///     watchdog.feed(move || seen.swap(false, Ordering::Relaxed));
    /// }
    /// // … and after each piece of work:
    /// worked.store(true, Ordering::Relaxed);
    /// # }
    /// ```
    pub fn feed(self, mut well: impl FnMut() -> bool + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(self.every());
            loop {
                tick.tick().await;
                if well() {
                    // It is said again soon.
                    let _ = self.ping();
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_is_fed_twice_as_often_as_the_manifest_says() {
        assert_eq!(Watchdog::of("30000000").unwrap().every(), Duration::from_secs(15));
        for none in ["", "0", "-1", "30s", "1.5"] {
            assert_eq!(Watchdog::of(none), None, "{none}");
        }
    }

    #[test]
    fn status_of_two_lines_is_refused() {
        assert_eq!(status("a\nWATCHDOG=1").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
