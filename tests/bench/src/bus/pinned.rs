//! One CPU for this process and all that it starts meanwhile, and the right of way on it: what else the machine does
//! should not be what is measured.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// While it lives, this thread, and what it starts, runs on one CPU.
pub(super) struct Pinned(CpuSet);

impl Pinned {
    /// On the last CPU there is: the first one has the most interrupts.
    pub(super) fn here() -> Result<Pinned> {
        let all = sched_getaffinity(Pid::from_raw(0))?;
        let last = (0..CpuSet::count()).rev().find(|cpu| all.is_set(*cpu).unwrap_or(false));
        let mut one = CpuSet::new();
        one.set(last.context("no CPU")?)?;
        sched_setaffinity(Pid::from_raw(0), &one)?;
        renice(-20)?;
        Ok(Pinned(all))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
        let _ = renice(0);
    }
}

fn renice(nice: i32) -> Result<()> {
    let mut command = Command::new("renice");
    command.args(["-n", &nice.to_string(), "-p", &std::process::id().to_string()]).stdout(Stdio::null());
    ensure!(command.status()?.success(), "renice failed");
    Ok(())
}
