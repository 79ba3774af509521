//! Keeping `sandboxd` up, and safe mode when it cannot be kept up.

use std::ffi::CStr;
use std::io;

use sys::bundle::{Next, Restart};
use sys::{channel, process};

use crate::backoff::Backoff;
use crate::boot::manager_cgroup;
use crate::control::Control;
use crate::report::say;

const PATH: &CStr = c"/usr/bin/sandboxd";
/// Crashes without a good minute between them after which no app is started any more.
const SAFE_MODE_AFTER: u32 = 6;

/// `sandboxd` as a child of PID 1.
pub(crate) struct Manager {
    pid: Option<u32>,
    started_ms: u64,
    start_at_ms: Option<u64>,
    crashes: u32,
    backoff: Backoff,
    /// The system failed repeatedly: system boxes only, no apps.
    pub(crate) safe_mode: bool,
}

impl Manager {
    /// Not started yet; due at once.
    pub(crate) fn new() -> Manager {
        Manager {
            pid: None,
            started_ms: 0,
            start_at_ms: Some(0),
            crashes: 0,
            backoff: Backoff::default(),
            safe_mode: false,
        }
    }

    /// Starts it when that is due. Returns the new control socket.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Option<Control> {
        if self.start_at_ms.is_none_or(|at| at > now_ms) {
            return None;
        }
        self.started_ms = now_ms;
        match self.spawn() {
            Ok(control) => {
                self.start_at_ms = None;
                Some(control)
            }
            Err(e) => {
                say!("cannot start sandboxd: {e}");
                self.crashed(now_ms);
                None
            }
        }
    }

    fn spawn(&mut self) -> io::Result<Control> {
        let (ours, theirs) = channel::pair()?;
        let argv: &[&CStr] = if self.safe_mode { &[PATH, c"--safe-mode"] } else { &[PATH] };
        self.pid = Some(process::spawn_manager(argv, &theirs, &manager_cgroup()?)?);
        Ok(Control::new(ours))
    }

    /// Whether this pid is the manager's.
    pub(crate) fn is(&self, pid: u32) -> bool {
        self.pid == Some(pid)
    }

    /// The manager ended. True when this made the device enter safe mode.
    pub(crate) fn ended(&mut self, ended: process::Ended, stopping: bool, now_ms: u64) -> bool {
        self.pid = None;
        if stopping {
            return false;
        }
        say!("event manager-exited pid={} code={} status={}", ended.pid, ended.code, ended.status);
        self.crashed(now_ms)
    }

    fn crashed(&mut self, now_ms: u64) -> bool {
        let uptime_ms = now_ms.saturating_sub(self.started_ms);
        self.crashes = if uptime_ms >= 60_000 { 1 } else { self.crashes.saturating_add(1) };
        self.start_at_ms = Some(match self.backoff.next(Restart::Always, true, uptime_ms, now_ms) {
            Next::Stopped => now_ms,
            Next::Restart(ms) | Next::Backoff(ms) => now_ms + u64::from(ms),
        });
        let enter = self.crashes >= SAFE_MODE_AFTER && !self.safe_mode;
        self.safe_mode |= enter;
        enter
    }

    /// It fails in safe mode too. What is left is to boot again: a system on trial has so many attempts, and then none.
    pub(crate) fn is_lost(&self) -> bool {
        self.crashes >= 2 * SAFE_MODE_AFTER
    }

    /// When it is to be started.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.start_at_ms
    }

    /// Its pid while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many crashes at a time; whether the device entered safe mode with one.
    fn crash(manager: &mut Manager, times: u32, now_ms: u64) -> bool {
        (0..times).fold(false, |entered, _| manager.crashed(now_ms) || entered)
    }

    #[test]
    fn manager_that_fails_in_safe_mode_too_is_lost_and_one_with_a_good_minute_is_not() {
        let mut manager = Manager::new();
        assert!(!crash(&mut manager, 5, 0) && crash(&mut manager, 6, 0), "safe mode after six");
        assert!(manager.safe_mode && !manager.is_lost());
        crash(&mut manager, 1, 60_001);
        assert!(!manager.is_lost(), "it was up for a minute");
        manager.started_ms = 60_001;
        crash(&mut manager, 10, 60_002);
        assert!(!manager.is_lost());
        crash(&mut manager, 1, 60_002);
        assert!(manager.is_lost());
    }
}
