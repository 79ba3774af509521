//! Where the part `net` measures: a network namespace and a cgroup of its own, with the firewall of the device on the cgroup.
//!
//! The programs run unboxed, by a uid of their own: what is measured is the firewall, and boxes are elsewhere.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use device_test::site::namespace::Namespace;
use firewall::Maps;
use firewall::attach::attach_or_find;
use netd::apps::AppPolicy;
use netd::rules::Rules;

use crate::subject::cgroup_root;

/// The app's uid.
pub(super) const APP: u32 = 10_001;

/// See the module.
pub(super) struct Place {
    namespace: Namespace,
    cgroup: PathBuf,
    program: PathBuf,
}

impl Place {
    pub(super) fn new(program: &Path) -> Result<Self> {
        let namespace = Namespace::new()?;
        namespace.inside(|| {
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
            ensure!(up.success(), "ip link set lo up");
            Ok(())
        })?;
        let cgroup = cgroup_root()?.join(format!("gabion-bench-net-{}", std::process::id()));
        fs::create_dir(&cgroup)?;
        Ok(Self { namespace, cgroup, program: program.to_owned() })
    }

    /// The tables of the firewall, which is put on the cgroup when it is not there yet.
    pub(super) fn maps(&self) -> Result<Maps> {
        Ok(attach_or_find(File::open(&self.cgroup)?.as_fd())?)
    }

    pub(super) fn rules(&self) -> Result<Rules> {
        Ok(Rules::open(self.maps()?)?)
    }

    /// Starts the program, behind the firewall or not.
    pub(super) fn start(&self, behind: bool) -> Result<Peer> {
        let mut child = self.namespace.inside(|| {
            let mut command = Command::new(&self.program);
            command.uid(APP).gid(APP).stdin(Stdio::piped()).stdout(Stdio::piped());
            command.spawn().context("the bench's peer")
        })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (ask, answers) = pipes.context("its pipes")?;
        let mut peer = Peer { child, ask, answers: BufReader::new(answers) };
        ensure!(peer.line()? == "ready", "the bench's peer does not start");
        if behind {
            fs::write(self.cgroup.join("cgroup.procs"), peer.child.id().to_string())?;
        }
        Ok(peer)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An instant after the last process the kernel may still say EBUSY; an empty group left behind harms nobody.
        let _ = fs::remove_dir(&self.cgroup);
    }
}

/// A running program; see `peer.c`.
pub(super) struct Peer {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the bench's peer ended");
        Ok(line.trim().to_owned())
    }

    /// Says a line to it; gives its answer.
    pub(super) fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.ask, "{line}")?;
        self.line()
    }

    /// Asks for a time, µs, of what must come to `end`.
    pub(super) fn time(&mut self, line: &str, end: &str) -> Result<f64> {
        let said = self.ask(line)?;
        let (us, how) = said.split_once(' ').with_context(|| format!("{line}: {said}"))?;
        ensure!(how == end, "{line} came to {how}, not {end}");
        Ok(us.parse()?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A policy with these lines of `connect`.
pub(super) fn policy(uid: u32, connect: &[String]) -> Result<AppPolicy> {
    let connect = connect.iter().map(|line| line.parse()).collect::<Result<Vec<_>, _>>();
    Ok(AppPolicy {
        uid,
        id: format!("org.bench.a{uid}"),
        connect: connect.map_err(|e| anyhow::anyhow!("{e:?}"))?,
        listen: Vec::new(),
        private: Vec::new(),
    })
}
