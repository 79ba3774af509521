//! App manager and box builder: installed packages in, bundles of descriptors for `init` out.
//!
//! ```text
//! store ──manifest──▶ worker (its own box) ──plan──▶ intake ──▶ builder ──bundle──▶ init
//! registry ──uid──▶                                    │   boxroot rules cgroup network devices
//!                                   audit, notify, log pipes, init's events ──▶ daemon ──▶ console, logs, exits
//! ```
//!
//! Pure, without clock or files: [`line`], [`rate`], [`backlog`], [`notify`], [`audit_record`], [`refusal`], [`refusals`],
//! [`watchdog`], [`table`], [`worker`] (the queue), [`registry`] (its text). I/O around them: the rest. [`builder::build_box`] is also what
//! tests and benches build boxes with.
//!
//! What an attacker controls: an app's manifest (read by the worker, checked again here), its files (never opened
//! beyond "is it there"), everything it writes and says (bounded and escaped), when it ends.

pub mod app;
pub mod applog;
mod attestfiles;
pub mod audit_log;
pub mod audit_record;
mod audit_rules;
pub mod backlog;
mod bootline;
pub mod boxroot;
pub mod builder;
pub mod cgroup;
pub mod clock;
pub mod config;
pub mod confine;
pub mod console;
pub mod daemon;
mod denied_network;
pub mod devices;
pub mod endpoint;
pub mod exits;
pub mod first_calls;
pub mod grants;
pub mod init_link;
pub mod line;
pub mod logfile;
mod netfiles;
pub mod network;
pub mod notify;
mod notify_socket;
pub mod offered;
mod outbox;
pub mod packages;
pub mod poller;
pub mod problem;
pub mod rate;
pub mod refusal;
pub mod refusals;
pub mod registry;
pub mod release;
pub mod reports;
mod resolver;
pub mod router_link;
pub mod rules;
mod sealed;
pub mod signed;
pub mod storage;
pub mod store;
mod summed;
pub mod superblock;
pub mod syscalls;
pub mod sysdisk;
pub mod system;
pub mod table;
mod updatefiles;
mod usb;
pub mod verity;
pub mod warm;
pub mod watchdog;
#[cfg(feature = "weak")]
pub mod weak;
mod whole;
pub mod wipe;
pub mod worker;
