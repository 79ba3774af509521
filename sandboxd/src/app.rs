//! One box as sandboxd knows it: its state, what it said, how it ended. No I/O but its own log and sockets.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use sys::bundle::Next;

use crate::applog::{AppLog, Stream};
use crate::cgroup::Group;
use crate::endpoint::{self, Endpoint, Side};
use crate::exits::ExitLog;
use crate::first_calls::FirstCalls;
use crate::logfile::LogFile;
use crate::notify::{self, Notice};
use crate::packages::tag;
use crate::refusals::Refusals;
use crate::system;
use crate::table::Row;
use crate::watchdog::Watchdog;
use bus::desk::Exit;

/// Where a box stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its manifest is being read.
    Reading,
    /// `init` was asked to launch it.
    Starting,
    /// It runs.
    Up {
        /// Its first process.
        pid: u32,
    },
    /// It ended; what `init` does next.
    Down(Next),
    /// It could not be built; the console said why.
    Problem,
}

/// One box.
#[derive(Debug)]
pub struct App {
    /// Its uid and number.
    pub uid: u32,
    /// Its id.
    pub id: String,
    /// Whether it is the system's.
    pub system: bool,
    /// Where it stands.
    pub state: State,
    /// Launches so far.
    pub starts: u32,
    /// How it last ended, for people.
    pub last: String,
    /// Its cgroup.
    pub group: Group,
    /// Its output.
    pub log: AppLog,
    /// Its exits.
    pub exits: ExitLog,
    /// Its deadline.
    pub watchdog: Watchdog,
    /// We asked for its end because it was silent for so long.
    pub killed_for_ms: Option<u32>,
    /// What it says of itself.
    pub status: Option<String>,
    /// Its manifest says that it says `READY=1` each time it is up.
    pub says_ready: bool,
    /// It has not said so yet. Set again at its end, not at its start: the word may be here before `init`'s that it
    /// started.
    pub awaits_ready: bool,
    /// Its refused calls.
    pub refusals: Refusals,
    /// Those that are no news.
    pub first_calls: FirstCalls,
    oom_seen: u64,
    notify: Option<OwnedFd>,
    endpoints: Vec<Endpoint>,
    control: Option<OwnedFd>,
    /// Its version, once its manifest is read.
    pub version: Option<String>,
    /// The number of the package that its bundle was made of; `None` for the image's own app.
    pub package: Option<u64>,
    /// The root hash of its image, lower-case hex; empty for one whose files are in the image of the system.
    pub root_hash: String,
    /// Somebody had it stopped, and nobody has had it started since.
    pub held: bool,
    /// W^X is lifted for it.
    pub jit: bool,
    /// What is wrong with it, and what to do about it.
    pub problem: Option<String>,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// That was no failure.
    pub ended_well: bool,
    /// Since when it runs, of the clock that began when the device booted.
    since_ms: u64,
}

/// A box that runs for so long has come up, milliseconds, and longer by as much for each start, to [`STEADY_STARTS`]: one that ends
/// again and again runs in between, and would be found running sooner or later.
const STEADY_MS: u64 = 10_000;
const STEADY_STARTS: u32 = 6;

impl App {
    /// A box of which only the name is known. `cgroups` is `/sys/fs/cgroup`, `logs` where logs go if anywhere.
    pub fn new(uid: u32, id: &str, system: bool, cgroups: &Path, logs: Option<&Path>) -> Self {
        let dir = logs.map(|l| l.join(id));
        // Below the apps' is the firewall, which holds for what reaches out to the service as well.
        let reaches_out = id == system::ATTESTD || id == system::UPDATED;
        let parent = cgroups.join(if system && !reaches_out { "system" } else { "apps" });
        Self {
            uid,
            id: id.to_owned(),
            system,
            state: State::Reading,
            starts: 0,
            last: String::new(),
            group: Group::new(&parent, id),
            log: AppLog::new(id, dir.clone().map(LogFile::new)),
            exits: ExitLog::new(dir),
            watchdog: Watchdog::default(),
            killed_for_ms: None,
            status: None,
            says_ready: false,
            awaits_ready: false,
            refusals: Refusals::default(),
            first_calls: FirstCalls::default(),
            oom_seen: 0,
            notify: None,
            endpoints: Vec::new(),
            control: None,
            version: None,
            package: None,
            root_hash: String::new(),
            held: false,
            jit: false,
            problem: None,
            last_exit: None,
            ended_well: false,
            since_ms: 0,
        }
    }

    /// Takes our ends of a bundle: log pipes, notify socket, sockets of the bus.
    pub fn attach(&mut self, kept: Vec<OwnedFd>) {
        let mut kept = kept.into_iter();
        if let (Some(out), Some(err)) = (kept.next(), kept.next()) {
            self.log.attach(out, err);
        }
        self.notify = kept.next();
        self.package = None;
        self.endpoints.clear();
        for fd in kept {
            match endpoint::identify(fd) {
                endpoint::Kept::Endpoint(endpoint) => self.endpoints.push(endpoint),
                endpoint::Kept::Control(fd) => self.control = Some(fd),
                endpoint::Kept::Other(fd) => self.package = tag::read(&fd),
            }
        }
        self.oom_seen = self.group.oom_kills();
    }

    /// Lets go of its bundle, in whose place another one comes.
    pub fn detach(&mut self) {
        self.log.detach(Stream::Out);
        self.log.detach(Stream::Err);
        self.notify = None;
        self.endpoints.clear();
        self.package = None;
    }

    /// It was launched `starts` times while another sandboxd looked after it; `pid` is 0 when it is down.
    pub fn adopted(&mut self, pid: u32, starts: u32, now_ms: u64) {
        self.starts = starts;
        // It may have begun just now.
        self.since_ms = now_ms;
        self.state = match pid {
            0 => State::Down(Next::Stopped),
            pid => State::Up { pid },
        };
    }

    /// The notify socket, to be polled.
    pub fn notify_socket(&self) -> Option<BorrowedFd<'_>> {
        self.notify.as_ref().map(AsFd::as_fd)
    }

    /// Its listening socket for `interface`.
    pub fn endpoint(&self, side: Side, interface: &str) -> Option<BorrowedFd<'_>> {
        let found = self.endpoints.iter().find(|e| e.side == side && e.interface == interface);
        found.map(|endpoint| endpoint.socket.as_fd())
    }

    /// The interfaces it has a socket for.
    pub fn interfaces(&self, side: Side) -> impl Iterator<Item = &str> {
        self.endpoints.iter().filter(move |e| e.side == side).map(|e| e.interface.as_str())
    }

    /// Whether it takes part in the bus.
    pub fn has_endpoints(&self) -> bool {
        !self.endpoints.is_empty()
    }

    /// Our end of the socket that is its standard input, once.
    pub fn take_control(&mut self) -> Option<OwnedFd> {
        self.control.take()
    }

    /// Its process when it runs.
    pub fn pid(&self) -> Option<u32> {
        match self.state {
            State::Up { pid } => Some(pid),
            _ => None,
        }
    }

    /// It runs, from now.
    pub fn started(&mut self, pid: u32, starts: u32, now_ms: u64) {
        self.state = State::Up { pid };
        self.starts = starts;
        self.killed_for_ms = None;
        self.status = None;
        self.since_ms = now_ms;
        self.watchdog.alive(now_ms);
    }

    /// It runs, or has ended as it should, or somebody had it stopped, and stays so.
    pub fn is_as_it_should(&self) -> bool {
        let rests = self.state == State::Down(Next::Stopped) && (self.ended_well || self.held);
        self.pid().is_some() || rests
    }

    /// Whether it is not up, or ends again and again. What was stopped and stays down is no fault.
    pub fn is_unsteady(&self, now_ms: u64) -> bool {
        match self.state {
            State::Up { .. } => {
                let steady_ms = STEADY_MS * u64::from(self.starts.min(STEADY_STARTS));
                self.starts > 1 && now_ms < self.since_ms.saturating_add(steady_ms)
            }
            State::Down(next) => next != Next::Stopped,
            State::Reading | State::Starting | State::Problem => true,
        }
    }

    /// It ended. Gives the kills for memory since the last time.
    pub fn ended(&mut self, next: Next) -> u64 {
        self.state = State::Down(next);
        self.awaits_ready = self.says_ready;
        self.watchdog.rest();
        let kills = self.group.oom_kills();
        kills.saturating_sub(std::mem::replace(&mut self.oom_seen, kills))
    }

    /// Reads the next message from its notify socket, if there is one.
    pub fn notice(&self) -> Option<Notice> {
        let socket = self.notify.as_ref()?;
        let mut message = [0; notify::MAX_MESSAGE];
        loop {
            return match nix::unistd::read(socket, &mut message) {
                Ok(n) => Some(notify::parse(message.get(..n).unwrap_or_default())),
                Err(Errno::EINTR) => continue,
                Err(_) => None,
            };
        }
    }

    /// Still on its way up.
    pub fn busy(&self) -> bool {
        matches!(self.state, State::Reading | State::Starting)
            || self.pid().is_some() && self.awaits_ready
            || matches!(self.state, State::Down(Next::Restart(_)))
    }

    /// Its line of the table.
    pub fn row(&self) -> Row {
        let state = match self.state {
            State::Reading => "reading",
            State::Starting => "starting",
            State::Up { .. } if self.awaits_ready => "starting",
            State::Up { .. } => "up",
            State::Down(Next::Stopped) => "stopped",
            State::Down(Next::Restart(_)) => "restarting",
            State::Down(Next::Backoff(_)) => "back-off",
            State::Problem => "problem",
        };
        Row {
            id: self.id.clone(),
            state,
            uid: Some(self.uid),
            pid: self.pid(),
            memory: self.pid().and_then(|_| self.group.memory_bytes()),
            restarts: self.starts.saturating_sub(1),
            last: self.last.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(state: State) -> App {
        let mut app = App::new(1004, "os.gabion.update", true, Path::new("/nowhere"), None);
        app.state = state;
        app
    }

    #[test]
    fn box_that_is_not_up_or_ends_again_and_again_is_unsteady() {
        for state in [State::Reading, State::Starting, State::Problem, State::Down(Next::Backoff(1))] {
            assert!(app(state).is_unsteady(0), "{state:?}");
        }
        assert!(!app(State::Down(Next::Stopped)).is_unsteady(0));
        let mut app = app(State::Starting);
        app.started(7, 1, 1000);
        assert!(!app.is_unsteady(1000));
        app.started(8, 2, 2000);
        assert!(app.is_unsteady(2000 + 2 * STEADY_MS - 1));
        assert!(!app.is_unsteady(2000 + 2 * STEADY_MS));
        // Every half a minute, for ever: from the third time on.
        for starts in 3..100 {
            let began = u64::from(starts) * 3 * STEADY_MS;
            app.started(9, starts, began);
            assert!(app.is_unsteady(began + 3 * STEADY_MS - 1));
            assert!(!app.is_unsteady(began + 6 * STEADY_MS));
        }
        app.adopted(9, 3, 7000);
        assert!(app.is_unsteady(7000 + 3 * STEADY_MS - 1));
    }

    #[test]
    fn box_that_ended_is_as_it_should_if_it_ended_well_or_somebody_stopped_it_and_it_stays_down() {
        let mut stopped = app(State::Down(Next::Stopped));
        assert!(!stopped.is_as_it_should());
        stopped.ended_well = true;
        assert!(stopped.is_as_it_should());
        stopped.state = State::Down(Next::Restart(0));
        assert!(!stopped.is_as_it_should());
        let mut held = app(State::Down(Next::Stopped));
        held.held = true;
        assert!(held.is_as_it_should());
        assert!(app(State::Up { pid: 7 }).is_as_it_should() && !app(State::Problem).is_as_it_should());
    }
}
