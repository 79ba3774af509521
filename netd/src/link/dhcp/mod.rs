//! DHCPv4 (RFC 2131) for one link.
//!
//! | file | |
//! |---|---|
//! | `wire` | messages as bytes, and what is taken of them |
//! | `frame` | the frames that carry them |
//! | `machine` | RFC 2131's figure 5, without clock and sockets |
//! | `client` | the sockets, the timers, and what the kernel is told |

mod client;
pub mod frame;
pub mod machine;
pub mod wire;

pub use client::{Held, Lessee, run};
