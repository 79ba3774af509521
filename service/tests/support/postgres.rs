//! PostgreSQL of Debian's package, private to one test: its own cluster in its own folder, by a socket there, as a user who
//! is not root.

use anyhow::{Context as _, Result, ensure};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Who runs it when the tests run as root: it refuses to be root.
const NOBODY: u32 = 65_534;

/// A running cluster.
pub(crate) struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    /// The first process, the parent of the others.
    pub(crate) server: Child,
    made: AtomicU32,
}

impl Postgres {
    /// Makes a cluster and waits until it answers. With `durable` it waits for the disk as it does in earnest.
    pub(crate) fn start(durable: bool) -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("gabion-pg-").tempdir_in("/tmp")?;
        let root = nix::unistd::geteuid().is_root();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700))?;
        if root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let data = folder.path().join("data");
        let made = as_nobody(&programs.join("initdb"), folder.path())
            .args(["--no-sync", "--auth=trust", "--username=gabion", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()?;
        ensure!(made.success(), "initdb: {made}");
        let fsync = if durable { "fsync=on" } else { "fsync=off" };
        let server = as_nobody(&programs.join("postgres"), folder.path())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", fsync, "-c", "log_min_messages=fatal"])
            .stdin(Stdio::null())
            .spawn()?;
        let started = Self { folder, programs, server, made: AtomicU32::new(0) };
        started.wait()?;
        Ok(started)
    }

    fn wait(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while self.sql("postgres", "SELECT 1").is_err() {
            ensure!(Instant::now() < end, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn sql(&self, database: &str, statement: &str) -> Result<()> {
        let done = as_nobody(&self.programs.join("psql"), self.folder.path())
            .args(["-q", "-U", "gabion", "-d", database, "-c", statement, "-h"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        ensure!(done.success(), "psql: {done}");
        Ok(())
    }

    /// The address of a new, empty database.
    pub(crate) fn database(&self) -> Result<String> {
        let name = format!("test{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        let folder = self.folder.path().to_str().context("the folder's name")?.replace('/', "%2F");
        Ok(format!("postgres://gabion@{folder}/{name}"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT ends it at once; there is nothing to be kept.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.server.id()).unwrap_or(0));
        if nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT).is_ok() {
            let _ended = self.server.wait();
        }
    }
}

fn programs() -> Result<PathBuf> {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").context("Debian's package postgresql is not installed")?;
    let found =
        versions.flatten().map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists());
    found.context("Debian's package postgresql has no initdb")
}

fn as_nobody(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
