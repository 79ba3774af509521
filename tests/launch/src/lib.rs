//! A box on the developer's machine: Debian's static busybox as the app, launched by the code PID 1 uses.
//!
//! Needs root. cgroup limits and storage quota are not enforced here, because a developer's machine may have its
//! controllers on cgroup v1; everything else is the device's own path from manifest to `execve`.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use policy::Board;
use sandboxd::builder::{Built, Networks, Place, build_box};
use sandboxd::cgroup::{Group, Limits};
use sys::launch::{Prepared, outcome};
use sys::step::Step;

/// The uid of the box under test.
pub const UID: u32 = 10_042;
const PATIENCE: Duration = Duration::from_secs(30);

/// A prepared box and what it lives in.
pub struct Bench {
    /// Ready to launch.
    pub prepared: Prepared,
    stdout: OwnedFd,
    group: PathBuf,
    _dir: tempfile::TempDir,
}

/// How a launch ended.
#[derive(Debug)]
pub enum End {
    /// The program ran; what it wrote to stdout.
    Ran(String),
    /// Refused at a step with an errno.
    Refused(Step, i32),
}

impl Bench {
    /// A box whose app is `busybox sh -c script`, with `extra` lines added to its manifest.
    ///
    /// # Errors
    /// Whatever keeps the box from being built.
    pub fn new(script: &str, extra: &str) -> Result<Bench> {
        Bench::program(&["/bin/busybox", "sh", "-c", script], extra)
    }

    /// A box whose app is `exec`, with `extra` lines added to its manifest.
    ///
    /// # Errors
    /// Whatever keeps the box from being built.
    pub fn program(exec: &[&str], extra: &str) -> Result<Bench> {
        Bench::prepared(exec, extra, |_| Ok(()))
    }

    /// The same, after `prepare` has put into the app's root what no package may hold.
    ///
    /// # Errors
    /// Whatever keeps the box from being built.
    pub fn prepared(exec: &[&str], extra: &str, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<Bench> {
        let dir = tempfile::tempdir()?;
        let root = app_root(dir.path())?;
        prepare(&root)?;
        let data = dir.path().join("data");
        fs::create_dir(&data)?;
        std::os::unix::fs::chown(&data, Some(UID), Some(UID))?;
        let plan = plan(exec, extra)?;
        let unique = dir.path().file_name().context("temporary directory without a name")?;
        let group = cgroup_root()?.join(format!("gabion-test{}", unique.to_string_lossy()));
        let empty = sandboxd::network::empty()?;
        let local = sandboxd::network::local()?;
        let place = Place {
            uid: UID,
            root: &root,
            storage: Some(&data),
            run: &dir.path().join("run"),
            cgroup: &Group::new(
                group.parent().context("cgroup")?,
                &group.file_name().context("cgroup")?.to_string_lossy(),
            ),
            limits: Limits::NotEnforced,
            debug: None,
            devices: &[],
            networks: Networks { empty: empty.as_fd(), device: Some(local.as_fd()) },
        };
        let Built { spec, mut fds, kept } =
            build_box(&plan, &place, None).map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let stdout = kept.first().context("no log pipe")?.try_clone()?;
        fds.extend(kept);
        Ok(Bench { prepared: Prepared::new(spec, fds)?, stdout, group, _dir: dir })
    }

    /// Launches once and waits for the end.
    ///
    /// # Errors
    /// When nothing is decided in half a minute.
    pub fn launch(&self) -> Result<End> {
        let launched = match self.prepared.launch() {
            Ok(launched) => launched,
            Err(e) => return Ok(End::Refused(Step::Clone, e.raw_os_error().unwrap_or(0))),
        };
        let deadline = Instant::now() + PATIENCE;
        let verdict = loop {
            if let Some(verdict) = outcome(&launched.status) {
                break verdict;
            }
            if Instant::now() > deadline {
                sys::process::signal(&launched.pidfd, libc::SIGKILL)?;
                bail!("launch not decided");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        wait(launched.pid)?;
        Ok(match verdict {
            Ok(()) => End::Ran(self.output()?),
            Err((step, errno)) => End::Refused(Step::from_number(step).context("unknown step")?, errno),
        })
    }

    /// Launches and returns what the app wrote.
    ///
    /// # Errors
    /// When the launch was refused.
    pub fn output_of_launch(&self) -> Result<String> {
        match self.launch()? {
            End::Ran(text) => Ok(text),
            End::Refused(step, errno) => bail!("refused at {} with errno {errno}", step.name()),
        }
    }

    /// What the pipe holds: the box has ended, so all it wrote is there.
    fn output(&self) -> Result<String> {
        let mut text = Vec::new();
        let mut pipe = fs::File::from(self.stdout.try_clone()?);
        match pipe.read_to_end(&mut text) {
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return Err(e.into()),
            _ => {}
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Left behind only when a process of the box is still there, which the kernel then says by EBUSY.
        let _ = fs::remove_dir(&self.group);
    }
}

fn wait(pid: u32) -> Result<()> {
    use nix::sys::wait::waitpid;
    waitpid(nix::unistd::Pid::from_raw(i32::try_from(pid)?), None)?;
    Ok(())
}

fn plan(exec: &[&str], extra: &str) -> Result<policy::Plan> {
    let text = format!(
        "[app]\nid = \"org.gabion.test\"\nversion = \"1.0.0\"\nexec = {exec:?}\n\
         [resources]\nstorage = \"1MiB\"\n{extra}"
    );
    let manifest = policy::check(&text, &Board::default()).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok(policy::compile(&manifest))
}

fn app_root(dir: &Path) -> Result<PathBuf> {
    let root = dir.join("root");
    for name in ["bin", "dev", "proc", "tmp", "data", "run"] {
        fs::create_dir_all(root.join(name))?;
    }
    copy_busybox(&root.join("bin/busybox"))?;
    for tool in
        ["sh", "cat", "ls", "id", "mount", "hostname", "grep", "env", "sleep", "kill", "cp", "touch", "nc"]
    {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(tool))?;
    }
    Ok(root)
}

/// By a process of its own: one that another test starts meanwhile would have what we write open, and nobody could execute it.
///
/// # Errors
/// There is none, or no place for it.
pub fn copy_busybox(to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("/bin/busybox").arg(to).status()?;
    ensure!(copied.success(), "Debian's busybox-static is needed: make packages");
    Ok(())
}

/// The cgroup v2 mount of this machine.
fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let line =
        mounts.lines().find(|l| l.contains(" - cgroup2 ")).context("no cgroup v2 mount on this machine")?;
    Ok(PathBuf::from(line.split(' ').nth(4).context("mountinfo")?))
}
