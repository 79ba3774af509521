//! A rig for tests of the whole manager on a developer's machine: a store, a data directory, the worker's box, and
//! a stand-in for `init` that launches bundles with `init`'s own launcher. Must run as root.
//!
//! The manager confines its whole process, so it runs in one of its own: this test program, started again.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use policy::Board;
use sandboxd::cgroup::Limits;
use sandboxd::config::{Config, Images, Recording};
use sandboxd::storage::Quota;
use sys::bundle::{Event, Next, Request, Restart};
use sys::channel;
use sys::launch::{Launched, Prepared, outcome};

/// The uid of the system's box of updates, and of the one that serves its interfaces.
const UPDATED: u32 = 1004;
pub(crate) const DESK: u32 = 1006;
const RIG: &str = "SANDBOXD_TEST_RIG";
/// Longest wait for anything, which comes soon unless the machine is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The body of the test that is the manager's process; does nothing in an ordinary run.
pub(crate) fn manager_process() {
    let Some(dir) = std::env::var_os(RIG) else { return };
    let config = config(Path::new(&dir));
    let log = OpenOptions::new().append(true).create(true).open(Path::new(&dir).join("console")).unwrap();
    nix::unistd::dup2_stdout(&log).unwrap();
    nix::unistd::dup2_stderr(&log).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let socket = sys::inherit::take(3).unwrap();
    let code = match sandboxd::daemon::run(config, socket) {
        Ok(()) => 0,
        Err(e) => {
            sandboxd::console::say(format_args!("sandboxd can not go on: {e}"));
            1
        }
    };
    sandboxd::console::finish();
    std::process::exit(code);
}

fn config(dir: &Path) -> Config {
    Config {
        apps: dir.join("apps"),
        apps_device: None,
        data: dir.join("data"),
        data_device: None,
        template: "/nonexistent".into(),
        system: dir.join("system"),
        runtime: dir.join("run"),
        cgroups: fs::read_to_string(dir.join("cgroups")).unwrap().into(),
        developer: true,
        tpm: false,
        floor: 0,
        esp: None,
        layout: PathBuf::from("/nonexistent"),
        os_release: "/nonexistent".into(),
        command_line: "/nonexistent".into(),
        safe_mode: false,
        limits: Limits::NotEnforced,
        quota: Quota::NotEnforced,
        recording: Recording::Filters,
        images: Images::NotVerified,
    }
}

/// A running box of the stand-in.
struct Box_ {
    prepared: Prepared,
    running: Option<(Launched, bool)>,
    starts: u32,
    stopping: bool,
    /// What no manager has recorded.
    unheard: Vec<(u64, Event)>,
    /// Ends that are no more than a number.
    more: u32,
}

/// See the module.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    boxes: BTreeMap<u32, Box_>,
    manager: Option<(Pid, OwnedFd)>,
    seen: usize,
    greeted: bool,
    /// The standard inputs of boxes of the system: their ends of links.
    links: BTreeMap<u32, OwnedFd>,
    /// What the stand-in says to `Hello`.
    pub(crate) safe_mode: bool,
}

impl Rig {
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let dir = tempfile::Builder::new().prefix("rig").tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let cgroups = cgroup2().join(dir.path().file_name().unwrap());
        for sub in ["apps", "system"] {
            fs::create_dir_all(cgroups.join(sub)).unwrap();
        }
        fs::write(dir.path().join("cgroups"), cgroups.to_str().unwrap()).unwrap();
        let rig = Self {
            dir,
            boxes: BTreeMap::new(),
            manager: None,
            seen: 0,
            greeted: false,
            links: BTreeMap::new(),
            safe_mode: false,
        };
        for sub in ["apps", "data", "run"] {
            fs::create_dir(rig.path(sub)).unwrap();
        }
        rig.add_worker();
        rig
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn add_worker(&self) {
        let program = (Path::new(env!("CARGO_BIN_EXE_manifest-worker")), "bin/manifest-worker");
        self.add_system_box("os.gabion.worker", &[program], "[\"/bin/manifest-worker\"]");
    }

    /// Adds a box of the system that runs `exec`.
    pub(crate) fn add_system_box(&self, id: &str, programs: &[(&Path, &str)], exec: &str) {
        make_root(&self.path("system").join(id), programs);
        let text = format!(
            "[app]\nid = \"{id}\"\nversion = \"1.0.0\"\nexec = {exec}\n\
             [resources]\nmemory = \"16MiB\"\ncpu = \"100%\"\ntasks = 4\n[lifecycle]\nrestart = \"always\"\n"
        );
        let manifest = policy::check_system(&text, &Board::default()).unwrap_or_else(|p| panic!("{p:?}"));
        let plan = policy::compile_system(&manifest).encode();
        fs::write(self.path("system").join(format!("{id}.plan")), plan).unwrap();
    }

    /// Adds an app that runs the shell `script`; `more` goes to the end of the manifest.
    pub(crate) fn add_app(&self, id: &str, script: &str, more: &str) {
        make_app(&self.path("apps").join(id), id, "1.0.0", script, more);
    }
}

/// Makes an app of files: its root, and its manifest.
pub(crate) fn make_app(app: &Path, id: &str, version: &str, script: &str, more: &str) {
    let programs = ["sh", "cat", "sleep", "ls", "unshare"].map(|p| format!("bin/{p}"));
    let programs: Vec<(PathBuf, String)> =
        programs.into_iter().map(|p| (Path::new("/").join(&p), p)).collect();
    let programs: Vec<(&Path, &str)> =
        programs.iter().filter(|(p, _)| p.exists()).map(|(p, n)| (p.as_path(), n.as_str())).collect();
    make_root(&app.join("root"), &programs);
    let script = script.replace('\\', "\\\\").replace('"', "\\\"");
    let text = format!(
        "[app]\nid = \"{id}\"\nversion = \"{version}\"\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n\
         [resources]\nmemory = \"16MiB\"\ncpu = \"20%\"\ntasks = 16\nstorage = \"1MiB\"\n{more}"
    );
    fs::write(app.join("manifest.toml"), text).unwrap();
}

impl Rig {
    pub(crate) fn start_manager(&mut self) {
        let (ours, theirs) = channel::pair().unwrap();
        let exe = std::env::current_exe().unwrap();
        // SAFETY-free way to set the variable for the child alone: through env(1).
        let variable = format!("{RIG}={}", self.dir.path().display());
        let exe = exe.to_str().unwrap();
        let argv = ["/usr/bin/env", &variable, exe, "--exact", "manager_process", "--nocapture"];
        let argv = argv.map(|word| CString::new(word).unwrap());
        let argv: Vec<&CStr> = argv.iter().map(CString::as_c_str).collect();
        let cgroup = fs::File::open(cgroup2()).unwrap().into();
        let pid = sys::process::spawn_manager(&argv, &theirs, &cgroup).unwrap();
        self.manager = Some((Pid::from_raw(pid as i32), ours));
        self.greeted = false;
    }

    pub(crate) fn kill_manager(&mut self) {
        let (pid, _) = self.manager.take().unwrap();
        kill(pid, Signal::SIGKILL).unwrap();
        waitpid(pid, None).unwrap();
    }

    pub(crate) fn console(&self) -> String {
        fs::read_to_string(self.path("console")).unwrap_or_default()
    }

    /// Runs until the console has a line (after what earlier calls found) that contains `text`; gives that line.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            self.step();
            let console = self.console();
            let new = &console[self.seen..];
            let whole = &new[..new.rfind('\n').map_or(0, |n| n + 1)];
            if let Some(at) = whole.find(text) {
                let start = whole[..at].rfind('\n').map_or(0, |n| n + 1);
                let end = at + whole[at..].find('\n').unwrap();
                let line = whole[start..end].to_owned();
                self.seen += end + 1;
                return line;
            }
            assert!(began.elapsed() < PATIENCE, "no {text:?} in:\n{console}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Runs until the console has `text` anywhere.
    pub(crate) fn until_once(&mut self, text: &str) {
        let began = Instant::now();
        while !self.console().contains(text) {
            assert!(began.elapsed() < PATIENCE, "no {text:?} in:\n{}", self.console());
            self.run_for(Duration::from_millis(10));
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            self.step();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn pid_of(&self, uid: u32) -> Option<u32> {
        self.boxes.get(&uid)?.running.as_ref().map(|(l, _)| l.pid)
    }

    /// As if the box had been put, and its start never asked for.
    pub(crate) fn forget_start(&mut self, uid: u32) {
        let b = self.boxes.get_mut(&uid).unwrap();
        let (launched, _) = b.running.take().unwrap();
        sys::process::signal(&launched.pidfd, 9).unwrap();
        waitpid(Pid::from_raw(launched.pid as i32), None).unwrap();
        b.starts = 0;
    }

    /// As if so many more ends had come than are kept.
    pub(crate) fn lose_ends(&mut self, uid: u32, count: u32) {
        self.boxes.get_mut(&uid).unwrap().more += count;
    }

    /// Runs until so many ends of a box are what no manager has recorded.
    pub(crate) fn until_unheard(&mut self, uid: u32, count: u32) {
        let began = Instant::now();
        loop {
            self.step();
            let unheard = self.boxes.get(&uid).map_or(0, |b| b.unheard.len() as u32 + b.more);
            if unheard == count {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{unheard} ends are unheard:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The end of the link that is updated's, once its box is put.
    pub(crate) fn link(&mut self) -> &OwnedFd {
        self.link_of(UPDATED)
    }

    /// The same of another box of the system.
    pub(crate) fn link_of(&mut self, uid: u32) -> &OwnedFd {
        let began = Instant::now();
        while !self.links.contains_key(&uid) {
            self.step();
            assert!(began.elapsed() < PATIENCE, "no box {uid}:\n{}", self.console());
        }
        &self.links[&uid]
    }

    /// As if the device had gone down and come up: no box is kept.
    pub(crate) fn boot(&mut self) {
        self.kill_manager();
        for b in std::mem::take(&mut self.boxes).into_values() {
            if let Some((launched, _)) = b.running {
                sys::process::signal(&launched.pidfd, 9).unwrap();
                waitpid(Pid::from_raw(launched.pid as i32), None).unwrap();
            }
        }
        self.links.clear();
        fs::remove_dir_all(self.path("run/boxes")).unwrap();
        self.start_manager();
    }

    fn end(&mut self, id: u32, event: Event) {
        self.boxes.get_mut(&id).unwrap().unheard.push((sys::process::now_ms(), event.clone()));
        self.tell(event, &[]);
    }

    fn tell(&self, event: Event, fds: &[OwnedFd]) {
        use std::os::fd::AsRawFd;
        let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        // Before `Hello` nothing is told: the answer to it says it all.
        if let Some((_, socket)) = self.manager.as_ref().filter(|_| self.greeted) {
            // A manager that was just killed does not hear us.
            let _ = channel::send(socket, &event.encode(), &raw);
        }
    }

    pub(crate) fn step(&mut self) {
        self.requests();
        let ids: Vec<u32> = self.boxes.keys().copied().collect();
        for id in ids {
            self.look_after(id);
        }
    }

    fn requests(&mut self) {
        while let Some((pid, socket)) = &self.manager {
            let Ok(Some((message, fds))) = channel::receive(socket) else {
                let gone = waitpid(*pid, Some(WaitPidFlag::WNOHANG));
                assert!(
                    matches!(gone, Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD)),
                    "manager ended: {gone:?}\n{}",
                    self.console()
                );
                return;
            };
            self.request(Request::decode(&message).unwrap(), fds.unwrap());
        }
    }

    fn request(&mut self, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::Hello => {
                self.greeted = true;
                for (id, b) in &self.boxes {
                    let pid = b.running.as_ref().map_or(0, |(l, _)| l.pid);
                    let (ends, more) = (b.unheard.clone(), b.more);
                    self.tell(Event::Kept { id: *id, pid, starts: b.starts, ends, more }, b.prepared.kept());
                }
                self.tell(Event::KeptEnd { safe_mode: self.safe_mode }, &[]);
            }
            Request::Put(spec) => {
                let id = spec.id;
                assert!(self.boxes.get(&id).is_none_or(|b| b.running.is_none()), "put over a running box");
                let starts = self.boxes.get(&id).map_or(0, |b| b.starts);
                if [UPDATED, DESK].contains(&id) {
                    self.links.insert(id, fds[5].try_clone().unwrap());
                }
                let prepared = Prepared::new(spec, fds).unwrap();
                let new = Box_ { prepared, running: None, starts, stopping: false, unheard: vec![], more: 0 };
                self.boxes.insert(id, new);
            }
            Request::Start(id) => self.start(id),
            Request::Stop(id) | Request::Kill(id) => {
                let b = self.boxes.get_mut(&id).unwrap();
                b.stopping |= matches!(request, Request::Stop(_));
                match &b.running {
                    Some((launched, _)) => sys::process::signal(&launched.pidfd, 9).unwrap(),
                    None if request == Request::Kill(id) => {
                        self.tell(Event::Failed { id, errno: nix::libc::ESRCH }, &[]);
                    }
                    None => {}
                }
            }
            Request::Remove(id) => drop(self.boxes.remove(&id)),
            Request::Heard(id, count) => {
                let b = self.boxes.get_mut(&id).unwrap();
                let kept = b.unheard.len().min(count as usize);
                b.unheard.drain(..kept);
                b.more -= count - kept as u32;
            }
            Request::Power(_) => {}
        }
    }

    fn start(&mut self, id: u32) {
        let b = self.boxes.get_mut(&id).unwrap();
        b.starts += 1;
        b.stopping = false;
        b.running = Some((b.prepared.launch().unwrap(), false));
    }

    fn look_after(&mut self, id: u32) {
        let b = self.boxes.get_mut(&id).unwrap();
        let Some((launched, decided)) = &mut b.running else { return };
        let (pid, starts) = (launched.pid, b.starts);
        if !*decided {
            match outcome(&launched.status) {
                None => return,
                Some(Ok(())) => {
                    *decided = true;
                    self.tell(Event::Started { id, pid, starts }, &[]);
                }
                Some(Err((step, errno))) => {
                    b.running = None;
                    waitpid(Pid::from_raw(pid as i32), None).unwrap();
                    self.end(id, Event::Refused { id, step, errno, next: Next::Stopped });
                }
            }
            return;
        }
        let (code, status) = match waitpid(Pid::from_raw(pid as i32), Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::StillAlive => return,
            WaitStatus::Exited(_, code) => (libc_code(true), code),
            WaitStatus::Signaled(_, signal, _) => (libc_code(false), signal as i32),
            other => panic!("{other:?}"),
        };
        b.running = None;
        let again = !b.stopping && b.prepared.spec.restart == Restart::Always && b.starts < 4;
        let next = if again { Next::Restart(0) } else { Next::Stopped };
        self.end(id, Event::Exited { id, pid, code, status, uptime_ms: 1, next });
        if again {
            self.start(id);
        }
    }
}

/// `CLD_EXITED` or `CLD_KILLED`.
fn libc_code(exited: bool) -> i32 {
    if exited { 1 } else { 2 }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some((pid, _)) = self.manager.take() {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
        for b in self.boxes.values() {
            if let Some((launched, _)) = &b.running {
                let _ = sys::process::signal(&launched.pidfd, 9);
                let _ = waitpid(Pid::from_raw(launched.pid as i32), None);
            }
        }
        let Ok(cgroups) = fs::read_to_string(self.path("cgroups")) else { return };
        for sub in ["apps", "system"] {
            for entry in fs::read_dir(Path::new(&cgroups).join(sub)).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(entry.path());
            }
            let _ = fs::remove_dir(Path::new(&cgroups).join(sub));
        }
        let _ = fs::remove_dir(cgroups);
    }
}

/// A box root with these programs and the libraries they need.
pub(crate) fn make_root(root: &Path, programs: &[(&Path, &str)]) {
    for sub in ["dev", "proc", "tmp", "data", "run", "bin"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    for (program, name) in programs {
        copy(program, &root.join(name));
        let ldd = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(ldd.stdout).unwrap();
        for path in text.split_whitespace().filter(|w| w.starts_with('/')) {
            let to = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            copy(Path::new(path), &to);
        }
    }
}

/// By a process of its own: one that another test starts meanwhile would have what we write open, and nobody could execute it.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// Where cgroup v2 is mounted here.
pub(crate) fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|l| l.split(' ').nth(2) == Some("cgroup2")).expect("a cgroup2 mount");
    line.split(' ').nth(1).unwrap().into()
}
