//! An app's box on the developer's machine, built and launched by the code that `sandboxd` and PID 1 use, and what its
//! program is seen to do in it.
//!
//! ```text
//! App (manifest.toml, root/) ──plan──▶ Boxed ──launch──▶ Tracer ──calls──▶ Observer ──▶ Record ──▶ policy::learn
//!                                        │ /run/bus                          ▲
//!                                        └──────▶ StandIn (answers) ─────────┘
//! ```
//!
//! What differs from a device: limits and quota are not enforced (a developer's machine may have no cgroup v2
//! controllers), the network is this machine's or a loopback of its own, and nobody serves the bus but [`Answers`].
//! Everything else holds: root, uid, capabilities, namespaces, W^X, Landlock, seccomp.
//!
//! What an attacker controls: the program, so everything it calls, names and writes. It is in its box. What is kept of it
//! is bounded by [`record::KINDS_MAX`]; its texts are made printable before they are shown.

// Registers are read by name: another architecture needs its own `watch`, and its own way to skip a call.
#![cfg(target_arch = "x86_64")]

mod app;
mod build;
mod dns;
mod error;
mod learn;
mod measure;
mod observe;
mod output;
pub mod record;
mod run;
mod standin;
mod task;
mod watch;

pub use app::App;
pub use build::{Network, cgroup, landlock, ready};
pub use error::Error;
pub use learn::{Learned, learn, newly_refused};
pub use record::Record;
pub use run::{End, Run, Show, Watch, Wish, run};
pub use standin::Answers;
