//! An app's watchdog, as a deadline. No clock inside.

/// The longest silence an app may keep, and since when it has been silent.
#[derive(Debug, Clone, Default)]
pub struct Watchdog {
    limit_ms: Option<u32>,
    deadline_ms: Option<u64>,
}

impl Watchdog {
    /// From the manifest; takes effect now if the app is up.
    pub fn set(&mut self, limit_ms: Option<u32>, up: bool, now_ms: u64) {
        self.limit_ms = limit_ms;
        self.deadline_ms = None;
        if up {
            self.alive(now_ms);
        }
    }

    /// The app started, or said `WATCHDOG=1`.
    pub fn alive(&mut self, now_ms: u64) {
        self.deadline_ms = self.limit_ms.map(|ms| now_ms + u64::from(ms));
    }

    /// The app says it is broken: overdue at once, if it is watched at all.
    pub fn trigger(&mut self, now_ms: u64) {
        self.deadline_ms = self.limit_ms.map(|_| now_ms);
    }

    /// The app is down: nothing is expected of it.
    pub fn rest(&mut self) {
        self.deadline_ms = None;
    }

    /// When it will be overdue.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    /// The broken limit, once per silence.
    pub fn overdue(&mut self, now_ms: u64) -> Option<u32> {
        if self.deadline_ms.is_some_and(|at| at <= now_ms) {
            self.deadline_ms = None;
            return self.limit_ms;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_fires_once_after_silence() {
        let mut watchdog = Watchdog::default();
        watchdog.set(Some(100), true, 1000);
        assert_eq!(watchdog.overdue(1099), None);
        watchdog.alive(1099);
        assert_eq!(watchdog.overdue(1198), None);
        assert_eq!(watchdog.overdue(1199), Some(100));
        assert_eq!(watchdog.overdue(9999), None);
    }

    #[test]
    fn watchdog_of_an_app_that_is_down_or_has_none_is_silent() {
        let mut watchdog = Watchdog::default();
        watchdog.alive(0);
        assert_eq!(watchdog.overdue(u64::MAX), None);
        watchdog.set(Some(1), false, 0);
        assert_eq!(watchdog.overdue(u64::MAX), None);
        watchdog.alive(0);
        watchdog.rest();
        assert_eq!(watchdog.overdue(u64::MAX), None);
    }
}
