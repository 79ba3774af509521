//! The ports of a virtual machine to its host, and the bus behind them.
//!
//! An attacker controls nothing here that the developer's host does not give away: whoever reaches the port may do what
//! this box may. What holds is that they may not do more: names of interfaces are checked before they become paths,
//! and a host that does not read, or sends too much, costs a bounded amount of memory and only its own connection.

mod connection;
mod port;

pub use port::{GONE_MS, Port};
