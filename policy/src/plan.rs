//! The plan: all that a builder of boxes needs to know, and nothing it would have to interpret.
//!
//! A plan is made by [`compile`] and [`compile_system`] alone, and for a developer's recording box by
//! [`crate::learn::widest`], so it grants nothing that some manifest could not have asked for. Its fields are open for
//! reading; it cannot be built elsewhere. Compiling is deterministic.

use crate::facts::{Facts, Profile, Restart, SystemGrant};
use crate::landlock::{self, Landlock};
use crate::manifest::{Manifest, SystemManifest};
use crate::net::{Host, HostPort, Listen};
use crate::seccomp;
use crate::{AppId, Version};

/// The launch description of one box.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The app's identity.
    pub id: AppId,
    /// The app's version.
    pub version: Version,
    /// The program, an absolute path in the box, then its arguments. Never empty.
    pub argv: Vec<String>,
    /// Environment, sorted by name; PATH, HOME and TMPDIR are always there. The builder adds `NOTIFY_SOCKET` and the like.
    pub env: Vec<(String, String)>,
    /// Where the program starts, an absolute path in the box.
    pub working_directory: String,
    /// Hard limits.
    pub limits: Limits,
    /// The named seccomp profile.
    pub profile: Profile,
    /// Whether W^X is lifted: no `PR_SET_MDWE`, and executable memory may be made.
    pub jit: bool,
    /// Seccomp programs in the order of installation, each an array of `struct sock_filter` (8 bytes, native endian).
    pub seccomp: Vec<Vec<u8>>,
    /// The Landlock ruleset.
    pub landlock: Landlock,
    /// Which network the box lives in.
    pub network: Network,
    /// Device files to put into the box, each held exclusively.
    pub devices: Vec<String>,
    /// Interfaces it may call, with the methods.
    pub uses: Vec<(String, Vec<String>)>,
    /// Interfaces it serves, with the ids of the apps that may call them.
    pub provides: Vec<(String, Vec<String>)>,
    /// Starting, watching, stopping.
    pub lifecycle: Lifecycle,
    /// Only for boxes of the image itself.
    pub system: Option<SystemGrant>,
    /// What the plan was compiled from, and what [`Plan::encode`] writes.
    pub(crate) facts: Facts,
}

impl Plan {
    /// The seccomp programs as one blob for a sealed memfd, all numbers native endian: `u32` count of programs (1 to 4);
    /// for each a `u32` count of instructions (at most 4096); then the instructions of all programs, one after the other.
    /// They are installed in this order: each leaves the later installations allowed, the last is the allow-list.
    pub fn seccomp_blob(&self) -> Vec<u8> {
        let lengths =
            std::iter::once(self.seccomp.len()).chain(self.seccomp.iter().map(|program| program.len() / 8));
        let mut blob: Vec<u8> =
            lengths.flat_map(|n| u32::try_from(n).unwrap_or(u32::MAX).to_ne_bytes()).collect();
        blob.extend(self.seccomp.iter().flatten());
        blob
    }
}

/// Memory of a debugger's server, besides the app's, bytes: gdbserver has 5 MiB, and its files are charged to the box.
const DEBUGGER_MEMORY: u64 = 32 << 20;
/// Its processes: itself, and those by which it finds out what the kernel lets it do.
const DEBUGGER_TASKS: u32 = 4;

/// How long it has to end, milliseconds: it is process 1 of its box, and hears no signal that it has no handler for.
const DEBUGGER_STOP_MS: u32 = 100;

impl Plan {
    /// The same box with the app as the child of a debugger's server, which `command` starts and which the app's own command
    /// follows. It may trace what is in its box, and no other box is any different. Silence is no fault of an app that stands,
    /// and its end is the end of debugging.
    pub fn debugged(&self, command: Vec<String>) -> Self {
        let mut plan = self.clone();
        plan.argv = command.into_iter().chain(plan.argv).collect();
        plan.limits.memory_bytes = plan.limits.memory_bytes.saturating_add(DEBUGGER_MEMORY);
        plan.limits.tasks = plan.limits.tasks.saturating_add(DEBUGGER_TASKS);
        plan.seccomp = seccomp::debugged(&self.facts);
        plan.landlock.fs.push(landlock::debugger());
        plan.lifecycle.restart = Restart::Never;
        plan.lifecycle.watchdog_ms = None;
        plan.lifecycle.stop_timeout_ms = plan.lifecycle.stop_timeout_ms.min(DEBUGGER_STOP_MS);
        plan
    }
}

/// Hard limits of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `memory.max` (swap: none).
    pub memory_bytes: u64,
    /// `cpu.max` in percent of one CPU.
    pub cpu_percent: u32,
    /// `pids.max`.
    pub tasks: u32,
    /// Quota of `/data`. 0: the box has no storage (a quota of 0 would mean "no limit": mount nothing writable).
    pub storage_bytes: u64,
    /// `size=` of `/tmp`, counted in memory. 0: no writable `/tmp` (tmpfs takes 0 for "no limit").
    pub tmp_bytes: u64,
    /// `RLIMIT_NOFILE`, soft and hard.
    pub open_files: u32,
}

/// Which network a box lives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// None: the shared empty network namespace.
    None,
    /// The device's own. What of it the box may use is the firewall's to hold, and for TCP ports Landlock's too.
    Device {
        /// Ports it serves.
        listen: Vec<Listen>,
        /// Destinations, the device's own loopback among them if named.
        connect: Vec<HostPort>,
        /// Hosts of `connect` that may have private or link-local addresses.
        private: Vec<Host>,
    },
}

/// Starting, watching, stopping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// When to start again.
    pub restart: Restart,
    /// Longest silence between two `WATCHDOG=1`, in milliseconds.
    pub watchdog_ms: Option<u32>,
    /// From SIGTERM to SIGKILL, in milliseconds.
    pub stop_timeout_ms: u32,
    /// Whether the app says `READY=1`.
    pub notify: bool,
}

/// Compiles an app's manifest. Pure and deterministic; nothing from `[system]` gets in.
pub fn compile(manifest: &Manifest) -> Plan {
    let mut facts = manifest.facts.clone();
    facts.system = None;
    from_facts(facts)
}

/// Compiles the manifest of one of the image's own boxes, with what `[system]` grants.
pub fn compile_system(manifest: &SystemManifest) -> Plan {
    from_facts(manifest.0.facts.clone())
}

pub(crate) fn from_facts(facts: Facts) -> Plan {
    let argv = std::iter::once(facts.program.to_string())
        .chain(facts.arguments.iter().map(ToString::to_string))
        .collect();
    Plan {
        id: facts.id.clone(),
        version: facts.version,
        argv,
        env: environment(&facts),
        working_directory: facts.working_directory.to_string(),
        limits: limits(&facts),
        profile: facts.profile,
        jit: facts.jit,
        seccomp: seccomp::programs(&facts),
        landlock: landlock::ruleset(&facts),
        network: network(&facts),
        devices: facts.devices.iter().map(|device| device.path().to_owned()).collect(),
        uses: facts.uses.iter().map(|(name, list)| (name.to_string(), texts(list))).collect(),
        provides: facts.provides.iter().map(|(name, list)| (name.to_string(), texts(list))).collect(),
        lifecycle: Lifecycle {
            restart: facts.restart,
            watchdog_ms: facts.watchdog.map(crate::Duration::milliseconds),
            stop_timeout_ms: facts.stop_timeout.milliseconds(),
            notify: facts.notify,
        },
        system: facts.system.clone(),
        facts,
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What programs expect to find when nobody says otherwise; a manifest may override each.
const ENVIRONMENT: [(&str, &str); 3] = [("HOME", "/data"), ("PATH", "/usr/bin:/bin"), ("TMPDIR", "/tmp")];

fn environment(facts: &Facts) -> Vec<(String, String)> {
    let named = |name: &str| facts.environment.keys().any(|known| known.as_str() == name);
    let defaults = ENVIRONMENT.iter().filter(|(name, _)| !named(name));
    let mut all: Vec<(String, String)> =
        defaults.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.extend(facts.environment.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    all.sort();
    all
}

fn limits(facts: &Facts) -> Limits {
    Limits {
        memory_bytes: facts.memory.bytes(),
        cpu_percent: facts.cpu.percent(),
        tasks: facts.tasks,
        storage_bytes: facts.storage.bytes(),
        tmp_bytes: facts.tmp.bytes(),
        open_files: facts.open_files,
    }
}

fn network(facts: &Facts) -> Network {
    let manager = facts.system.as_ref().is_some_and(|grant| grant.network);
    if facts.ports().next().is_none() && !manager {
        return Network::None;
    }
    Network::Device {
        listen: facts.listen.clone(),
        connect: facts.connect.clone(),
        private: facts.private.clone(),
    }
}
