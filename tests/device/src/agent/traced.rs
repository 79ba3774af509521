//! Which system calls a process of the device makes, and those that follow it under its name: by ptrace, in a thread of its
//! own, from as soon as each is there; where the kernel lets anybody watch (`sysctl.kernel.yama.ptrace_scope=0`). What it calls before it has its name is not seen, which is the start that all static
//! programs have. A watched process ends with the agent.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sys::trace::{self, Stop};

/// What was seen, by the calls' numbers.
#[derive(Default)]
pub(super) struct Traced(Arc<Mutex<BTreeSet<u64>>>);

impl Traced {
    /// Watches every process with this owner and name from now on.
    pub(super) fn begin(&self, uid: &str, name: &str) -> io::Result<()> {
        let (seen, name) = (Arc::clone(&self.0), name.to_owned());
        let uid: u32 = uid.parse().map_err(|_| io::Error::other("no uid"))?;
        std::thread::Builder::new().spawn(move || {
            loop {
                // One that ended meanwhile is no error: the next one is found then.
                let _ = found(uid, &name).map_or(Ok(()), |pid| watch(pid, &seen));
                std::thread::sleep(Duration::from_millis(1));
            }
        })?;
        Ok(())
    }

    /// The numbers, a line each.
    pub(super) fn seen(&self) -> io::Result<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(seen.iter().map(|number| format!("{number}\n")).collect())
    }
}

fn found(uid: u32, name: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // The folder's owner is root's, as of all that can not be dumped.
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let behind =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
        (behind("Name:") == Some(name) && behind("Uid:")?.parse() == Ok(uid)).then_some(pid)
    })
}

/// Watches a process of one thread until it ends.
fn watch(pid: u32, seen: &Mutex<BTreeSet<u64>>) -> io::Result<()> {
    trace::seize(pid)?;
    // It is not stopped by that; by this it is, and goes on without having got it.
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP)?;
    loop {
        let (pid, stop) = trace::wait()?;
        let signal = match stop {
            Stop::Exited(_) | Stop::Killed(_) => return Ok(()),
            Stop::Syscall => {
                let number = trace::registers(pid)?.orig_rax;
                seen.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
                0
            }
            Stop::Signal(signal) if signal != Signal::SIGSTOP as i32 => signal,
            _ => 0,
        };
        trace::go_on(pid, signal)?;
    }
}
