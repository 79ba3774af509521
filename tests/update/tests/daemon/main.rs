//! The update daemon with a repository, a service, and the other end of its link, on a clock of the test's.
//!
//! | file | |
//! |---|---|
//! | `clock` | time, which passes when nobody has anything to do |
//! | `releases` | systems and apps, as they are published |
//! | `server` | the service and the repository, and what goes wrong with them |
//! | `board` | `sandboxd`, the disk and the boot loader |
//! | `world` | all of it |
//! | `bus` | who calls the daemon |
//! | `system`, `apps`, `deferral`, `faults`, `kills`, `offline`, `process`, `torture` | tests |

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod apps;
mod board;
mod bus;
mod clock;
mod deferral;
mod faults;
mod kills;
mod offline;
mod orders;
mod process;
mod releases;
mod server;
mod system;
mod torture;
mod world;
