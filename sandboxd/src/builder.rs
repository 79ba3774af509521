//! From a checked plan and an app's root directory to the bundle that `init` launches.
//!
//! Order: what can be refused without making anything comes first (network, devices); the mount namespace with
//! its ruleset next; kernel objects that need no undoing last. A failure leaves nothing behind but an empty
//! cgroup directory, which the next attempt uses.
//!
//! Nothing of the plan is kept: the seccomp program lives in its memfd, the ruleset in its descriptor.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use policy::{DEBUGGER, Network, Plan};
use sys::bundle::{BoxSpec, Request, Restart};

use crate::boxroot::{self, BoxRoot};
use crate::cgroup::{Bounds, Group, Limits};
use crate::devices::Device;
use crate::problem::{BoxError, Step};
use crate::{endpoint, notify_socket, resolver, rules};

/// The network namespaces there are to choose from.
#[derive(Debug, Clone, Copy)]
pub struct Networks<'a> {
    /// No interface up.
    pub empty: BorrowedFd<'a>,
    /// The device's own, for boxes that have a network; `None` without a firewall, and then there is no such box.
    pub device: Option<BorrowedFd<'a>>,
}

/// Where the box finds its surroundings.
#[derive(Debug)]
pub struct Place<'a> {
    /// The box's id and uid.
    pub uid: u32,
    /// The app's root directory.
    pub root: &'a Path,
    /// The app's private storage; `None` without.
    pub storage: Option<&'a Path>,
    /// Directory for the box's own `/run`; made if missing.
    pub run: &'a Path,
    /// The box's cgroup.
    pub cgroup: &'a Group,
    /// Whether limits are enforced; [`Limits::Enforced`] outside of tests.
    pub limits: Limits,
    /// It is debugged.
    pub debug: Option<Debug<'a>>,
    /// Granted devices, already found and taken.
    pub devices: &'a [Device],
    /// Network namespaces.
    pub networks: Networks<'a>,
    #[cfg(feature = "weak")]
    /// Layers it lacks.
    pub missing: sys::weak::Missing,
}

/// What a box that is debugged has besides.
#[derive(Debug, Clone, Copy)]
pub struct Debug<'a> {
    /// The root directory of the debugger's server.
    pub server: &'a Path,
    /// The server's standard input and output.
    pub line: BorrowedFd<'a>,
}

/// A box ready to be sent to `init`.
#[derive(Debug)]
pub struct Built {
    /// What `init` needs to know.
    pub spec: BoxSpec,
    /// The box's eight descriptors in `sys::bundle`'s order.
    pub fds: Vec<OwnedFd>,
    /// Our ends: standard output, standard error, notify socket, its sockets on the bus. `init` keeps duplicates of these.
    pub kept: Vec<OwnedFd>,
}

impl Built {
    /// The message and its descriptors, as `sys::channel::send` takes them.
    pub fn put(&self) -> (Vec<u8>, Vec<RawFd>) {
        let fds = self.fds.iter().chain(&self.kept).map(AsRawFd::as_raw_fd).collect();
        (Request::Put(self.spec.clone()).encode(), fds)
    }
}

/// Builds the box of `plan`. `stdin` is for boxes of the system that are spoken to; others read `/dev/null`.
pub fn build_box(plan: &Plan, place: &Place<'_>, stdin: Option<OwnedFd>) -> Result<Built, BoxError> {
    let network = choose_network(&plan.network, place.networks)?;
    let notify = notify_socket::make(place.run, place.uid).map_err(|e| BoxError::step(Step::Run, e))?;
    resolver::make(place.run, place.uid, plan).map_err(|e| BoxError::step(Step::Run, e))?;
    let endpoints = endpoint::make(place.run, place.uid, plan).map_err(|e| BoxError::step(Step::Run, e))?;
    if place.debug.is_some() {
        debugger_place(place.run).map_err(|e| BoxError::step(Step::Run, e))?;
    }
    let parts = BoxRoot {
        root: place.root,
        storage: place.storage,
        run: place.run,
        debugger: place.debug.map(|debug| debug.server),
        devices: place.devices,
        #[cfg(feature = "weak")]
        missing: place.missing,
    };
    let program = plan.argv.first().map(String::as_str).unwrap_or_default();
    let (mounts, (ruleset, null)) = boxroot::build(&parts, |root| {
        boxroot::check_executable(root, program)?;
        Ok((rules::ruleset(root, &plan.landlock)?, boxroot::null(root)?))
    })?;
    let seccomp = sys::memfd::sealed(c"seccomp", &plan.seccomp_blob());
    let seccomp = seccomp.map_err(|e| BoxError::step(Step::Seccomp, e))?;
    let cgroup = place.cgroup.make(&bounds(plan), place.limits)?;
    let (log_out, mut out) = log_pipe()?;
    let mut stdin = stdin.unwrap_or(null);
    if let Some(debug) = place.debug {
        // What the app writes goes where the server's own words do: to its error output, which is logged.
        let line = || debug.line.try_clone_to_owned().map_err(|e| BoxError::step(Step::Stdio, e));
        (stdin, out) = (line()?, line()?);
    }
    let (log_err, err) = log_pipe()?;
    let mut kept = vec![log_out, log_err, notify];
    kept.extend(endpoints);
    let fds = vec![cgroup, network, mounts, ruleset, seccomp, stdin, out, err];
    Ok(Built { spec: spec(plan, place), fds, kept })
}

/// The directory that the server's root is mounted on.
fn debugger_place(run: &Path) -> io::Result<()> {
    let name = DEBUGGER.rsplit('/').next().unwrap_or_default();
    DirBuilder::new().recursive(true).mode(0o755).create(run.join(name))
}

fn choose_network(network: &Network, all: Networks<'_>) -> Result<OwnedFd, BoxError> {
    let chosen = match network {
        Network::None => all.empty,
        Network::Device { .. } => all.device.ok_or(BoxError::NoFirewall)?,
    };
    chosen.try_clone_to_owned().map_err(|e| BoxError::step(Step::Network, e))
}

fn bounds(plan: &Plan) -> Bounds {
    Bounds {
        memory_bytes: plan.limits.memory_bytes,
        cpu_percent: u64::from(plan.limits.cpu_percent),
        tasks: u64::from(plan.limits.tasks),
    }
}

/// Sets the limits of `plan` on a group that was made before.
pub(crate) fn limit(plan: &Plan, group: &Group, limits: Limits) -> Result<(), BoxError> {
    group.make(&bounds(plan), limits).map(drop)
}

/// Reading end (non-blocking, ours) and writing end (blocking, the app's).
fn log_pipe() -> Result<(OwnedFd, OwnedFd), BoxError> {
    let make = || -> io::Result<_> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((read, write))
    };
    make().map_err(|e| BoxError::step(Step::Stdio, e))
}

fn spec(plan: &Plan, place: &Place<'_>) -> BoxSpec {
    let system = plan.system.as_ref();
    let mut env: Vec<String> = plan.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    env.push("NOTIFY_SOCKET=/run/notify".to_owned());
    if let Some(ms) = plan.lifecycle.watchdog_ms {
        env.push(format!("WATCHDOG_USEC={}", u64::from(ms) * 1000));
    }
    BoxSpec {
        id: place.uid,
        capabilities: system.map_or(0, |s| s.capabilities),
        host_pids: system.is_some_and(|s| s.host_pids),
        wider: u8::from(plan.jit) | u8::from(place.debug.is_some()) << 1,
        tmp_bytes: plan.limits.tmp_bytes,
        open_files: plan.limits.open_files,
        restart: match plan.lifecycle.restart {
            policy::Restart::Never => Restart::Never,
            policy::Restart::OnFailure => Restart::OnFailure,
            policy::Restart::Always => Restart::Always,
        },
        stop_timeout_ms: plan.lifecycle.stop_timeout_ms,
        hostname: "box".to_owned(),
        directory: plan.working_directory.clone(),
        argv: plan.argv.clone(),
        env,
        #[cfg(feature = "weak")]
        missing: place.missing,
    }
}

/// The directory of box `uid` below `runtime`, made of the package `number` or of the image's own app.
pub fn run_dir(runtime: &Path, uid: u32, number: Option<u64>) -> PathBuf {
    let name = number.map_or_else(|| uid.to_string(), |number| format!("{uid}@{number}"));
    runtime.join("boxes").join(name)
}
