//! DHCPv4 (RFC 2131) for one link.
//!
//! | file | |
//! |---|---|
//! | `wire` | messages as bytes, and what is taken of them |
//! | `machine` | RFC 2131's figure 5, without clock and sockets |
//! | `client` | the socket, the timers, and what the kernel is told |

mod client;
pub mod machine;
pub mod wire;

pub use client::{Lessee, run};
