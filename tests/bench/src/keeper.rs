//! PID 1's part of a launch in a process of its own: this program, started again.
//!
//! It gets bundles by the message in which `sandboxd` sends them to `init`, on an inherited socket, and then
//!
//! * `rounds`: launches the bundle once per byte on standard input, as a [`crate::peer`] does, by `sys::launch`;
//! * `init`: does what `init` does with it, restarts included, by `init`'s own modules (`boxes`, `backoff`,
//!   `poller`), compiled into this program; it launches at once, and answers with `init`'s events.
//!
//! Why not the binary `init`: it needs the memory, cpu and pids controllers on cgroup v2, which a developer's machine
//! may lack. What is left out here is its manager, requests, watchdog and power button; none is on the path from a crash to
//! the restart. The clock jumps by [`CALM_MS`] at each crash: `init` delays a box that crashes again and again, and
//! what is measured is the restart without that delay.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use sys::bundle::{Event, Request};
use sys::launch::{Prepared, outcome};
use sys::{channel, process};

use crate::boxes::Boxes;
use crate::peer::inherited;
use crate::poller::{Poller, Ready};
use crate::subject::Subject;

/// More than the window in which `init` counts crashes.
const CALM_MS: u64 = 20_000;

/// The command that starts a keeper, made by `start` into a process; returns our end of its socket with the bundle
/// already in it.
pub(crate) fn start<T>(
    program: &Path,
    mode: &str,
    subject: &Subject,
    start: impl FnOnce(Command) -> Result<T>,
) -> Result<(OwnedFd, T)> {
    let (ours, theirs) = channel::pair()?;
    let (message, fds) = subject.built.put();
    channel::send(&ours, &message, &fds)?;
    let mut command = Command::new(program);
    command.args(["--keeper", mode]).arg(theirs.as_raw_fd().to_string());
    let started = inherited(std::slice::from_ref(&theirs), || start(command))?;
    Ok((ours, started))
}

/// The next event of an `init` keeper.
pub(crate) fn next_event(socket: &OwnedFd) -> Result<Event> {
    wait_readable(socket)?;
    let (message, _) = channel::receive(socket)?.context("the keeper ended")?;
    Event::decode(&message).context("not an event")
}

/// The keeper's own life: until its parent ends.
pub(crate) fn run(mode: &str, socket: OwnedFd) -> Result<()> {
    match mode {
        "rounds" => rounds(&socket),
        "init" => Keeper::new(socket)?.run(),
        other => bail!("unknown keeper {other}"),
    }
}

fn rounds(socket: &OwnedFd) -> Result<()> {
    let prepared = receive(socket)?;
    let (mut ask, mut answer) = (io::stdin(), io::stdout());
    while let Ok(1) = ask.read(&mut [0]) {
        let ns = launch(&prepared).unwrap_or_else(|e| {
            eprintln!("launch: {e:#}");
            u64::MAX
        });
        answer.write_all(&ns.to_ne_bytes())?;
        answer.flush()?;
    }
    Ok(())
}

fn receive(socket: &OwnedFd) -> Result<Prepared> {
    wait_readable(socket)?;
    let (message, fds) = channel::receive(socket)?.context("no bundle")?;
    let Some(Request::Put(spec)) = Request::decode(&message) else { bail!("not a bundle") };
    Ok(Prepared::new(spec, fds?)?)
}

/// From the call that launches to the end reaped, ns.
fn launch(prepared: &Prepared) -> Result<u64> {
    let begin = Instant::now();
    let launched = prepared.launch()?;
    let end = waitpid(Pid::from_raw(i32::try_from(launched.pid)?), None)?;
    let ns = begin.elapsed().as_nanos();
    if let Some(Err((step, errno))) = outcome(&launched.status) {
        bail!("refused at step {step} with errno {errno}");
    }
    match end {
        WaitStatus::Exited(_, 0) => Ok(u64::try_from(ns)?),
        other => bail!("ended with {other:?}"),
    }
}

struct Keeper {
    poller: Poller,
    signals: SignalFd,
    socket: OwnedFd,
    boxes: Boxes,
    jumped_ms: u64,
}

impl Keeper {
    fn new(socket: OwnedFd) -> Result<Keeper> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let poller = Poller::new()?;
        poller.watch(&signals, Ready::Signal)?;
        poller.watch(&socket, Ready::Control)?;
        Ok(Keeper { poller, signals, socket, boxes: Boxes::default(), jumped_ms: 0 })
    }

    /// The loop of `init`, less what is not about boxes.
    fn run(&mut self) -> Result<()> {
        let prepared = receive(&self.socket)?;
        let id = prepared.spec.id;
        self.boxes.put(prepared).map_err(io::Error::from_raw_os_error)?;
        let started =
            self.boxes.start(id, &self.poller, self.now_ms()).map_err(io::Error::from_raw_os_error)?;
        self.tell(started)?;
        loop {
            let now = self.now_ms();
            for event in self.boxes.tick(&self.poller, now) {
                self.tell(Some(event))?;
            }
            let wait = self.boxes.deadline_ms().map_or(5000, |at| at.saturating_sub(now));
            for ready in self.poller.wait(u16::try_from(wait).unwrap_or(u16::MAX))? {
                match ready {
                    Ready::Signal => self.reap()?,
                    Ready::Launch(id) => {
                        let event = self.boxes.decided(id);
                        self.tell(event)?;
                    }
                    // Our parent is gone: it never says anything.
                    _ => return Ok(()),
                }
            }
        }
    }

    fn now_ms(&self) -> u64 {
        process::now_ms() + self.jumped_ms
    }

    fn reap(&mut self) -> Result<()> {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Some(ended) = process::reap() {
            self.jumped_ms += CALM_MS;
            let event = self.boxes.ended(ended, self.now_ms());
            self.tell(event)?;
        }
        Ok(())
    }

    fn tell(&self, event: Option<Event>) -> Result<()> {
        Ok(event.map_or(Ok(()), |event| channel::send(&self.socket, &event.encode(), &[]))?)
    }
}

/// Waits until something can be read, for as long as a sick machine may take.
pub(crate) fn wait_readable(fd: impl AsFd) -> Result<()> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    ensure!(poll(&mut fds, PollTimeout::from(10_000_u16))? > 0, "no answer in 10 s");
    Ok(())
}
