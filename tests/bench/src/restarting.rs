//! Part `restart`: from `kill -9` to the new process's `main`.
//!
//! Ours is the kept bundle launched again by `init`'s own code (see [`crate::keeper`]) with no `sandboxd` anywhere.
//! The others restart the same binary *unboxed*: dinit, runit, s6, and the floor, a C loop of vfork, execve and wait.
//! What a box costs the kernel is measured in the same run, as the difference of that loop with and without the box.
//! runit and s6 restart at most once a second, so all of them run side by side and are crashed in turn, one second apart.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use sys::bundle::Event;

use crate::keeper;
use crate::launching::found;
use crate::peer::{bare_box, bare_plain, inherited};
use crate::programs::Programs;
use crate::stat::{Samples, bar, not_measured};
use crate::subject::Subject;

const UID: u32 = 19_902;
const ROUNDS: usize = 30;
/// Between two crashes of the same program: runit and s6 wait out the rest of a second.
const BETWEEN: Duration = Duration::from_millis(1100);

/// Measures and reports.
pub(crate) fn run(dir: &Path, programs: &Programs) -> Result<()> {
    let ours = Subject::build(dir, UID, &programs.stamp)?;
    let same = Subject::build(dir, UID + 1, &programs.stamp)?;
    let mut all = vec![
        Supervised::keeper(programs, &ours)?,
        Supervised::bare_box(programs, &same)?,
        Supervised::bare_plain(programs)?,
    ];
    if let Some(tool) = found("dinit") {
        all.push(Supervised::dinit(&tool, dir, programs)?);
    }
    if found("runsv").is_some() {
        all.push(Supervised::service("runit (runsv), unboxed", "runsv", dir, programs)?);
    }
    if found("s6-supervise").is_some() {
        all.push(Supervised::service("s6 (s6-supervise), unboxed", "s6-supervise", dir, programs)?);
    }
    println!("restart: kill -9 to the new process's main, {ROUNDS} rounds in turn");
    for supervised in &mut all {
        supervised.started()?;
    }
    for _ in 0..ROUNDS {
        std::thread::sleep(BETWEEN);
        // The first after the pause finds the machine's caches cold: let it be another one each time.
        all.rotate_left(1);
        all.iter_mut().try_for_each(Supervised::crash)?;
    }
    all.sort_by_key(|s| s.what);
    all.iter().for_each(|s| s.samples.print(s.what));
    report(&all);
    Ok(())
}

fn report(all: &[Supervised]) {
    let median = |what: &str| all.iter().find(|s| s.what.starts_with(what)).map(|s| s.samples.median());
    let (Some(ours), Some(bare), Some(floor)) = (median("init"), median("bare box"), median("floor")) else {
        return;
    };
    let cost = bare - floor;
    println!("  a box's kernel cost {cost:.0} µs; ours is {:.2} x the bare box", ours / bare);
    let ratio = |name, peer, remedy| match median(peer) {
        Some(theirs) => bar(name, ours / (theirs + cost), 1.0),
        None => not_measured(name, remedy),
    };
    ratio("restart_vs_dinit", "dinit", "dinit is not on PATH, nor in Debian 12: build it from source");
    ratio("restart_vs_runit", "runit", "runsv is not on PATH: install runit");
    // A ratio to s6 would say nothing: as Debian packages it, it lets a second pass after each death.
}

/// A supervisor with its program.
struct Supervised {
    what: &'static str,
    supervisor: Child,
    /// Where the program says when its `main` ran.
    stamps: fs::File,
    /// Where the supervisor says which pid it started; otherwise the program's own word for it is taken.
    pids: Pids,
    pid: Pid,
    samples: Samples,
}

enum Pids {
    /// Not boxed, so the program knows.
    Stamp,
    /// A u64 each on a pipe.
    Pipe(fs::File),
    /// Events of the keeper.
    Events(OwnedFd),
}

impl Supervised {
    fn new(what: &'static str, supervisor: Child, stamps: OwnedFd, pids: Pids) -> Supervised {
        let pid = Pid::from_raw(0);
        Supervised { what, supervisor, stamps: stamps.into(), pids, pid, samples: Samples::default() }
    }

    fn keeper(programs: &Programs, subject: &Subject) -> Result<Supervised> {
        let (socket, child) =
            keeper::start(&programs.keeper, "init", subject, |mut command| Ok(command.spawn()?))?;
        Ok(Supervised::new("init's code, complete box", child, stdout_of(subject)?, Pids::Events(socket)))
    }

    fn bare_box(programs: &Programs, subject: &Subject) -> Result<Supervised> {
        let mut command = bare_box(&programs.bare, "supervise", subject);
        let mut child = inherited(&subject.built.fds, || Ok(command.stdout(Stdio::piped()).spawn()?))?;
        let pids = OwnedFd::from(child.stdout.take().context("stdout")?);
        Ok(Supervised::new(
            "bare box: C loop, same operations",
            child,
            stdout_of(subject)?,
            Pids::Pipe(pids.into()),
        ))
    }

    fn bare_plain(programs: &Programs) -> Result<Supervised> {
        let stamp = programs.stamp.to_str().context("path")?;
        Supervised::unboxed("floor: C loop, unboxed", bare_plain(&programs.bare, "supervise", None, &[stamp]))
    }

    /// A service directory whose `run` is the program itself, so that no shell is measured.
    fn service(what: &'static str, tool: &str, dir: &Path, programs: &Programs) -> Result<Supervised> {
        let service = dir.join(tool);
        fs::create_dir(&service)?;
        symlink(&programs.stamp, service.join("run"))?;
        let mut command = Command::new(tool);
        command.arg(&service).env_clear().env("PATH", "/usr/bin:/bin");
        Supervised::unboxed(what, command)
    }

    /// In container mode, in which it manages no system. Its services' output goes to a file: a FIFO, so that it is here
    /// as soon as elsewhere.
    fn dinit(tool: &Path, dir: &Path, programs: &Programs) -> Result<Supervised> {
        let services = dir.join("dinit");
        fs::create_dir(&services)?;
        let (fifo, socket) = (dir.join("dinit.out"), dir.join("dinit.socket"));
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU)?;
        let stamps = fs::File::options().read(true).write(true).open(&fifo)?;
        let service = format!(
            "type = process\ncommand = {}\nrestart = true\nsmooth-recovery = true\nrestart-delay = 0\n\
             restart-limit-count = 0\nlogfile = {}\n",
            programs.stamp.display(),
            fifo.display()
        );
        fs::write(services.join("stamp"), service)?;
        let mut command = Command::new(tool);
        command.args(["--container", "--quiet", "--log-file", "/dev/null", "--services-dir"]).arg(&services);
        command.arg("--socket-path").arg(&socket).arg("stamp").env_clear().env("PATH", "/usr/bin:/bin");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Supervised::new("dinit, unboxed", child, stamps.into(), Pids::Stamp))
    }

    fn unboxed(what: &'static str, mut command: Command) -> Result<Supervised> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stamps = OwnedFd::from(child.stdout.take().context("stdout")?);
        Ok(Supervised::new(what, child, stamps, Pids::Stamp))
    }

    /// Kills the program and measures until its successor's `main`.
    fn crash(&mut self) -> Result<()> {
        let begin = clock_gettime(ClockId::CLOCK_MONOTONIC)?.num_nanoseconds();
        kill(self.pid, Signal::SIGKILL)?;
        let main = self.started()?;
        self.samples.push((main - begin) as f64 / 1000.0);
        Ok(())
    }

    /// Waits for a start; when `main` ran, ns.
    fn started(&mut self) -> Result<i64> {
        let mut stamp = [[0; 8]; 2];
        keeper::wait_readable(&self.stamps).with_context(|| self.what)?;
        self.stamps.read_exact(stamp.as_flattened_mut()).with_context(|| self.what)?;
        let [main, own] = stamp.map(i64::from_ne_bytes);
        let pid = match &mut self.pids {
            Pids::Stamp => own,
            Pids::Pipe(pipe) => {
                let mut pid = [0; 8];
                pipe.read_exact(&mut pid)?;
                i64::from_ne_bytes(pid)
            }
            Pids::Events(socket) => i64::from(next_started(socket)?),
        };
        self.pid = Pid::from_raw(i32::try_from(pid)?);
        Ok(main)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        if self.pid.as_raw() > 0 {
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// The reading end of the box's standard output, made blocking.
fn stdout_of(subject: &Subject) -> Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let stdout = subject.built.kept.first().context("no log pipe")?.try_clone()?;
    fcntl(&stdout, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(stdout)
}

fn next_started(socket: &OwnedFd) -> Result<u32> {
    loop {
        match keeper::next_event(socket)? {
            Event::Started { pid, .. } => return Ok(pid),
            Event::Exited { .. } => {}
            other => bail!("the box did not start: {other:?}"),
        }
    }
}
