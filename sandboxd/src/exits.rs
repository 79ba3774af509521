//! Why a box ended, and the record of it: one JSON object a line, the newest few hundred kept.
//!
//! What goes into a record are our own words and numbers; the only text from outside is the app's id, which
//! `policy` has checked.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;

use crate::logfile::tail;
use crate::syscalls;

/// At this size the file of records becomes `exits.1` and a new one begins, bytes.
const ROTATE_AT: u64 = 32 << 10;

/// Why a box ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It ended by itself with this code.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// It was killed for a system call it may not make; the number when it is known.
    Seccomp(Option<u64>),
    /// It was asked to end, and this signal made it.
    Stopped(i32),
    /// The kernel killed it for using more memory than it may.
    Oom(u64),
    /// It was silent for longer than its watchdog allows, so many milliseconds.
    Watchdog(u32),
    /// Its launch was refused at a step of the launch order, with an errno.
    Refused(&'static str, i32),
    /// So many ends, of which only the number is known: more than `init` keeps came while nobody was there to record.
    Unrecorded(u32),
}

/// What is known besides the wait status.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints {
    /// Somebody wants it stopped.
    pub asked: bool,
    /// We had it killed for silence of so many milliseconds.
    pub watchdog_ms: Option<u32>,
    /// Kills for memory in its cgroup since the last exit.
    pub oom_kills: u64,
    /// The call it was killed for.
    pub syscall: Option<u64>,
}

impl Reason {
    /// From `waitid`'s code and status. Our own kill explains an end better than what it looks like.
    pub fn of(code: i32, status: i32, hints: &Hints) -> Self {
        match (code, status, hints) {
            (_, _, Hints { watchdog_ms: Some(ms), .. }) => Self::Watchdog(*ms),
            (libc::CLD_EXITED, code, _) => Self::Exit(code),
            (_, libc::SIGSYS, _) => Self::Seccomp(hints.syscall),
            (_, libc::SIGKILL, _) if hints.oom_kills > 0 => Self::Oom(hints.oom_kills),
            (_, signal @ (libc::SIGTERM | libc::SIGKILL), Hints { asked: true, .. }) => Self::Stopped(signal),
            (_, signal, _) => Self::Signal(signal),
        }
    }

    /// Whether something went wrong: the box neither ended as it should nor because it was asked to.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Exit(0) | Self::Stopped(_))
    }

    /// How many ends it stands for.
    fn ends(&self) -> u64 {
        if let Self::Unrecorded(ends) = self { u64::from(*ends) } else { 1 }
    }

    /// For the table: `exit 3`, `signal SIGSEGV`, `seccomp ptrace`.
    pub fn short(&self) -> String {
        let detail = self.to_string();
        let (_, value) = detail.split_once('=').unwrap_or(("", &detail));
        format!("{} {}", self.word(), value.split(' ').next().unwrap_or_default())
    }

    /// The one word tests and people search for.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Exit(_) => "exit",
            Self::Signal(_) => "signal",
            Self::Stopped(_) => "stopped",
            Self::Seccomp(_) => "seccomp",
            Self::Oom(_) => "oom",
            Self::Watchdog(_) => "watchdog",
            Self::Refused(..) => "refused",
            Self::Unrecorded(_) => "unrecorded",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "code={code}"),
            Self::Signal(signal) | Self::Stopped(signal) => match Signal::try_from(*signal) {
                Ok(signal) => write!(f, "signal={signal}"),
                Err(_) => write!(f, "signal={signal}"),
            },
            Self::Seccomp(Some(number)) => write!(f, "syscall={}", syscalls::name(*number)),
            Self::Seccomp(None) => f.write_str("syscall=unknown"),
            Self::Oom(kills) => write!(f, "oom_kills={kills}"),
            Self::Watchdog(ms) => write!(f, "silent_ms={ms}"),
            Self::Refused(step, errno) => write!(f, "step={step} errno={:?}", Errno::from_raw(*errno)),
            Self::Unrecorded(ends) => write!(f, "ends={ends}"),
        }
    }
}

/// The records of one app.
#[derive(Debug)]
pub struct ExitLog {
    dir: Option<PathBuf>,
    count: Option<u64>,
}

impl ExitLog {
    /// The records in `dir`; without one only counted.
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, count: None }
    }

    /// Adds a record; gives the number of exits ever recorded of this app. A disk that can not be written loses
    /// the record, not the count.
    pub fn record(&mut self, stamp: &str, pid: u32, reason: &Reason, uptime_ms: u64) -> u64 {
        let before = self.count.unwrap_or_else(|| self.dir.as_deref().map(last_count).unwrap_or_default());
        let count = before.saturating_add(reason.ends());
        self.count = Some(count);
        if let Some(dir) = &self.dir {
            let line = format!(
                "{{\"time\":\"{stamp}\",\"count\":{count},\"pid\":{pid},\"reason\":\"{}\",\"detail\":\"{reason}\",\"uptime_ms\":{uptime_ms}}}\n",
                reason.word()
            );
            let _ = append(dir, &line);
        }
        count
    }
}

impl ExitLog {
    /// The newest records, at most `max` bytes of them.
    pub fn tail(&self, max: usize) -> String {
        self.dir.as_deref().map(|dir| tail(dir, "exits", max)).unwrap_or_default()
    }
}

fn append(dir: &Path, line: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join("exits");
    if fs::metadata(&path).is_ok_and(|m| m.len() >= ROTATE_AT) {
        fs::rename(&path, dir.join("exits.1"))?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())
}

fn last_count(dir: &Path) -> u64 {
    let of = |name: &str| count_in(&fs::read(dir.join(name)).ok()?);
    of("exits").or_else(|| of("exits.1")).unwrap_or_default()
}

/// The newest count in a file of records, whatever a power cut or somebody who had the disk has left in it. A number that
/// nothing follows may be cut, so it is none; behind a record that is cut, the next one stands on the same line.
pub fn count_in(records: &[u8]) -> Option<u64> {
    const KEY: &str = "\"count\":";
    let text = String::from_utf8_lossy(records);
    text.rmatch_indices(KEY).find_map(|(at, _)| text.get(at + KEY.len()..)?.split_once(',')?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_prefers_what_explains_most() {
        let none = Hints::default();
        assert_eq!(Reason::of(libc::CLD_EXITED, 3, &none).to_string(), "code=3");
        assert_eq!(Reason::of(libc::CLD_KILLED, libc::SIGSEGV, &none).to_string(), "signal=SIGSEGV");
        assert_eq!(Reason::of(libc::CLD_KILLED, 40, &none).to_string(), "signal=40");
        let hints = Hints { syscall: Some(101), ..none };
        assert_eq!(Reason::of(libc::CLD_DUMPED, libc::SIGSYS, &hints), Reason::Seccomp(Some(101)));
        let hints = Hints { oom_kills: 2, ..none };
        assert_eq!(Reason::of(libc::CLD_KILLED, libc::SIGKILL, &hints), Reason::Oom(2));
        assert_eq!(Reason::of(libc::CLD_EXITED, 0, &hints), Reason::Exit(0));
        let hints = Hints { asked: true, ..none };
        assert_eq!(Reason::of(libc::CLD_KILLED, libc::SIGKILL, &hints), Reason::Stopped(libc::SIGKILL));
        assert_eq!(Reason::of(libc::CLD_KILLED, libc::SIGSEGV, &hints), Reason::Signal(libc::SIGSEGV));
        assert_eq!(Reason::of(libc::CLD_EXITED, 3, &hints), Reason::Exit(3));
        let hints = Hints { asked: true, oom_kills: 2, ..none };
        assert_eq!(Reason::of(libc::CLD_KILLED, libc::SIGKILL, &hints), Reason::Oom(2));
        let hints = Hints { watchdog_ms: Some(500), oom_kills: 1, ..none };
        assert_eq!(Reason::of(libc::CLD_KILLED, libc::SIGKILL, &hints), Reason::Watchdog(500));
    }

    #[test]
    fn reason_in_short_is_two_words() {
        let reasons = [Reason::Exit(3), Reason::Signal(11), Reason::Refused("exec", 2), Reason::Watchdog(9)];
        let short: Vec<String> = reasons.iter().map(Reason::short).collect();
        assert_eq!(short, ["exit 3", "signal SIGSEGV", "refused exec", "watchdog 9"]);
        assert_eq!(Reason::Refused("exec", 2).to_string(), "step=exec errno=ENOENT");
    }

    #[test]
    fn exit_count_goes_on_after_restart_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..3 {
            let mut log = ExitLog::new(Some(dir.path().into()));
            for _ in 0..400 {
                last = log.record("2026-01-01T00:00:00.000Z", 7, &Reason::Exit(1), 5);
            }
        }
        assert_eq!(last, 1200);
        let size: u64 = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(size < 3 * ROTATE_AT);
    }

    #[test]
    fn exits_of_which_only_the_number_is_known_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ExitLog::new(Some(dir.path().into()));
        assert_eq!(log.record("t", 0, &Reason::Unrecorded(41), 0), 41);
        assert_eq!(ExitLog::new(Some(dir.path().into())).record("t", 1, &Reason::Exit(0), 1), 42);
        let text = fs::read_to_string(dir.path().join("exits")).unwrap();
        assert!(text.contains("\"reason\":\"unrecorded\",\"detail\":\"ends=41\""), "{text}");
    }

    #[test]
    fn exit_record_torn_by_a_power_cut_does_not_reset_the_count() {
        let dir = tempfile::tempdir().unwrap();
        ExitLog::new(Some(dir.path().into())).record("t", 1, &Reason::Exit(0), 1);
        append(dir.path(), "{\"time\":\"2026").unwrap();
        assert_eq!(ExitLog::new(Some(dir.path().into())).record("t", 1, &Reason::Exit(0), 1), 2);
    }

    #[test]
    fn exit_record_torn_within_its_count_or_behind_it_does_not_reset_the_count() {
        let dir = tempfile::tempdir().unwrap();
        let record = |pid| ExitLog::new(Some(dir.path().into())).record("t", pid, &Reason::Exit(0), 1);
        assert_eq!(record(1), 1);
        append(dir.path(), "{\"time\":\"t\",\"count\":9").unwrap();
        assert_eq!(record(2), 2);
        append(dir.path(), "{\"time\":\"t\",\"count\":3,\"pid\"").unwrap();
        // The torn one counts, and the one behind it on its line.
        assert_eq!((record(3), record(4)), (4, 5));
    }
}
