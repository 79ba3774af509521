//! The cgroup of a box: memory, CPU and number of tasks, bounded by the kernel from the first instruction on.
//!
//! A limit whose control file is missing refuses the box (fail closed). A host that develops against this
//! crate may have no v2 controllers; [`Limits::NotEnforced`] is for its tests and is made by nothing the
//! binary's command line or environment can say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::problem::{BoxError, Step};

/// Period of `cpu.max` in microseconds: the kernel's default, long enough to cost nothing.
const CPU_PERIOD_US: u64 = 100_000;

/// Whether limits are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// Every limit is set, or the box is refused.
    Enforced,
    /// Only the group is made. For tests on a host without v2 controllers.
    NotEnforced,
}

/// The numbers.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// `memory.max`.
    pub memory_bytes: u64,
    /// `cpu.max`, in hundredths of one CPU.
    pub cpu_percent: u64,
    /// `pids.max`.
    pub tasks: u64,
}

/// What a box uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Processor time, microseconds; how much it may use, thousandths of one processor.
    pub cpu: (u64, Option<u64>),
    /// Memory now, the most of it, its limit, bytes.
    pub memory: (u64, u64, Option<u64>),
    /// Tasks now, and how many there may be.
    pub tasks: (u64, Option<u64>),
}

/// One box's group.
#[derive(Debug, Clone)]
pub struct Group(PathBuf);

impl Group {
    /// The group `name` below `parent` (`/sys/fs/cgroup/apps`).
    pub fn new(parent: &Path, name: &str) -> Self {
        Self(parent.join(name))
    }

    /// Makes it with `bounds`; gives its directory for `CLONE_INTO_CGROUP`.
    pub fn make(&self, bounds: &Bounds, limits: Limits) -> Result<OwnedFd, BoxError> {
        match fs::create_dir(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(BoxError::step(Step::Cgroup, e));
            }
            _ => {}
        }
        if limits == Limits::Enforced {
            self.limit(bounds)?;
        }
        File::open(&self.0).map(OwnedFd::from).map_err(|e| BoxError::step(Step::Cgroup, e))
    }

    fn limit(&self, bounds: &Bounds) -> Result<(), BoxError> {
        let cpu = format!("{} {CPU_PERIOD_US}", (bounds.cpu_percent * CPU_PERIOD_US / 100).max(1000));
        let set = [
            ("memory.max", bounds.memory_bytes.to_string()),
            ("memory.oom.group", "1".to_owned()),
            ("pids.max", bounds.tasks.to_string()),
            ("cpu.max", cpu),
        ];
        for (file, value) in set {
            self.put(file, &value).map_err(|e| BoxError::NoController(file.into(), e))?;
        }
        // Only there when the kernel can swap at all.
        match self.put("memory.swap.max", "0") {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(BoxError::NoController("memory.swap.max".into(), e))
            }
            _ => Ok(()),
        }
    }

    /// Writes one control file. Never makes it: on cgroupfs that would fail with another error than "not there".
    fn put(&self, file: &str, value: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.0.join(file))?.write_all(value.as_bytes())
    }

    /// Bytes of memory the box uses now.
    pub fn memory_bytes(&self) -> Option<u64> {
        fs::read_to_string(self.0.join("memory.current")).ok()?.trim().parse().ok()
    }

    /// What is used, and what may be. A file that is not there counts as nothing, and no limit.
    pub fn used(&self) -> Used {
        let read = |file: &str| fs::read_to_string(self.0.join(file)).unwrap_or_default();
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let cpu = read("cpu.stat").lines().find_map(|line| number(line.strip_prefix("usage_usec ")?));
        let most = read("cpu.max");
        let permille = most
            .split_once(' ')
            .and_then(|(time, period)| number(time)?.saturating_mul(1000).checked_div(number(period)?));
        let count = |file: &str| number(&read(file)).unwrap_or_default();
        Used {
            cpu: (cpu.unwrap_or_default(), permille),
            memory: (count("memory.current"), count("memory.peak"), number(&read("memory.max"))),
            tasks: (count("pids.current"), number(&read("pids.max"))),
        }
    }

    /// How often the kernel killed in this group for want of memory, since the group was made.
    pub fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        oom_kills(&text)
    }

    /// Removes the group once it is empty.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.0)
    }
}

fn oom_kills(events: &str) -> u64 {
    let line = events.lines().find_map(|l| l.strip_prefix("oom_kill "));
    line.and_then(|n| n.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oom_kills_is_read_from_its_own_line() {
        assert_eq!(oom_kills("low 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n"), 3);
        assert_eq!(oom_kills(""), 0);
    }

    #[test]
    fn used_is_read_and_what_is_not_limited_has_no_limit() {
        let dir = tempfile::tempdir().unwrap();
        let group = Group::new(dir.path(), "a");
        assert_eq!(group.used(), Used { cpu: (0, None), memory: (0, 0, None), tasks: (0, None) });
        fs::create_dir(dir.path().join("a")).unwrap();
        for (file, text) in [
            ("cpu.stat", "usage_usec 7\nuser_usec 5\n"),
            ("cpu.max", "20000 100000\n"),
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.max", "max\n"),
            ("pids.current", "2\n"),
            ("pids.max", "16\n"),
        ] {
            fs::write(dir.path().join("a").join(file), text).unwrap();
        }
        let used = Used { cpu: (7, Some(200)), memory: (4096, 8192, None), tasks: (2, Some(16)) };
        assert_eq!(group.used(), used);
    }

    #[test]
    fn group_without_controllers_is_refused_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let bounds = Bounds { memory_bytes: 1 << 20, cpu_percent: 20, tasks: 4 };
        let group = Group::new(dir.path(), "10000");
        assert!(matches!(group.make(&bounds, Limits::Enforced), Err(BoxError::NoController(..))));
        assert!(group.make(&bounds, Limits::NotEnforced).is_ok());
    }
}
