//! What the links are and what they learnt: told by the part that configures them, read by all others.

use std::net::{IpAddr, Ipv4Addr};

/// The state of all links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetState {
    /// Every link, by the kernel's index.
    pub links: Vec<Link>,
    /// Resolvers, best first: from the configuration, or else from DHCP and router advertisements.
    pub name_servers: Vec<IpAddr>,
    /// Time servers that DHCP named (option 42).
    pub time_servers: Vec<Ipv4Addr>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// The kernel's name, such as `eth0`.
    pub name: String,
    /// Hardware address, 6 bytes; `None` where there is none.
    pub hardware_address: Option<[u8; 6]>,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Whether it is switched on and has a carrier.
    pub up: bool,
    /// Addresses, each with the length of its prefix in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Routers of its default routes.
    pub gateways: Vec<IpAddr>,
    /// What stands between this link and a usable network; `None` if nothing does.
    pub missing: Option<Stage>,
}

/// The stages from a cable to a usable network, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No carrier, or switched off.
    Link,
    /// No address yet.
    Address,
    /// No route out of the local network.
    Route,
    /// No name server that answers.
    Dns,
    /// The clock was never set by a server.
    Time,
}
