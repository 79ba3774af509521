//! Policy of Gabion: manifest text in, checked and compiled policy out.
//!
//! The one place where "may this app do that, and why not?" is answered. Pure: no I/O, no clock, no kernel; the same
//! code runs on the device, in the image's build and in the developer's CLI.
//!
//! ```text
//! text ──read──▶ ClaimedManifest ──check──▶ Manifest ──compile──▶ Plan ──encode──▶ bytes
//!                (hostile)                 (proof)               (fixed form)      │
//!                                             ▲──────── decode checks again ───────┘
//! ```
//!
//! An attacker controls the manifest's text (an app's author) and, after taking over the worker, the encoded bytes.
//! What holds: a [`Manifest`] exists only if every rule held; a [`Plan`] exists only if it was compiled here.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails"))]

mod amount;
mod board;
pub mod bus;
mod capability;
mod claims;
mod diff;
mod explain;
mod facts;
pub mod filter;
mod hint;
mod kept;
pub mod landlock;
pub mod learn;
mod manifest;
mod name;
mod net;
mod place;
mod plan;
mod problem;
mod read;
mod rules;
#[cfg(feature = "schema")]
mod schema;
mod seccomp;
mod wire;

pub use amount::{Bytes, CpuPercent, Duration};
pub use board::Board;
pub use diff::{Difference, Direction, diff};
pub use explain::{Act, Verdict, explain};
pub use facts::{Profile, Restart, SystemFilter, SystemGrant};
pub use kept::{KEPT_MAX, POLICY, keep, kept_plan};
pub use landlock::{DEBUGGER, FsPath, FsRule, Landlock};
pub use manifest::{Manifest, SystemManifest, check, check_system};
pub use name::{AppId, Argument, EnvName, InterfaceName, MethodName, Version};
pub use net::{Host, HostPort, Listen, Port, Proto, is_private};
pub use place::{AbsolutePath, Device, DeviceClass};
pub use plan::{Lifecycle, Limits, Network, Plan, compile, compile_system};
pub use problem::{Invalid, Problem, nearest};
pub use read::{PROBLEMS_MAX, TEXT_MAX};
#[cfg(feature = "schema")]
pub use schema::schema;
#[cfg(feature = "schema")]
pub use seccomp::page::profiles_page;
#[cfg(feature = "schema")]
pub use seccomp::surface::{reached, reached_by_system};
pub use wire::{DecodeError, PLAN_MAX};
