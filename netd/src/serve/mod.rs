//! What netd serves on the bus: `os.gabion.Network` and `os.gabion.Time`.
//!
//! | file | |
//! |---|---|
//! | `network`, `time` | the calls of an interface, one function each |
//! | `status` | how far the network can be used, from what the links know; pure |
//! | `shown` | an app's rules as its author knows them; pure |
//! | `why` | what stops an app from reaching somebody |
//! | `run` | the bus's server as one task among netd's |
//!
//! What an attacker controls: the parameters, which the bus has bounded, and only of methods that its manifest has. An app
//! is known by its connection's uid and never by what it says. A call that needs a look-up is kept meanwhile; each
//! connection has one call under way, so what is kept is bounded by the connections.

mod network;
mod run;
mod shown;
mod status;
mod time;
mod why;

pub use network::{Serve, Sources};
pub use run::run;
