//! The router as on the device: its own box, kept and started again by `init`'s code, with a manager beside it.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::paths::Tree;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use policy::{Board, Plan};
use sys::bundle::Event;
use sys::channel;

use super::manager::{Manager, Seen};
use crate::keeper;
use crate::subject::Subject;

const UID: u32 = 19_920;
/// How long a router may take to be up.
const UP: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Router {
    keeper: Child,
    events: OwnedFd,
    pid: Pid,
    /// What its manager sees.
    pub(super) seen: Arc<Seen>,
    _subject: Subject,
}

impl Router {
    /// Starts it, for these boxes.
    pub(super) fn start(
        dir: &Path,
        keeper: &Path,
        busd: &Path,
        server: &Subject,
        callers: &[Subject],
    ) -> Result<Router> {
        let (ours, theirs) = channel::pair()?;
        let subject = Subject::of(dir, UID, plan()?, &[("busd", busd)], Some(theirs))?;
        let seen = Manager::start(ours, server, callers)?;
        let (events, keeper) =
            keeper::start(keeper, "init", &subject, |mut command: Command| Ok(command.spawn()?))?;
        let mut router = Router { keeper, events, pid: Pid::from_raw(0), seen, _subject: subject };
        router.started()?;
        Ok(router)
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// SIGKILL; returns once the next one has taken the state over.
    pub(super) fn kill(&mut self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL)?;
        self.started()
    }

    /// Waits for the next router to be up.
    fn started(&mut self) -> Result<()> {
        let before = self.seen.synced.load(Ordering::Relaxed);
        loop {
            match keeper::next_event(&self.events)? {
                Event::Started { pid, .. } => {
                    self.pid = Pid::from_raw(i32::try_from(pid)?);
                    break;
                }
                Event::Exited { .. } => {}
                other => bail!("the router did not start: {other:?}"),
            }
        }
        let begin = Instant::now();
        while self.seen.synced.load(Ordering::Relaxed) == before {
            ensure!(begin.elapsed() < UP, "the router took no state over");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // The keeper first: it would start another one.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

/// The router's own manifest, as the image has it.
fn plan() -> Result<Plan> {
    let path = Tree::here()?.system().join("bus.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let manifest = policy::check_system(&text, &Board::default()).map_err(|e| anyhow!("{e:?}"))?;
    Ok(policy::compile_system(&manifest))
}
