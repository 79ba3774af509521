//! The other processes of a measurement, each asked for one round at a time.
//!
//! Protocol, the same for all: a byte on standard input asks; a native-endian `u64` on standard output answers with
//! the ns from start to reaped end, by the peer's own clock (`CLOCK_MONOTONIC`), so the asking costs nothing.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::stat::Samples;
use crate::subject::Subject;

/// A running peer and its samples.
pub(crate) struct Peer {
    /// What its line in the report says.
    pub(crate) what: String,
    /// Its rounds so far.
    pub(crate) samples: Samples,
    child: Child,
    ask: ChildStdin,
    answer: ChildStdout,
}

impl Peer {
    /// Starts `command`, which speaks the protocol.
    pub(crate) fn start(what: &str, mut command: Command) -> Result<Peer> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let ask = child.stdin.take().context("stdin")?;
        let answer = child.stdout.take().context("stdout")?;
        Ok(Peer { what: what.to_owned(), samples: Samples::default(), child, ask, answer })
    }

    /// One round; kept unless it is a warm-up.
    pub(crate) fn round(&mut self, keep: bool) -> Result<()> {
        self.ask.write_all(b"g")?;
        let mut answer = [0; 8];
        self.answer.read_exact(&mut answer).with_context(|| format!("{} ended", self.what))?;
        let ns = u64::from_ne_bytes(answer);
        ensure!(ns != u64::MAX, "{} failed", self.what);
        if keep {
            self.samples.push(ns as f64 / 1000.0);
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `rounds` of all peers in turn, each time beginning with another one, so that none always follows the same.
pub(crate) fn interleave(peers: &mut [Peer], rounds: usize) -> Result<()> {
    const WARM_UP: usize = 5;
    let n = peers.len();
    for round in 0..WARM_UP + rounds {
        for at in 0..n {
            if let Some(peer) = peers.get_mut((round + at) % n) {
                peer.round(round >= WARM_UP)?;
            }
        }
    }
    Ok(())
}

/// `bare MODE plain`: starts `program` by vfork and execve.
pub(crate) fn bare_plain(bare: &Path, mode: &str, rewind: Option<&OwnedFd>, program: &[&str]) -> Command {
    let rewind = rewind.map_or(-1, AsRawFd::as_raw_fd);
    let mut command = Command::new(bare);
    command.args([mode, "plain"]).arg(rewind.to_string()).args(program).env_clear();
    command
}

/// `bare MODE box`: starts the subject's program by the kernel operations of its box. The subject's descriptors must
/// be inherited: see [`inherited`].
pub(crate) fn bare_box(bare: &Path, mode: &str, subject: &Subject) -> Command {
    let spec = &subject.built.spec;
    let mut command = Command::new(bare);
    command.args([mode, "box"]).args(subject.built.fds.iter().map(|fd| fd.as_raw_fd().to_string()));
    command.arg(spec.id.to_string());
    command.arg(format!("size={},nr_inodes=4096,mode=1777", spec.tmp_bytes.max(4096)));
    command.arg(spec.open_files.to_string()).arg(&spec.directory).args(&spec.argv);
    command.env_clear().envs(spec.env.iter().filter_map(|pair| pair.split_once('=')));
    command
}

/// Runs `start` while `fds` are inherited by whatever it starts.
pub(crate) fn inherited<T>(fds: &[OwnedFd], start: impl FnOnce() -> Result<T>) -> Result<T> {
    let set = |flag| -> Result<()> {
        for fd in fds {
            fcntl::<BorrowedFd<'_>>(std::os::fd::AsFd::as_fd(fd), FcntlArg::F_SETFD(flag))?;
        }
        Ok(())
    };
    set(FdFlag::empty())?;
    let started = start();
    set(FdFlag::FD_CLOEXEC)?;
    started
}
