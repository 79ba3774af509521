//! The facts of a manifest: every claim in its checked type, with defaults filled in.
//!
//! This is also what travels between the worker and `sandboxd` (see `wire`). The types hold each value alone;
//! what must hold *between* values, and against the board, is in `rules`, which runs on both sides.

use crate::amount::{Bytes, CpuPercent, Duration};
use crate::name::{AppId, Argument, EnvName, InterfaceName, MethodName, Version};
use crate::net::{Host, HostPort, Listen, Port};
use crate::place::{AbsolutePath, Device};
use crate::problem::{Invalid, nearest, quote};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Makes an enum whose variants are texts in the manifest.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every choice, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in the manifest.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::ALL.iter().copied().find(|choice| choice.as_str() == text).ok_or_else(|| unknown_choice(text, &[$($text,)+]))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

fn unknown_choice(text: &str, known: &[&str]) -> Invalid {
    let help = match nearest(text, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("write one of \"{}\"", known.join("\", \"")),
    };
    Invalid::new(format!("{} is not known", quote(text)), help)
}

choice! {
    /// A named seccomp profile; each allows all that the one before it allows.
    Profile {
        /// A static program: files, threads, timers; no new processes, no sockets, no code but its own file's.
        Strict = "strict",
        /// And dynamic libraries, processes of its own root, signals, Unix sockets.
        Default = "default",
        /// And what tuned servers use: placing and weighing their own processes.
        NetworkServer = "network-server",
    }
}

choice! {
    /// When `init` starts a box again by itself.
    Restart {
        /// Whenever it ends.
        Always = "always",
        /// When it ended with a non-zero code or by a signal.
        OnFailure = "on-failure",
        /// Not at all.
        Never = "never",
    }
}

choice! {
    /// A seccomp filter for one program of the system, in place of a profile and of all that goes with grants.
    SystemFilter {
        /// Accepting, passing on and shutting down connections on sockets that it was given; no file, no socket of its
        /// own.
        Router = "router",
        /// Reading manifests from its standard input and answering there; nothing else.
        Worker = "worker",
        /// Serving the system's interfaces on the bus, and asking `sandboxd` over its standard input.
        Apps = "apps",
        /// Carrying frames between the machine's ports and the bus.
        Devport = "devport",
        /// Managing the device's network and clock.
        Net = "net",
        /// Talking to the TPM, to the service, and on the bus.
        Attest = "attest",
        /// Fetching updates, writing them to where it is let, keeping how far they are, and on the bus.
        Update = "update",
        /// Carrying frames between the bus and a developer, over TLS on a port of the network.
        Door = "door",
    }
}

/// What only a manifest that is part of the image can hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemGrant {
    /// Linux capabilities: bit *n* is capability number *n* of `linux/capability.h`.
    pub capabilities: u64,
    /// Whether the box shares the device's pid namespace.
    pub host_pids: bool,
    /// Whether the box lives in the device's network namespace, with no port refused to it by Landlock: it manages the
    /// network, or netd's firewall says whom it reaches.
    pub network: bool,
    /// Whether the box is started only once another box uses an interface that it provides.
    pub on_demand: bool,
    /// The box's whole seccomp filter, if it is none of the profiles.
    pub filter: Option<SystemFilter>,
}

/// All that a manifest says, checked value by value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) id: AppId,
    pub(crate) version: Version,
    pub(crate) program: AbsolutePath,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) environment: BTreeMap<EnvName, Argument>,
    pub(crate) working_directory: AbsolutePath,
    pub(crate) memory: Bytes,
    pub(crate) cpu: CpuPercent,
    pub(crate) tasks: u32,
    pub(crate) storage: Bytes,
    pub(crate) tmp: Bytes,
    pub(crate) open_files: u32,
    pub(crate) profile: Profile,
    pub(crate) jit: bool,
    pub(crate) sysv_shm: bool,
    pub(crate) connect: Vec<HostPort>,
    pub(crate) listen: Vec<Listen>,
    pub(crate) private: Vec<Host>,
    pub(crate) devices: Vec<Device>,
    pub(crate) uses: BTreeMap<InterfaceName, Vec<MethodName>>,
    pub(crate) provides: BTreeMap<InterfaceName, Vec<AppId>>,
    pub(crate) restart: Restart,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) stop_timeout: Duration,
    pub(crate) notify: bool,
    pub(crate) system: Option<SystemGrant>,
}

impl Facts {
    /// Whether the box talks over Unix sockets that it opens itself, whatever its profile.
    pub(crate) fn needs_unix_sockets(&self) -> bool {
        !self.uses.is_empty() || !self.provides.is_empty() || self.notify || self.watchdog.is_some()
    }

    /// Whether it has names to resolve.
    pub(crate) fn resolves(&self) -> bool {
        self.connect.iter().any(|to| to.host().is_name())
    }

    /// The system's own filter of this box.
    pub(crate) fn filter(&self) -> Option<SystemFilter> {
        self.system.as_ref()?.filter
    }

    /// Every port named, in either direction.
    pub(crate) fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        self.listen.iter().map(|listen| listen.port()).chain(self.connect.iter().map(HostPort::port))
    }
}
