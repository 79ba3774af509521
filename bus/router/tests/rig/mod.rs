//! A `sandboxd` and servers around the real `busd`, over real sockets.
//!
//! Tests count what happened; time is only a bound after which a test gives up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bus::control::{Connection, Event, FromRouter, Grant, Key, Limits, ToRouter, Verdict};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use sys::channel;

/// When a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// One call and its answer, bytes.
const CALL: usize = 64;

pub(crate) fn key(uid: u32, interface: &str) -> Key {
    Key { uid, interface: interface.into() }
}

pub(crate) fn granted(server: u32, limits: Limits) -> Verdict {
    Verdict::Granted(Grant { server, methods: vec!["Get".into()], limits })
}

/// What the stand-in for `sandboxd` knows.
#[derive(Default)]
pub(crate) struct State {
    listens: BTreeMap<Key, (OwnedFd, Verdict)>,
    serves: BTreeMap<Key, OwnedFd>,
    pub(crate) store: BTreeMap<u64, (Connection, OwnedFd)>,
    pub(crate) events: Vec<Event>,
    pub(crate) synced: Vec<u64>,
    /// It reads nothing.
    pub(crate) deaf: bool,
    over: bool,
}

struct Shared {
    /// `sandboxd`'s end, and the router's, which `init` would keep.
    ours: OwnedFd,
    theirs: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

/// The bus, with its router if it was started.
pub(crate) struct Bus {
    dir: tempfile::TempDir,
    shared: Arc<Shared>,
    router: Option<Child>,
}

impl Bus {
    pub(crate) fn new() -> Self {
        let (ours, theirs) = channel::pair().unwrap();
        let state = Mutex::new(State::default());
        let shared = Arc::new(Shared { ours, theirs, state, changed: Condvar::new() });
        let pump = Arc::clone(&shared);
        thread::spawn(move || while pump.turn() {});
        let mut bus = Self { dir: tempfile::tempdir().unwrap(), shared, router: None };
        bus.start_router();
        bus
    }

    pub(crate) fn start_router(&mut self) {
        let stdin = Stdio::from(self.shared.theirs.try_clone().unwrap());
        let program = std::env::var_os("GABION_BUSD").unwrap_or_else(|| env!("CARGO_BIN_EXE_busd").into());
        self.router = Some(Command::new(program).stdin(stdin).spawn().unwrap());
    }

    /// `kill -9`.
    pub(crate) fn kill_router(&mut self) {
        let mut router = self.router.take().unwrap();
        assert_eq!(router.try_wait().unwrap(), None, "the router ended by itself");
        router.kill().unwrap();
        router.wait().unwrap();
    }

    /// A line of the router's `/proc/PID/status`.
    pub(crate) fn router_status(&self, name: &str) -> u64 {
        let status = format!("/proc/{}/status", self.router.as_ref().unwrap().id());
        let text = std::fs::read_to_string(status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().parse().unwrap()
    }

    pub(crate) fn router_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.router.as_ref().unwrap().id())).unwrap().count()
    }

    /// Makes a box's `/run/bus/INTERFACE`.
    pub(crate) fn listen(&self, key: &Key, verdict: Verdict) -> PathBuf {
        let path = self.dir.path().join(format!("{}-{}", key.uid, key.interface));
        let socket = listening(&path, SockType::Stream);
        let mut state = self.shared.state.lock().unwrap();
        state.listens.insert(key.clone(), (socket, verdict));
        self.shared.send_listen(&state, key);
        path
    }

    /// Another verdict.
    pub(crate) fn decide(&self, key: &Key, verdict: Verdict) {
        let mut state = self.shared.state.lock().unwrap();
        state.listens.get_mut(key).unwrap().1 = verdict;
        self.shared.send_listen(&state, key);
    }

    /// Makes a box's `/run/serve/INTERFACE`.
    pub(crate) fn serve(&self, key: &Key) -> PathBuf {
        let path = self.dir.path().join(format!("serve-{}-{}", key.uid, key.interface));
        let socket = listening(&path, SockType::SeqPacket);
        let mut state = self.shared.state.lock().unwrap();
        self.shared.send(&ToRouter::Serve { key: key.clone(), app: "a.b.server".into() }, Some(&socket));
        state.serves.insert(key.clone(), socket);
        path
    }

    pub(crate) fn revoke(&self, key: &Key) {
        let mut state = self.shared.state.lock().unwrap();
        state.listens.remove(key);
        state.serves.remove(key);
        self.shared.send(&ToRouter::Revoke(key.clone()), None);
    }

    pub(crate) fn monitor(&self, on: bool) {
        self.shared.send(&ToRouter::Monitor(on), None);
    }

    /// Another `sandboxd` takes over, which has no connection.
    pub(crate) fn restart_sandboxd(&self, number: u64) {
        let mut state = self.shared.state.lock().unwrap();
        state.store.clear();
        state.events.clear();
        self.shared.send_state(&state, number, false);
    }

    pub(crate) fn deafen(&self, deaf: bool) {
        self.shared.state.lock().unwrap().deaf = deaf;
    }

    /// The store forgets that servers have its connections.
    pub(crate) fn forget_handed(&self) {
        let mut state = self.shared.state.lock().unwrap();
        state.store.values_mut().for_each(|(connection, _)| connection.handed = false);
    }

    /// Waits until what `sandboxd` knows is so.
    pub(crate) fn until<T>(&self, what: &str, found: impl Fn(&State) -> Option<T>) -> T {
        let give_up = Instant::now() + PATIENCE;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = found(&state) {
                return found;
            }
            assert!(Instant::now() < give_up, "never: {what}; {:?}", state.events);
            state = self.shared.changed.wait_timeout(state, Duration::from_millis(100)).unwrap().0;
        }
    }

    pub(crate) fn until_stored(&self, count: usize) {
        self.until(&format!("{count} stored"), |state| (state.store.len() == count).then_some(()));
    }

    /// So many are stored, and told to be with their servers.
    pub(crate) fn until_handed(&self, count: usize) {
        self.until(&format!("{count} handed over"), |state| {
            (state.store.len() == count && state.store.values().all(|(c, _)| c.handed)).then_some(())
        });
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().over = true;
        if let Some(mut router) = self.router.take() {
            router.kill().unwrap();
            router.wait().unwrap();
        }
    }
}

impl Shared {
    /// Reads one message; false at the end of the test.
    fn turn(&self) -> bool {
        let deaf = {
            let state = self.state.lock().unwrap();
            if state.over {
                return false;
            }
            state.deaf
        };
        if deaf {
            thread::sleep(Duration::from_millis(10));
        } else if is_ready(&self.ours, PollFlags::POLLIN, 50) {
            let (bytes, fds) = channel::receive(&self.ours).unwrap().unwrap();
            let (message, fds) = (FromRouter::decode(&bytes).unwrap(), fds.unwrap());
            assert_eq!(fds.len(), message.descriptors());
            self.hear(message, fds.into_iter().next());
        }
        true
    }

    fn hear(&self, message: FromRouter, fd: Option<OwnedFd>) {
        let mut state = self.state.lock().unwrap();
        match message {
            FromRouter::Hello(number) => self.send_state(&state, number, true),
            FromRouter::Synced(number) => state.synced.push(number),
            FromRouter::Store(connection) => {
                state.store.insert(connection.serial, (connection, fd.unwrap()));
            }
            // What was on its way to the sandboxd before this one may be about a connection that only that one had.
            FromRouter::Handed(serial) => {
                if let Some((connection, _)) = state.store.get_mut(&serial) {
                    connection.handed = true;
                }
            }
            FromRouter::Forget(serial) => drop(state.store.remove(&serial)),
            FromRouter::Event(event) => state.events.push(event),
        }
        self.changed.notify_all();
    }

    fn send_state(&self, state: &State, number: u64, asked: bool) {
        self.send(&ToRouter::Sync { number, asked }, None);
        state.listens.keys().for_each(|key| self.send_listen(state, key));
        for (key, socket) in &state.serves {
            self.send(&ToRouter::Serve { key: key.clone(), app: "a.b.server".into() }, Some(socket));
        }
        for (connection, fd) in state.store.values() {
            self.send(&ToRouter::Stored(connection.clone()), Some(fd));
        }
        self.send(&ToRouter::SyncEnd(number), None);
    }

    fn send_listen(&self, state: &State, key: &Key) {
        let (socket, verdict) = &state.listens[key];
        let (key, app, verdict) = (key.clone(), "a.b.caller".into(), verdict.clone());
        self.send(&ToRouter::Listen { key, app, system: false, verdict }, Some(socket));
    }

    fn send(&self, message: &ToRouter, fd: Option<&OwnedFd>) {
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
        while let Err(error) = channel::send(&self.ours, &message.encode(), &fds) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            assert!(is_ready(&self.ours, PollFlags::POLLOUT, 10_000), "the router reads nothing");
        }
    }
}

fn listening(path: &Path, kind: SockType) -> OwnedFd {
    let _ = std::fs::remove_file(path);
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&fd, Backlog::new(64).unwrap()).unwrap();
    fd
}

pub(crate) fn is_ready(fd: impl AsFd, what: PollFlags, ms: u16) -> bool {
    loop {
        match poll(&mut [PollFd::new(fd.as_fd(), what)], PollTimeout::from(ms)) {
            Err(Errno::EINTR) => {}
            ready => return ready.unwrap() > 0,
        }
    }
}

/// A caller's connection.
pub(crate) fn call(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A caller that does not wait for a place in the backlog.
pub(crate) fn try_call(path: &Path) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).is_ok().then_some(fd)
}

/// One call; false if the connection is at its end.
pub(crate) fn exchange(stream: &mut UnixStream, number: u64) -> bool {
    let mut message = [0; CALL];
    message[..8].copy_from_slice(&number.to_ne_bytes());
    let mut answer = [0; CALL];
    stream.write_all(&message).and_then(|()| stream.read_exact(&mut answer)).is_ok_and(|()| answer == message)
}

/// Waits for the end of a connection.
pub(crate) fn ends(stream: &mut UnixStream) -> bool {
    match stream.read_exact(&mut [0]) {
        Ok(()) => false,
        Err(error) => {
            matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset)
        }
    }
}

/// A server's connection to its `/run/serve/INTERFACE`.
pub(crate) fn connect_server(path: &Path) -> OwnedFd {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    fd
}

/// The next message of the router: its text, and the connection that comes with it.
pub(crate) fn handover(server: &OwnedFd) -> Option<(String, Option<UnixStream>)> {
    assert!(is_ready(server, PollFlags::POLLIN, 60_000), "nothing is handed over");
    let (bytes, fds) = channel::receive(server).unwrap()?;
    Some((String::from_utf8(bytes).unwrap(), fds.unwrap().into_iter().next().map(UnixStream::from)))
}

pub(crate) fn serial(message: &str) -> u64 {
    let digits = message.strip_prefix("{\"serial\":").unwrap();
    digits.split(',').next().unwrap().parse().unwrap()
}

/// What a server has seen.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    pub(crate) serials: BTreeSet<u64>,
    pub(crate) open: usize,
    pub(crate) most: usize,
}

/// A server that answers every call with the call, connects again when the router is gone, and ends with the test.
pub(crate) fn echo(path: PathBuf) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    thread::spawn(move || {
        while path.exists() {
            let link = connect_server(&path);
            loop {
                if !is_ready(&link, PollFlags::POLLIN, 100) {
                    continue;
                }
                let Ok(Some((bytes, fds))) = channel::receive(&link) else { break };
                let serial = serial(std::str::from_utf8(&bytes).unwrap());
                for fd in fds.unwrap() {
                    if shared.lock().unwrap().serials.insert(serial) {
                        answer(UnixStream::from(fd), Arc::clone(&shared));
                    }
                }
            }
        }
    });
    seen
}

fn answer(mut stream: UnixStream, seen: Arc<Mutex<Seen>>) {
    {
        let mut seen = seen.lock().unwrap();
        seen.open += 1;
        seen.most = seen.most.max(seen.open);
    }
    thread::spawn(move || {
        let mut message = [0; CALL];
        while stream.read_exact(&mut message).and_then(|()| stream.write_all(&message)).is_ok() {}
        let _ = stream.shutdown(std::net::Shutdown::Both);
        seen.lock().unwrap().open -= 1;
    });
}

/// Gives a connection to another process, which reads until its end. Returns it.
pub(crate) fn pass_on(stream: &UnixStream) -> Child {
    let stdin = Stdio::from(OwnedFd::from(stream.try_clone().unwrap()));
    Command::new("cat").stdin(stdin).stdout(File::create("/dev/null").unwrap()).spawn().unwrap()
}
