//! The update daemon with a repository, a service, and the other end of its link, on a clock of the test's.
//!
//! | file | |
//! |---|---|
//! | `clock` | time, which passes when nobody has anything to do |
//! | `releases` | systems and apps, as they are published |
//! | `server` | the service and the repository, and what goes wrong with them |
//! | `board` | `sandboxd`, the disk and the boot loader |
//! | `world` | all of it |
//! | `system`, `apps`, `faults`, `kills`, `process` | tests |

mod apps;
mod board;
mod clock;
mod faults;
mod kills;
mod process;
mod releases;
mod server;
mod system;
mod world;
