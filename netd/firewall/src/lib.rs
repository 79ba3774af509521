//! Each app's firewall, as far as it is the same for `sandboxd`, which loads it, and `netd`, which writes its rules: the
//! programs that the kernel runs ([`program`], made of `bpf/*.c`), and the layouts of their tables ([`tables`]).
//!
//! What holds: an empty table allows nothing. A box is known by its uid. Rules say by uid and generation which peers it
//! may reach and which ports it may serve; the generation that counts is in one field of one table, so that a policy is
//! exchanged in one step. The programs sit on the cgroup above all boxes; what is not below it they never see.
//!
//! What an attacker controls: an app makes any system call with any argument, and its peers send any packet.

#[cfg(feature = "attach")]
pub mod attach;
mod maps;
pub mod program;
pub mod tables;

pub use maps::{Maps, MapsError};
