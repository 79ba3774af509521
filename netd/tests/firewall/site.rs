//! A place with a firewall: a cgroup of its own, a network namespace of its own for the thread that makes it, and apps that
//! are Python programs with a uid in that cgroup. Beside it, over a cable (veth), a namespace of somebody else.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use firewall::attach::attach_or_find;
use netd::apps::AppPolicy;
use netd::rules::Rules;
use nix::sched::{CloneFlags, unshare};

/// What each program begins with. `t` says what a call came to, as its error's name or `ok`.
const PRELUDE: &str = r#"
import sys, os, errno, time
from socket import *
cgroup, uid = sys.argv[1], int(sys.argv[2])
open(cgroup + "/cgroup.procs", "w").write(str(os.getpid()))
if uid: os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
def t(call, *args):
    try: call(*args); return "ok"
    except TimeoutError: return "timeout"
    except OSError as e: return errno.errorcode[e.errno]
def tcp(family=AF_INET): s = socket(family, SOCK_STREAM); s.settimeout(30); return s
def udp(family=AF_INET): s = socket(family, SOCK_DGRAM); s.settimeout(30); return s
def say(*words): print(*words, flush=True)
"#;

pub(crate) struct Site {
    pub(crate) cgroup: PathBuf,
    pub(crate) rules: Rules,
    outside: PathBuf,
}

/// A program that runs.
pub(crate) struct App(Child, BufReader<std::process::ChildStdout>);

impl Site {
    /// Makes it for this thread. Addresses of the cable: ours 10.9.0.1 and fd09::1, the other end's .2 and ::2.
    pub(crate) fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount =
            fields.find(|f| f.get(2) == Some(&"cgroup2")).context("no cgroup2 is mounted")?[1].to_owned();
        let cgroup = Path::new(&mount).join(format!("gabion-firewall-{}-{number}", std::process::id()));
        fs::create_dir(&cgroup)?;
        let maps = attach_or_find(File::open(&cgroup)?.as_fd()).map_err(chain)?;
        let name = format!("gabion-{}-{number}", std::process::id());
        unshare(CloneFlags::CLONE_NEWNET)?;
        run(&format!(
            "ip netns add {name}
             ip link set lo up
             ip link add cable type veth peer name cable netns {name}
             ip addr add 10.9.0.1/24 dev cable && ip -6 addr add fd09::1/64 dev cable nodad && ip link set cable up
             ip -n {name} addr add 10.9.0.2/24 dev cable && ip -n {name} -6 addr add fd09::2/64 dev cable nodad
             ip -n {name} link set cable up && ip -n {name} link set lo up
             ip route add default via 10.9.0.2"
        ))?;
        Ok(Self { cgroup, rules: Rules::open(maps).map_err(chain)?, outside: name.into() })
    }

    /// Gives a box its policy.
    pub(crate) fn set(&mut self, uid: u32, connect: &[&str], listen: &[&str]) -> Result<()> {
        self.rules.set(&policy(uid, connect, listen)?).map_err(chain)
    }

    /// Runs a program in the box of `uid`, and returns what it says.
    pub(crate) fn app(&self, uid: u32, program: &str) -> Result<String> {
        finished(self.python(uid, program))
    }

    /// Starts one, which goes on; returns after the first line that it says.
    pub(crate) fn start(&self, uid: u32, program: &str) -> Result<App> {
        App::new(self.python(uid, program))
    }

    /// Runs a program at the other end of the cable, where there is no firewall.
    pub(crate) fn outside(&self, program: &str) -> Result<String> {
        finished(self.there(program))
    }

    /// Starts one there.
    pub(crate) fn start_outside(&self, program: &str) -> Result<App> {
        App::new(self.there(program))
    }

    /// A program beside the firewall: in this namespace, as root, in no box.
    pub(crate) fn start_beside(&self, program: &str) -> Result<App> {
        let above = self.cgroup.parent().context("a cgroup has a parent")?;
        let mut command = Command::new(python());
        command.args(["-c", &format!("{PRELUDE}{program}")]).arg(above).arg("0");
        App::new(command)
    }

    fn python(&self, uid: u32, program: &str) -> Command {
        let mut command = Command::new(python());
        command.args(["-c", &format!("{PRELUDE}{program}")]).arg(&self.cgroup).arg(uid.to_string());
        command
    }

    fn there(&self, program: &str) -> Command {
        let above = self.cgroup.parent().unwrap_or(&self.cgroup);
        let mut command = Command::new("ip");
        command.args(["netns", "exec"]).arg(&self.outside).arg(python());
        // `ip netns exec` has a mount namespace of its own, in which the cgroups may be out of sight: it stays where it is.
        let prelude =
            PRELUDE.lines().filter(|line| !line.starts_with("open(cgroup")).collect::<Vec<_>>().join("\n");
        command.args(["-c", &format!("{prelude}\n{program}")]).arg(above).arg("0");
        command
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = run(&format!("ip netns del {}", self.outside.display()));
        let _ = fs::remove_dir(&self.cgroup);
    }
}

impl App {
    fn new(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = BufReader::new(child.stdout.take().context("its output")?);
        let mut app = Self(child, out);
        app.line()?;
        Ok(app)
    }

    /// What it says next.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.1.read_line(&mut line)? > 0, "the program ended");
        Ok(line.trim().to_owned())
    }

    /// Lets it go on, and returns what it says then.
    pub(crate) fn go_on(&mut self) -> Result<String> {
        self.0.stdin.as_mut().context("its input")?.write_all(b"\n")?;
        self.line()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn policy(uid: u32, connect: &[&str], listen: &[&str]) -> Result<AppPolicy> {
    Ok(AppPolicy {
        uid,
        id: format!("com.example.a{uid}"),
        connect: connect
            .iter()
            .map(|line| line.parse())
            .collect::<Result<_, _>>()
            .map_err(|e| anyhow::anyhow!("{e:?}"))?,
        listen: listen
            .iter()
            .map(|line| line.parse())
            .collect::<Result<_, _>>()
            .map_err(|e| anyhow::anyhow!("{e:?}"))?,
        private: Vec::new(),
    })
}

fn chain(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    error.into()
}

/// One that other users may run too.
fn python() -> &'static str {
    "/usr/bin/python3"
}

fn run(script: &str) -> Result<()> {
    let done = Command::new("sh").args(["-euc", script]).output()?;
    ensure!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn finished(mut command: Command) -> Result<String> {
    let done = command.output()?;
    if !done.status.success() {
        bail!("{}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}
