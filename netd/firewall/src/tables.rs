//! The layouts of the tables, field by field as in `bpf/tables.h`, little-endian. Written out as bytes, so that no
//! padding is left to chance.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Size of a uid, the key of the table of apps.
pub const UID_BYTES: usize = 4;

/// The line of a rule that stands in no manifest: the app's own name server.
pub const LINE_DNS: u16 = u16::MAX;

/// An app's entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct App {
    /// Rules of this generation count, and no others.
    pub generation: u32,
    /// Nothing is asked of this box: netd itself, and in the weak build a box that lacks this layer.
    pub unfiltered: bool,
    /// Of which grants the rules were made.
    pub policy: [u64; 2],
}

/// What a rule allows, and what a refusal was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To reach a peer.
    Connect,
    /// To serve a port.
    Listen,
    /// Somebody's packet to a port that is not served. In refusals alone.
    Inbound,
}

/// The protocol of a rule. Refusals have the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// What a rule is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The box.
    pub uid: u32,
    /// Of its policies, which one.
    pub generation: u32,
    /// Connect or listen.
    pub direction: Direction,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The peer's port, or the one to serve.
    pub port: u16,
    /// The peer; IPv4 as `::ffff:a.b.c.d`; `::` for a port to serve.
    pub address: Ipv6Addr,
}

/// A rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `CLOCK_MONOTONIC` in nanoseconds, after which it begins nothing; 0 is never.
    pub expiry_ns: u64,
    /// Calls that it allowed.
    pub attempts: u64,
    /// Packets, both ways.
    pub packets: u64,
    /// Bytes of them, IP header included.
    pub bytes: u64,
    /// The line of the manifest, in `connect` or `listen`; or [`LINE_DNS`].
    pub line: u16,
    /// A port for this device alone.
    pub local: bool,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The box.
    pub uid: u32,
    /// To connect, to listen, or from outside.
    pub direction: Direction,
    /// The kernel's number of the protocol: 6, 17, or another.
    pub protocol: u8,
    /// The peer's port, or the box's own.
    pub port: u16,
    /// The peer, or the address to listen at.
    pub address: IpAddr,
    /// Refusals of this box before this one that were too many to be told.
    pub untold: u32,
}

/// The address as keys have it.
pub fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The name server of a box: `127.64.0.0` and its uid's distance from 1000. `None` for a uid that no box has.
pub fn name_server(uid: u32) -> Option<Ipv4Addr> {
    let place = uid.checked_sub(1000).filter(|place| *place < 1 << 22)?;
    Some(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + place))
}

/// The uid whose name server has this address; of no box, perhaps.
pub fn client(address: Ipv4Addr) -> Option<u32> {
    let place = u32::from(address).checked_sub(u32::from(Ipv4Addr::new(127, 64, 0, 0)))?;
    (place < 1 << 22).then_some(1000 + place)
}

impl App {
    /// Size in the table.
    pub const BYTES: usize = 24;

    /// As the table has it.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let [one, two] = self.policy;
        put(&mut bytes, 0, &self.generation.to_le_bytes());
        put(&mut bytes, 4, &u32::from(self.unfiltered).to_le_bytes());
        put(&mut bytes, 8, &one.to_le_bytes());
        put(&mut bytes, 16, &two.to_le_bytes());
        bytes
    }

    /// From the table.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        Self {
            generation: u32::from_le_bytes(take(bytes, 0)),
            unfiltered: u32::from_le_bytes(take(bytes, 4)) & 1 != 0,
            policy: [u64::from_le_bytes(take(bytes, 8)), u64::from_le_bytes(take(bytes, 16))],
        }
    }
}

impl Key {
    /// Size in the table.
    pub const BYTES: usize = 28;

    /// As the table has it.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        put(&mut bytes, 0, &self.uid.to_le_bytes());
        put(&mut bytes, 4, &self.generation.to_le_bytes());
        put(&mut bytes, 8, &[self.direction as u8, self.protocol as u8]);
        put(&mut bytes, 10, &self.port.to_le_bytes());
        put(&mut bytes, 12, &self.address.octets());
        bytes
    }

    /// From the table; `None` for what we never wrote.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [direction, protocol] = take(bytes, 8);
        Some(Self {
            uid: u32::from_le_bytes(take(bytes, 0)),
            generation: u32::from_le_bytes(take(bytes, 4)),
            direction: Direction::decode(direction).filter(|d| *d != Direction::Inbound)?,
            protocol: match protocol {
                6 => Protocol::Tcp,
                17 => Protocol::Udp,
                _ => return None,
            },
            port: u16::from_le_bytes(take(bytes, 10)),
            address: Ipv6Addr::from(take::<16>(bytes, 12)),
        })
    }
}

impl Rule {
    /// Size in the table.
    pub const BYTES: usize = 40;

    /// As the table has it.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (at, number) in [self.expiry_ns, self.attempts, self.packets, self.bytes].iter().enumerate() {
            put(&mut bytes, at * 8, &number.to_le_bytes());
        }
        put(&mut bytes, 32, &self.line.to_le_bytes());
        put(&mut bytes, 34, &[u8::from(self.local)]);
        bytes
    }

    /// From the table.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |at| u64::from_le_bytes(take(bytes, at));
        let [local] = take(bytes, 34);
        Self {
            expiry_ns: number(0),
            attempts: number(8),
            packets: number(16),
            bytes: number(24),
            line: u16::from_le_bytes(take(bytes, 32)),
            local: local != 0,
        }
    }
}

impl Refusal {
    /// Size in the ring.
    pub const BYTES: usize = 28;

    /// From the ring; `None` for what the programs never write.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let [direction, protocol] = take(bytes, 4);
        Some(Self {
            uid: u32::from_le_bytes(take(bytes, 0)),
            direction: Direction::decode(direction)?,
            protocol,
            port: u16::from_le_bytes(take(bytes, 6)),
            address: Ipv6Addr::from(take::<16>(bytes, 8)).to_canonical(),
            untold: u32::from_le_bytes(take(bytes, 24)),
        })
    }
}

impl Direction {
    fn decode(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Connect),
            1 => Some(Self::Listen),
            2 => Some(Self::Inbound),
            _ => None,
        }
    }
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = to.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The bytes at `at`; the layouts above are checked against the sizes by a test.
fn take<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    from.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `bpf/layout.c` says, in its order.
    const LAYOUT: &[u32] = include!(concat!(env!("OUT_DIR"), "/layout.rs"));

    fn key() -> Key {
        Key {
            uid: 0x0102_0304,
            generation: 0x0506_0708,
            direction: Direction::Listen,
            protocol: Protocol::Udp,
            port: 0x090a,
            address: "2001:db8::1".parse().unwrap(),
        }
    }

    #[test]
    fn layouts_of_the_c_programs_are_those_written_here() {
        let here = [
            24, 0, 4, 8, // app
            28, 0, 4, 8, 9, 10, 12, // key
            40, 0, 8, 16, 24, 32, 34, // rule
            8, 0, 4, 32, 8, 16, // slot, flow, teller, pace
            28, 0, 4, 5, 6, 8, 24, // refusal
            256, 1, // slots, unfiltered
        ];
        assert_eq!(LAYOUT, here);
        assert_eq!([App::BYTES, Key::BYTES, Rule::BYTES, Refusal::BYTES], [24, 28, 40, 28]);
    }

    #[test]
    fn entries_are_what_was_written() {
        let app = App { generation: 7, unfiltered: true, policy: [1 << 63, 5] };
        assert_eq!(App::decode(&app.encode()), app);
        assert_eq!(Key::decode(&key().encode()), Some(key()));
        let rule =
            Rule { expiry_ns: 1, attempts: 2, packets: 3, bytes: u64::MAX, line: LINE_DNS, local: true };
        assert_eq!(Rule::decode(&rule.encode()), rule);
    }

    #[test]
    fn entry_of_an_unknown_kind_is_none() {
        for (place, value) in [(8, 2), (8, 9), (9, 1)] {
            let mut bytes = key().encode();
            bytes[place] = value;
            assert_eq!(Key::decode(&bytes), None);
        }
        assert_eq!(Refusal::decode(&[9; Refusal::BYTES]), None);
    }

    #[test]
    fn name_server_of_each_uid_is_its_own_and_in_its_block() {
        assert_eq!(name_server(1000), Some(Ipv4Addr::new(127, 64, 0, 0)));
        assert_eq!(name_server(10_000), Some(Ipv4Addr::new(127, 64, 35, 40)));
        assert_eq!(client(Ipv4Addr::new(127, 64, 35, 40)), Some(10_000));
        assert_eq!(client(Ipv4Addr::LOCALHOST), None);
        assert_eq!(client(Ipv4Addr::new(127, 128, 0, 0)), None);
        assert_eq!(name_server(999), None);
        assert_eq!(name_server(1000 + (1 << 22)), None);
    }
}
