//! A program of the bench in a box, and how it is asked: see `bench-peer`'s `ask`.
//!
//! The bundle of a box serves any number of launches. Several programs are launched from one, each with pipes of its own
//! as standard input and output.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe};
use sys::launch::{Launched, Prepared, outcome};
use sys::process;

use crate::keeper::wait_readable;
use crate::subject::Subject;

/// Places of the standard streams among a bundle's descriptors.
const STDIN: usize = 5;

/// A running program.
pub(super) struct Boxed {
    what: String,
    launched: Launched,
    ask: File,
    answer: File,
}

impl Boxed {
    /// Launches it, and waits until it says that it is ready.
    pub(super) fn start(subject: &Subject, args: &[&str]) -> Result<Boxed> {
        let (theirs, ours) = pipe()?;
        Boxed::start_with(subject, args, theirs, ours)
    }

    /// As [`Boxed::start`], with `stdin` as its standard input: it can not be asked.
    pub(super) fn serve(subject: &Subject, args: &[&str], stdin: OwnedFd) -> Result<Boxed> {
        let (_, unused) = pipe()?;
        Boxed::start_with(subject, args, stdin, unused)
    }

    fn start_with(subject: &Subject, args: &[&str], stdin: OwnedFd, ask: OwnedFd) -> Result<Boxed> {
        let (answer, stdout) = pipe()?;
        let fds = subject.built.fds.iter().take(STDIN).map(OwnedFd::try_clone);
        let mut fds = fds.collect::<std::io::Result<Vec<_>>>()?;
        fds.extend([stdin, stdout, std::io::stderr().as_fd().try_clone_to_owned()?]);
        let mut spec = subject.built.spec.clone();
        spec.argv = args.iter().map(|arg| (*arg).to_owned()).collect();
        let launched = Prepared::new(spec, fds)?.launch()?;
        wait_readable(&launched.status)?;
        if let Some(Err((step, errno))) = outcome(&launched.status) {
            bail!("{args:?}: refused at step {step} with errno {errno}");
        }
        let what = args.join(" ");
        let mut boxed = Boxed { what, launched, ask: ask.into(), answer: answer.into() };
        wait_readable(&boxed.answer).with_context(|| boxed.what.clone())?;
        boxed.answer()?;
        Ok(boxed)
    }

    /// Asks for one round.
    pub(super) fn ask(&mut self) -> Result<()> {
        self.ask.write_all(b"g").with_context(|| self.what.clone())
    }

    /// Waits for a number.
    pub(super) fn answer(&mut self) -> Result<u64> {
        let mut answer = [0; 8];
        self.answer.read_exact(&mut answer).with_context(|| format!("{} ended", self.what))?;
        Ok(u64::from_ne_bytes(answer))
    }

    /// Whether a number can be had without waiting for it longer than `ms`.
    pub(super) fn has_answer(&self, ms: u16) -> Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.answer.as_fd(), PollFlags::POLLIN)];
        Ok(poll(&mut fds, PollTimeout::from(ms))? > 0)
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = process::signal(&self.launched.pidfd, Signal::SIGKILL as i32);
        if let Ok(pid) = i32::try_from(self.launched.pid) {
            let _ = waitpid(Pid::from_raw(pid), None);
        }
    }
}
