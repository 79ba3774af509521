//! The resolver of boxes: names of an app's manifest, and no other.
//!
//! | file | |
//! |---|---|
//! | `question` | an app's question, from bytes |
//! | `answer` | what it is answered, as bytes |
//! | `because` | why, for whoever asked |
//! | `decide` | may this app ask this |
//! | `address` | which addresses are kept back (rebinding) |
//! | `reply` | what an upstream server said, checked |
//! | `cache` | what was heard, for all apps |
//! | `transport` | how servers are asked, and by whose certificates |
//! | `upstream` | asking servers: UDP, TCP, TLS |
//! | `race` | several servers for one question |
//! | `servers` | which of them is asked first |
//! | `trouble` | why none could say |
//! | `service` | the road from a question to an answer |
//! | `stub` | the sockets that boxes ask |
//! | `turns` | how many questions and connections each box may have |
//!
//! Who asks is known from the address at which the question arrives: each box has one of its own, and the firewall keeps
//! all others from it. An address that is learnt is in the firewall's table before the answer is sent.
//!
//! An attacker may be an app (every byte of a question, and how many), or whoever answers for one of its names or is on the
//! way. What leaves the device is a name of a manifest and a type, nothing else of what an app wrote; what comes back to an
//! app are addresses and nothing else. So a name that is granted can be asked for, and carries nothing.

pub mod address;
pub mod answer;
pub mod because;
pub mod cache;
pub mod decide;
pub mod question;
mod race;
pub mod reply;
mod servers;
mod service;
mod stub;
pub mod transport;
pub mod trouble;
mod turns;
mod upstream;

pub use service::{Event, Health, Learn, Outcome, Resolver, Settings};
pub use stub::{serve_tcp, serve_udp};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// Addresses of one name that are passed on.
pub const ADDRESSES_MAX: usize = 16;
/// Bounds of a time to live that an app is told, seconds: time enough to connect, and not for ever.
pub const TTL_S: std::ops::RangeInclusive<u32> = 5..=3600;
