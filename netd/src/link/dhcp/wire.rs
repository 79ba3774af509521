//! DHCP messages (RFC 2131, RFC 2132). Whoever is on the link may send them: what is taken of one is bounded and checked, and
//! only of an answer to our own question.
//!
//! Our own reader, because that of `dhcproto` (0.15) panics on messages that anybody on the link can send (an option 80 that
//! is not empty, a hardware address longer than its field); nothing of it is left to panic here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Length of the part before the options, and what they begin with.
const HEADER: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Shortest message that relays and servers take (RFC 1542, 2.1).
const MESSAGE_MIN: usize = 300;
/// `BOOTREQUEST`, `BOOTREPLY`, Ethernet.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;

/// Codes of options.
mod code {
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const NAME_SERVERS: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const MTU: u8 = 26;
    pub(super) const TIME_SERVERS: u8 = 42;
    pub(super) const ADDRESS: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WANTED: u8 = 55;
    pub(super) const SIZE: u8 = 57;
    pub(super) const RENEW: u8 = 58;
    pub(super) const REBIND: u8 = 59;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const ROUTES: u8 = 121;
}

/// Kinds of messages.
mod kind {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const DECLINE: u8 = 4;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
}

/// Longest message read, bytes.
pub const MESSAGE_MAX: usize = 1500;
/// Lists in a lease.
const ROUTERS_MAX: usize = 2;
const SERVERS_MAX: usize = 4;
const ROUTES_MAX: usize = 16;
/// Bounds of a lease, seconds: a server that grants less has us ask all the time, one that grants more is not asked again.
const LEASE_S: std::ops::RangeInclusive<u32> = 10..=30 * 86_400;
/// The same where the server does not say.
const LEASE_UNSAID_S: u32 = 3600;
/// The smallest packet with which a link keeps its IPv6 (RFC 8200), and Ethernet's.
const MTU: std::ops::RangeInclusive<u16> = 1280..=1500;

/// What a server granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of its prefix.
    pub prefix: u8,
    /// Who granted it.
    pub server: Ipv4Addr,
    /// Routes: network, length of its prefix, router.
    pub routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Time servers.
    pub time_servers: Vec<Ipv4Addr>,
    /// Largest packet, if the server says.
    pub mtu: Option<u16>,
    /// How long it is granted, when to ask this server again, when any: seconds after it was granted.
    pub lease_s: u32,
    /// See `lease_s`.
    pub renew_s: u32,
    /// See `lease_s`.
    pub rebind_s: u32,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An address may be had.
    Offer(Lease),
    /// It is ours.
    Ack(Lease),
    /// What we asked for can not be had.
    Nak,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who has an address?
    Discover,
    /// This one, which that server has offered.
    Request {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
    /// This one, which we had.
    Reboot(Ipv4Addr),
    /// This one, which we use.
    Renew(Ipv4Addr),
    /// Not this one: somebody has it.
    Decline {
        /// The address.
        address: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The link's hardware address.
    pub mac: [u8; 6],
    /// What the device is called, at most 63 bytes, if that is told.
    pub host_name: Option<String>,
}

/// The message as bytes. `secs` is the time since we began to ask.
pub fn write(ask: &Ask, xid: u32, client: &Client, secs: u16) -> Vec<u8> {
    let mac = client.mac;
    let mut bytes = vec![REQUEST, ETHERNET, 6, 0];
    bytes.extend(xid.to_be_bytes());
    bytes.extend(secs.to_be_bytes());
    // We hear unicast only once the address is ours.
    bytes.extend(if matches!(ask, Ask::Renew(_)) { [0, 0] } else { [0x80, 0] });
    bytes.extend(if let Ask::Renew(address) = ask { address.octets() } else { [0; 4] });
    bytes.resize(28, 0);
    bytes.extend(mac);
    bytes.resize(HEADER, 0);
    bytes.extend(COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        bytes.extend([code, value.len() as u8]);
        bytes.extend(value);
    };
    let kind = match ask {
        Ask::Discover => kind::DISCOVER,
        Ask::Decline { .. } => kind::DECLINE,
        Ask::Request { .. } | Ask::Reboot(_) | Ask::Renew(_) => kind::REQUEST,
    };
    option(code::KIND, &[kind]);
    let [a, b, c, d, e, f] = mac;
    option(code::CLIENT, &[ETHERNET, a, b, c, d, e, f]);
    if let Ask::Request { address, server } | Ask::Decline { address, server } = ask {
        option(code::ADDRESS, &address.octets());
        option(code::SERVER, &server.octets());
    }
    if let Ask::Reboot(address) = ask {
        option(code::ADDRESS, &address.octets());
    }
    if kind != kind::DECLINE {
        option(code::SIZE, &(MESSAGE_MAX as u16).to_be_bytes());
        let wanted =
            [code::MASK, code::ROUTES, code::ROUTER, code::NAME_SERVERS, code::TIME_SERVERS, code::MTU];
        option(code::WANTED, &wanted);
        if let Some(name) = &client.host_name {
            option(code::HOST_NAME, name.as_bytes());
        }
    }
    bytes.push(255);
    bytes.resize(bytes.len().max(MESSAGE_MIN), 0);
    bytes
}

/// Reads an answer to our question `xid`; `None` for anything else, and for a grant that makes no sense.
pub fn read(bytes: &[u8], xid: u32, mac: [u8; 6]) -> Option<Reply> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let options = Options::read(rest.strip_prefix(&COOKIE)?);
    let ours = header.starts_with(&[REPLY, ETHERNET, 6])
        && header.get(4..8) == Some(&xid.to_be_bytes())
        && header.get(28..34) == Some(&mac);
    let yours = Ipv4Addr::from(*header.get(16..20)?.first_chunk()?);
    match options.byte(code::KIND).filter(|_| ours)? {
        kind::OFFER => lease(&options, yours).map(Reply::Offer),
        kind::ACK => lease(&options, yours).map(Reply::Ack),
        kind::NAK => Some(Reply::Nak),
        _ => None,
    }
}

/// The options, the first of each code; those that do not fit are as if they were not there.
struct Options<'a>(BTreeMap<u8, &'a [u8]>);

impl<'a> Options<'a> {
    fn read(mut bytes: &'a [u8]) -> Self {
        let mut all = BTreeMap::new();
        while let [code, rest @ ..] = bytes {
            bytes = match (code, rest) {
                (0, rest) => rest,
                (255, _) => break,
                (code, [length, rest @ ..]) => {
                    let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
                    all.entry(*code).or_insert(value);
                    rest
                }
                _ => break,
            };
        }
        Self(all)
    }

    fn get<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        <[u8; N]>::try_from(*self.0.get(&code)?).ok()
    }

    fn byte(&self, code: u8) -> Option<u8> {
        self.get::<1>(code).map(|[byte]| byte)
    }

    fn seconds(&self, code: u8) -> Option<u32> {
        self.get(code).map(u32::from_be_bytes)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.get::<4>(code).map(Ipv4Addr::from)
    }

    /// Hosts, so many at most.
    fn hosts(&self, code: u8, most: usize) -> Vec<Ipv4Addr> {
        let (each, _) = self.0.get(&code).copied().unwrap_or_default().as_chunks::<4>();
        each.iter().map(|bytes| Ipv4Addr::from(*bytes)).filter(|at| is_host(*at)).take(most).collect()
    }
}

fn lease(options: &Options<'_>, address: Ipv4Addr) -> Option<Lease> {
    let prefix = options.address(code::MASK).map_or(Some(24), length)?;
    let server = options.address(code::SERVER)?;
    if !is_host(address) {
        return None;
    }
    let lease_s =
        options.seconds(code::LEASE).unwrap_or(LEASE_UNSAID_S).clamp(*LEASE_S.start(), *LEASE_S.end());
    let rebind_s = options.seconds(code::REBIND).filter(|s| *s < lease_s).unwrap_or(lease_s / 8 * 7);
    let renew_s = options.seconds(code::RENEW).filter(|s| *s < rebind_s).unwrap_or(lease_s / 2);
    Some(Lease {
        address,
        prefix,
        server,
        routes: routes(options, address, prefix),
        name_servers: options.hosts(code::NAME_SERVERS, SERVERS_MAX),
        time_servers: options.hosts(code::TIME_SERVERS, SERVERS_MAX),
        mtu: options.get(code::MTU).map(u16::from_be_bytes).filter(|mtu| MTU.contains(mtu)),
        lease_s,
        renew_s: renew_s.min(rebind_s),
        rebind_s,
    })
}

/// RFC 3442: where there are classless routes, routers are not looked at. A router must be on the link.
fn routes(options: &Options<'_>, address: Ipv4Addr, prefix: u8) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    let on_link = |router: &Ipv4Addr| {
        is_host(*router)
            && *router != address
            && crate::config::contains((address.into(), prefix), (*router).into())
    };
    let Some(mut bytes) = options.0.get(&code::ROUTES).copied() else {
        let routers = options.hosts(code::ROUTER, ROUTERS_MAX);
        let first = routers.into_iter().find(on_link);
        return first.map(|router| (Ipv4Addr::UNSPECIFIED, 0, router)).into_iter().collect();
    };
    let mut routes = Vec::new();
    while let [prefix @ 0..=32, rest @ ..] = bytes {
        let (network, rest) = rest.split_at_checked(usize::from(prefix.div_ceil(8))).unwrap_or_default();
        let Some((router, rest)) = rest.split_first_chunk::<4>() else { break };
        let mut octets = [0; 4];
        octets.iter_mut().zip(network).for_each(|(to, from)| *to = *from);
        // Bits beyond the prefix may be anything, and the kernel takes none.
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
        let network = Ipv4Addr::from(u32::from_be_bytes(octets) & mask);
        let router = Ipv4Addr::from(*router);
        if on_link(&router) && !network.is_loopback() && !network.is_multicast() && routes.len() < ROUTES_MAX
        {
            routes.push((network, *prefix, router));
        }
        bytes = rest;
    }
    routes
}

/// The length of a mask's prefix; `None` when it has holes or leaves no host.
fn length(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    let whole = bits.checked_shl(ones).unwrap_or(0) == 0;
    u8::try_from(ones).ok().filter(|ones| whole && (8..=32).contains(ones))
}

fn is_host(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn reply(kind: u8, address: [u8; 4], more: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = write(&Ask::Discover, 7, &client(None), 0);
        bytes[0] = REPLY;
        bytes[16..20].copy_from_slice(&address);
        bytes.truncate(HEADER + 4);
        for (code, value) in [(code::KIND, &[kind][..]), (code::SERVER, &[192, 0, 2, 1])].iter().chain(more) {
            bytes.extend([*code, value.len() as u8]);
            bytes.extend(*value);
        }
        bytes.push(255);
        bytes
    }

    fn leased(more: &[(u8, &[u8])]) -> Lease {
        match read(&reply(kind::ACK, [192, 0, 2, 7], more), 7, MAC) {
            Some(Reply::Ack(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn client(host_name: Option<&str>) -> Client {
        Client { mac: MAC, host_name: host_name.map(str::to_owned) }
    }

    #[test]
    fn question_tells_the_host_name_if_there_is_one() {
        let option = b"\x0c\x06pump-7";
        let tells = |ask: &Ask, name| {
            write(ask, 7, &client(name), 0).windows(option.len()).any(|window| window == option)
        };
        assert!(
            tells(&Ask::Discover, Some("pump-7"))
                && tells(&Ask::Reboot([192, 0, 2, 7].into()), Some("pump-7"))
        );
        assert!(!tells(&Ask::Discover, None));
    }

    #[test]
    fn answer_to_our_question_is_taken_and_no_other() {
        let bytes = reply(kind::OFFER, [192, 0, 2, 7], &[]);
        assert!(matches!(read(&bytes, 7, MAC), Some(Reply::Offer(_))));
        assert_eq!(read(&bytes, 8, MAC), None);
        assert_eq!(read(&bytes, 7, [2, 0, 0, 0, 0, 2]), None);
        assert_eq!(read(&write(&Ask::Discover, 7, &client(None), 0), 7, MAC), None, "our own question");
        assert_eq!(read(&reply(kind::NAK, [0; 4], &[]), 7, MAC), Some(Reply::Nak));
    }

    #[test]
    fn grant_that_makes_no_sense_is_no_answer() {
        for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [0, 1, 2, 3]] {
            assert_eq!(read(&reply(kind::ACK, address, &[]), 7, MAC), None, "{address:?}");
        }
        let holes: &[(u8, &[u8])] = &[(code::MASK, &[255, 0, 255, 0])];
        assert_eq!(read(&reply(kind::ACK, [192, 0, 2, 7], holes), 7, MAC), None);
    }

    #[test]
    fn times_are_bounded_and_in_order() {
        let times = |lease: u32, renew: u32, rebind: u32| {
            let lease = leased(&[
                (code::LEASE, &lease.to_be_bytes()),
                (code::RENEW, &renew.to_be_bytes()),
                (code::REBIND, &rebind.to_be_bytes()),
            ]);
            (lease.lease_s, lease.renew_s, lease.rebind_s)
        };
        assert_eq!(times(120, 60, 105), (120, 60, 105));
        assert_eq!(times(0, 0, 0), (10, 0, 0));
        assert_eq!(times(u32::MAX, u32::MAX, u32::MAX), (2_592_000, 1_296_000, 2_268_000));
        assert_eq!(times(100, 99, 50), (100, 50, 50));
    }

    #[test]
    fn routers_must_be_on_the_link_and_classless_routes_come_first() {
        let routes = |more: &[(u8, &[u8])]| leased(more).routes;
        let default = ([0, 0, 0, 0].into(), 0, [192, 0, 2, 1].into());
        assert_eq!(routes(&[(code::ROUTER, &[192, 0, 2, 1])]), [default]);
        assert_eq!(routes(&[(code::ROUTER, &[192, 0, 2, 7])]), [], "ourselves");
        assert_eq!(
            routes(&[(code::ROUTER, &[198, 51, 100, 1, 192, 0, 2, 1])]),
            [default],
            "the first that can be"
        );
        let odd = [25, 10, 20, 0, 1, 192, 0, 2, 1];
        let clean = ([10, 20, 0, 0].into(), 25, [192, 0, 2, 1].into());
        assert_eq!(routes(&[(code::ROUTES, &odd)]), [clean], "bits beyond the prefix are left out");
        let classless = [24, 198, 51, 100, 192, 0, 2, 2, 0, 192, 0, 2, 1, 33, 1];
        let both: &[(u8, &[u8])] = &[(code::ROUTER, &[192, 0, 2, 9]), (code::ROUTES, &classless)];
        assert_eq!(routes(both), [([198, 51, 100, 0].into(), 24, [192, 0, 2, 2].into()), default]);
    }

    proptest! {
        #[test]
        fn answer_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes, 7, MAC);
        }

        #[test]
        fn answer_with_flipped_bytes_ends(at in 0_usize..260, value: u8) {
            let mut bytes = reply(kind::ACK, [192, 0, 2, 7], &[(code::MASK, &[255, 255, 255, 0])]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            if let Some(Reply::Ack(lease)) = read(&bytes, 7, MAC) {
                prop_assert!(is_host(lease.address) && lease.renew_s <= lease.rebind_s && lease.rebind_s <= lease.lease_s);
            }
        }
    }
}
