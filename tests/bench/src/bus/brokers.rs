//! Other people's brokers, each with a service that answers the bench's call: on private sockets in the bench's own
//! directory, seen from the boxes under `/run`. They end with the bench.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench_peer::dbus::Connection;
use image::paths::Tree;

use super::boxed::Boxed;
use super::controller;
use super::scene::{self, Scene, in_box};

/// How long a broker may take to listen.
const UP: Duration = Duration::from_secs(10);
/// Everybody may do everything: what is measured is the way, not a policy.
const POLICY: &str = "<busconfig><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>\
    <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/>\
    <allow receive_sender=\"*\"/></policy></busconfig>\n";

/// A broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    DbusBroker,
    DbusDaemon,
    Busd,
}

impl Which {
    const ALL: [Which; 3] = [Which::DbusBroker, Which::DbusDaemon, Which::Busd];

    fn program(self) -> &'static str {
        match self {
            Which::DbusBroker => "dbus-broker",
            Which::DbusDaemon => "dbus-daemon",
            Which::Busd => "busd",
        }
    }

    /// Why it could not be measured, and what helps.
    pub(super) fn missing(self) -> &'static str {
        match self {
            Which::DbusBroker => "dbus-broker is not installed (apt-get install dbus-broker)",
            Which::DbusDaemon => "dbus-daemon is not installed (apt-get install dbus-daemon)",
            Which::Busd => {
                "busd is not installed (cargo install busd --locked --root ~/.cache/gabion/bench, which needs Rust 1.89)"
            }
        }
    }
}

/// One that runs.
pub(super) struct Running {
    pub(super) broker: Which,
    /// Its socket, as seen from the boxes.
    pub(super) path: String,
    service: Option<Boxed>,
    child: Child,
    _controller: Option<Connection>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that there are.
pub(super) struct Brokers {
    zbus: Option<Boxed>,
    running: Vec<Running>,
}

impl Brokers {
    /// Starts those that are installed.
    pub(super) fn start(scene: &Scene) -> Result<Brokers> {
        let mut running = Vec::new();
        for broker in Which::ALL {
            if let Some(program) = find(broker.program())? {
                running.push(start(scene, broker, &program).with_context(|| program.display().to_string())?);
            }
        }
        let mut brokers = Brokers { zbus: None, running };
        if scene.has_zbus
            && let Some(first) = brokers.running.first()
        {
            brokers.zbus = Some(Boxed::start(&scene.server, &["/bin/zbus", "server", &first.path])?);
        }
        Ok(brokers)
    }

    /// Those that run.
    pub(super) fn running(&self) -> &[Running] {
        &self.running
    }

    /// Where the service made with zbus is reached: on the fastest broker.
    pub(super) fn zbus(&self) -> Option<&str> {
        self.zbus.as_ref().and(self.running.first()).map(|first| first.path.as_str())
    }
}

/// A program of this name on the search path, or where the bench has its own.
fn find(name: &str) -> Result<Option<PathBuf>> {
    let own = Tree::here()?.cache.join("bench/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([own]);
    Ok(places.find_map(|place| Some(place.join(name)).filter(|program| program.is_file())))
}

fn start(scene: &Scene, broker: Which, program: &Path) -> Result<Running> {
    let socket = scene.dir.path().join(broker.program());
    let config = socket.with_extension("conf");
    fs::write(&config, POLICY.replace("SOCKET", &socket.display().to_string()))?;
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env_remove("DBUS_SESSION_BUS_ADDRESS");
    let option = if broker == Which::DbusDaemon { "--config-file" } else { "--config" };
    let config = format!("{option}={}", config.display());
    let (child, controller) = match broker {
        Which::DbusBroker => controller::start(command, &socket).map(|(child, c)| (child, Some(c)))?,
        Which::DbusDaemon => (dbus_daemon(program, &socket, &config)?, None),
        Which::Busd => {
            let address = format!("--address=unix:path={}", socket.display());
            (command.args([config, address]).spawn()?, None)
        }
    };
    let path = in_box(&socket)?;
    let mut running = Running { broker, path, service: None, child, _controller: controller };
    wait_for(&socket)?;
    scene.share(&socket)?;
    let service = scene::start(&scene.server, &["dbus-server", &running.path, &scene::SERVER.to_string()])?;
    running.service = Some(service);
    Ok(running)
}

/// It refuses users that the system does not know. It is shown a list that has the boxes', in a mount namespace of its
/// own.
fn dbus_daemon(program: &Path, socket: &Path, config: &str) -> Result<Child> {
    let users = socket.with_extension("passwd");
    let mut text = fs::read_to_string("/etc/passwd")?;
    for uid in scene::CALLERS.iter().chain([&scene::SERVER]) {
        text.push_str(&format!("bench{uid}:x:{uid}:{uid}::/:/bin/false\n"));
    }
    fs::write(&users, text)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$@\""]);
    command.args([users.as_os_str(), program.as_os_str()]).args([config, "--nofork", "--nopidfile"]);
    // It complains that it may not raise its limit of open files.
    Ok(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

fn wait_for(socket: &Path) -> Result<()> {
    let begin = Instant::now();
    while UnixStream::connect(socket).is_err() {
        ensure!(begin.elapsed() < UP, "it does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Builds the client and service made with zbus; `None`, with the reason on standard error, when that cannot be had.
pub(super) fn zbus_program() -> Result<Option<PathBuf>> {
    let tree = Tree::here()?;
    let (manifest, target) = (tree.root.join("tests/bench/zbus/Cargo.toml"), tree.target.join("bench-zbus"));
    let triple = binaries_target();
    let mut cargo = image::command::cargo();
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", &triple, "--manifest-path"]);
    cargo.arg(manifest).env("CARGO_TARGET_DIR", &target);
    // Static, because a box has nothing but the program.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static").env_remove("RUSTFLAGS");
    let program = target.join(triple).join("release/gabion-bench-zbus");
    Ok(cargo.status()?.success().then_some(program))
}

fn binaries_target() -> String {
    std::env::var("GABION_TARGET").unwrap_or_else(|_| image::binaries::TARGET.to_owned())
}
