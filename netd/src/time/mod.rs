//! The device's clock: set and kept by SNTP (RFC 4330, RFC 5905) from several servers, none of which is trusted alone.
//!
//! | file | |
//! |---|---|
//! | `wire` | the 48 bytes of a question and an answer |
//! | `agree` | what several servers agree on |
//! | `discipline` | what is done to the clock: a core without clock and sockets, where all limits are |
//! | `nts` | servers that are authenticated (RFC 8915) |
//! | `schedule` | when servers are asked again |
//! | `ask` | one question over UDP |
//! | `clock` | the clock, behind a trait |
//! | `service` | the loop that joins them |
//!
//! An attacker may be a server, or on the way to it: plain SNTP is not authenticated. What he can do is bounded by
//! `discipline`; with NTS he can do no more than be silent. Why it is ours: `docs/decisions/0016-time-from-several-servers.md`.

pub mod agree;
pub mod ask;
pub mod clock;
pub mod discipline;
pub mod nts;
pub mod schedule;
mod service;
pub mod wire;

pub use agree::{Agreed, Sample, agree};
pub use clock::{Clock, Kernel};
pub use discipline::{Change, Decision, Discipline, Now, Why};
pub use service::{Inputs, Outputs, run};

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

/// The port of time servers.
pub const PORT: u16 = 123;

/// How many servers are asked at most.
pub const MOST_SERVERS: usize = 8;

/// Which servers to ask. What is there beyond [`MOST_SERVERS`] is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Servers with NTS, by name. If there are any, no others are asked: whoever can silence them could be the others.
    pub nts: Vec<String>,
    /// Servers of the configuration; if there are none, those that DHCP named are asked.
    pub servers: Vec<Server>,
}

/// A time server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// By name. It counts as one server however many addresses it has: they are all its owner's.
    Name(String),
    /// By address.
    Address(SocketAddr),
    /// By name, with NTS.
    Secured(String),
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) | Self::Secured(name) => f.write_str(name),
            Self::Address(address) if address.port() == PORT => write!(f, "{}", address.ip()),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Addresses of a name, for `netd` itself.
pub trait Lookup {
    /// The addresses, best first; empty if there are none or nobody answers in a few seconds.
    fn lookup<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + 'a>>;
}

/// Where the time came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    #[default]
    None,
    /// The board's battery-backed clock, or whoever set the clock before.
    Rtc,
    /// It was before what it must at least be, and was set to that.
    Floor,
    /// Time servers.
    Network,
}

/// What is known of the clock, for whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeState {
    /// Where the time came from.
    pub source: Source,
    /// The server that counted most.
    pub server: Option<String>,
    /// Its stratum; 0 if there is none.
    pub stratum: u8,
    /// By how much the clock was off when it was last compared, microseconds.
    pub offset_us: i64,
    /// How far off it may have been after that, microseconds, if the server did not lie.
    pub error_us: i64,
    /// When it was last compared, seconds since 1970.
    pub last_sync_s: Option<i64>,
    /// Whether two servers or more agreed.
    pub agreed: bool,
    /// Whether the time was authenticated (NTS).
    pub nts: bool,
    /// What the last round of questions failed by; `None` if it did not.
    pub problem: Option<Problem>,
}

/// What stands between the device and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No link has an address.
    NoLink,
    /// Neither the configuration nor DHCP names a server.
    NoServer,
    /// What the servers said changes nothing.
    Servers(Why),
    /// The kernel does not let us set the clock.
    Clock,
}
