//! Announcing the device on the local link by multicast DNS (RFC 6762) and DNS-SD (RFC 6763), if the configuration asks
//! for it: `gabion-XXXX.local`, and one service `_gabion._tcp`, so that a developer's tools find it.
//!
//! | file | |
//! |---|---|
//! | `records` | what is announced, and how it is written |
//! | `responder` | one link's conversation: a core without clock and sockets |
//! | `sockets` | the group's sockets on one link |
//! | `service` | the loop that joins them |
//!
//! Whoever is on the link reads all of it and may say anything: what it tells is the device's id, and nothing else.
//! He can take the device's name (it then has another one), and make others believe what he likes, as on every link
//! with multicast DNS: nothing is trusted because of it. He cannot make the device send more than one answer a second for
//! each record to the group and ten a second to askers, nor to anybody who is not on the link.
//!
//! Not here: a resolver of `.local` names for apps; NSEC records but for addresses.

pub mod records;
pub mod responder;
mod service;
mod sockets;

pub use records::Identity;
pub use responder::{Responder, Sent, To};
pub use service::{Inputs, Settings, run};

/// The port of multicast DNS.
pub const PORT: u16 = 5353;
