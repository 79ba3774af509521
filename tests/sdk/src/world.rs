//! A box's `/run/bus` and `/run/serve`, with the real router behind them.
//!
//! The router runs in a thread; in the place of `sandboxd` is what is told here, and what it keeps is let go: nothing is
//! killed in these tests.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus::control::{Event, FromRouter, Grant, Key, Limits, ToRouter, Verdict};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use sys::channel;

use crate::system::System;

/// The box of the app, of the system's servers, and of the app that serves.
const APP: u32 = 10_001;
const SYSTEM: u32 = 1001;
const SERVER: u32 = 10_002;
/// When a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The interface that one app serves and another calls.
pub const TEMPERATURE: &str = "com.example.Temperature";

/// See the module.
pub struct World {
    folder: tempfile::TempDir,
    /// The system's servers.
    pub system: System,
    ours: Arc<OwnedFd>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl World {
    /// With every method that an app may be granted, and `com.example.Temperature.Get` and `Watch`.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn new() -> Result<Self> {
        let all = crate::grantable();
        let split = |name: &String| name.rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned()));
        let mut granted: Vec<(String, String)> = all.iter().filter_map(split).collect();
        granted.extend(["Get", "Watch"].map(|method| (TEMPERATURE.to_owned(), method.to_owned())));
        Self::granting(&granted)
    }

    /// With these methods: interface and name.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn granting(granted: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["bus", "serve", "system", "data"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let (ours, theirs) = channel::pair()?;
        thread::spawn(move || busd::shell::run(theirs.as_fd()));
        let events = Arc::default();
        let ours = Arc::new(ours);
        let manager = Manager { ours: Arc::clone(&ours), events: Arc::clone(&events) };
        let interfaces: BTreeSet<&String> = granted.iter().map(|(interface, _)| interface).collect();
        let mut state = Vec::new();
        for interface in interfaces {
            let own = interface.starts_with("os.gabion.");
            let (server, place) = if own { (SYSTEM, "system") } else { (SERVER, "serve") };
            let methods = granted.iter().filter(|(of, _)| of == interface).map(|(_, method)| method.clone());
            let grant = Grant { server, methods: methods.collect(), limits: Limits::default() };
            let key = Key { uid: APP, interface: interface.clone() };
            let listens = listening(&folder.path().join("bus").join(interface), SockType::Stream)?;
            let verdict = Verdict::Granted(grant);
            let app = "com.example.caller".to_owned();
            state.push((ToRouter::Listen { key, app, system: false, verdict }, listens));
            let key = Key { uid: server, interface: interface.clone() };
            let serves = listening(&folder.path().join(place).join(interface), SockType::SeqPacket)?;
            state.push((ToRouter::Serve { key, app: "com.example.server".to_owned() }, serves));
        }
        manager.start(state)?;
        let system = System::start(&folder.path().join("system"))?;
        Ok(Self { folder, system, ours, events })
    }

    /// A folder of the box: `bus`, `serve` or `data`.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The variables that lead an app here.
    pub fn variables(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("GABION_BUS", self.folder("bus")),
            ("GABION_SERVE", self.folder("serve")),
            ("GABION_DATA", self.folder("data")),
        ]
    }

    /// A program of the app; it ends with the test.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.envs(self.variables()).env_remove("NOTIFY_SOCKET").process_group(0);
        command
    }

    /// Waits until the router has told of an event that has this in it.
    ///
    /// # Errors
    /// It never does.
    pub fn event(&self, what: &str) -> Result<()> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let events = self.events.lock().map_err(|_| anyhow::anyhow!("a thread failed"))?;
            let said: Vec<String> = events.iter().map(|event| format!("{event:?}")).collect();
            drop(events);
            if said.iter().any(|event| event.contains(what)) {
                return Ok(());
            }
            ensure!(Instant::now() < give_up, "no {what} in {said:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends every connection to the system's servers, as when they are started anew.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn restart_system(&mut self) -> Result<()> {
        self.system.restart(&self.folder("system"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The router ends with its socket; the thread that reads ends with it.
        let _ = nix::sys::socket::shutdown(self.ours.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

fn listening(path: &Path, kind: SockType) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path).with_context(|| path.display().to_string())?)?;
    listen(&fd, Backlog::new(64)?)?;
    Ok(fd)
}

/// The stand-in for `sandboxd`.
struct Manager {
    ours: Arc<OwnedFd>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Manager {
    fn start(self, state: Vec<(ToRouter, OwnedFd)>) -> Result<()> {
        let first = self.next()?.context("the router ended")?;
        let FromRouter::Hello(number) = first else { anyhow::bail!("it began with {first:?}") };
        self.send(&ToRouter::Sync { number, asked: true }, None)?;
        for (message, fd) in &state {
            self.send(message, Some(fd))?;
        }
        self.send(&ToRouter::SyncEnd(number), None)?;
        thread::spawn(move || {
            // They are open as long as the world is.
            let _kept = state;
            while let Ok(Some(message)) = self.next() {
                if let FromRouter::Event(event) = message
                    && let Ok(mut events) = self.events.lock()
                {
                    events.push(event);
                }
            }
        });
        Ok(())
    }

    fn until(&self, what: PollFlags) -> Result<()> {
        loop {
            match poll(&mut [PollFd::new(self.ours.as_fd(), what)], PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                ready => return Ok(ready.map(drop)?),
            }
        }
    }

    /// The next message, without its descriptor; `None` at the end.
    fn next(&self) -> Result<Option<FromRouter>> {
        self.until(PollFlags::POLLIN)?;
        let Some((bytes, _)) = channel::receive(&*self.ours)? else { return Ok(None) };
        FromRouter::decode(&bytes).map(Some).context("no message of a router")
    }

    fn send(&self, message: &ToRouter, fd: Option<&OwnedFd>) -> Result<()> {
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
        self.until(PollFlags::POLLOUT)?;
        Ok(channel::send(&*self.ours, &message.encode(), &fds)?)
    }
}
