//! DHCP messages. Whoever is on the link may send them: what is taken of one is bounded and checked, and only of an answer to
//! our own question.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, DhcpOptions, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};

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
/// The smallest IPv4 packet that every host takes, and Ethernet's.
const MTU: std::ops::RangeInclusive<u16> = 576..=1500;

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

/// The message as bytes. `secs` is the time since we began to ask.
pub fn write(ask: &Ask, xid: u32, mac: [u8; 6], secs: u16) -> Vec<u8> {
    let zero = Ipv4Addr::UNSPECIFIED;
    let used = if let Ask::Renew(address) = ask { *address } else { zero };
    let mut message = Message::new_with_id(xid, used, zero, zero, zero, &mac);
    message.set_opcode(Opcode::BootRequest).set_secs(secs);
    // We hear unicast only once the address is ours.
    let flags =
        if matches!(ask, Ask::Renew(_)) { Flags::default() } else { Flags::default().set_broadcast() };
    message.set_flags(flags);
    let options = message.opts_mut();
    let kind = match ask {
        Ask::Discover => MessageType::Discover,
        Ask::Decline { .. } => MessageType::Decline,
        _ => MessageType::Request,
    };
    options.insert(DhcpOption::MessageType(kind));
    let mut client = vec![1];
    client.extend(mac);
    options.insert(DhcpOption::ClientIdentifier(client));
    match ask {
        Ask::Request { address, server } | Ask::Decline { address, server } => {
            options.insert(DhcpOption::RequestedIpAddress(*address));
            options.insert(DhcpOption::ServerIdentifier(*server));
        }
        Ask::Reboot(address) => drop(options.insert(DhcpOption::RequestedIpAddress(*address))),
        Ask::Discover | Ask::Renew(_) => {}
    }
    if !matches!(ask, Ask::Decline { .. }) {
        options.insert(DhcpOption::MaxMessageSize(MESSAGE_MAX as u16));
        options.insert(DhcpOption::ParameterRequestList(vec![
            OptionCode::SubnetMask,
            OptionCode::ClasslessStaticRoute,
            OptionCode::Router,
            OptionCode::DomainNameServer,
            OptionCode::NtpServers,
            OptionCode::InterfaceMtu,
        ]));
    }
    message.to_vec().unwrap_or_default()
}

/// Reads an answer to our question `xid`; `None` for anything else, and for a grant that makes no sense.
pub fn read(bytes: &[u8], xid: u32, mac: [u8; 6]) -> Option<Reply> {
    let message = Message::decode(&mut Decoder::new(bytes)).ok()?;
    // The length first: with one beyond the field the address can not be asked for.
    let ours = usize::from(message.hlen()) == mac.len() && message.chaddr() == mac;
    if message.opcode() != Opcode::BootReply || message.xid() != xid || !ours {
        return None;
    }
    let options = message.opts();
    match options.msg_type()? {
        MessageType::Offer => lease(&message).map(Reply::Offer),
        MessageType::Ack => lease(&message).map(Reply::Ack),
        MessageType::Nak => Some(Reply::Nak),
        _ => None,
    }
}

fn lease(message: &Message) -> Option<Lease> {
    let options = message.opts();
    let address = message.yiaddr();
    let prefix = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => length(*mask)?,
        _ => 24,
    };
    if !is_host(address) {
        return None;
    }
    let server = match options.get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => *server,
        _ => return None,
    };
    let lease_s = match options.get(OptionCode::AddressLeaseTime) {
        Some(DhcpOption::AddressLeaseTime(seconds)) => *seconds,
        _ => LEASE_UNSAID_S,
    };
    let lease_s = lease_s.clamp(*LEASE_S.start(), *LEASE_S.end());
    let rebind_s = match options.get(OptionCode::Rebinding) {
        Some(DhcpOption::Rebinding(seconds)) if *seconds < lease_s => *seconds,
        _ => lease_s / 8 * 7,
    };
    let renew_s = match options.get(OptionCode::Renewal) {
        Some(DhcpOption::Renewal(seconds)) if *seconds < rebind_s => *seconds,
        _ => lease_s / 2,
    };
    let servers =
        |list: &[Ipv4Addr], most| list.iter().copied().filter(|at| is_host(*at)).take(most).collect();
    Some(Lease {
        address,
        prefix,
        server,
        routes: routes(options, address, prefix),
        name_servers: match options.get(OptionCode::DomainNameServer) {
            Some(DhcpOption::DomainNameServer(list)) => servers(list, SERVERS_MAX),
            _ => Vec::new(),
        },
        time_servers: match options.get(OptionCode::NtpServers) {
            Some(DhcpOption::NtpServers(list)) => servers(list, SERVERS_MAX),
            _ => Vec::new(),
        },
        mtu: match options.get(OptionCode::InterfaceMtu) {
            Some(DhcpOption::InterfaceMtu(mtu)) if MTU.contains(mtu) => Some(*mtu),
            _ => None,
        },
        lease_s,
        renew_s: renew_s.min(rebind_s),
        rebind_s,
    })
}

/// RFC 3442: where there are classless routes, routers are not looked at. A router must be on the link.
fn routes(options: &DhcpOptions, address: Ipv4Addr, prefix: u8) -> Vec<(Ipv4Addr, u8, Ipv4Addr)> {
    let on_link = |router: Ipv4Addr| {
        is_host(router)
            && router != address
            && crate::config::contains((address.into(), prefix), router.into())
    };
    if let Some(DhcpOption::ClasslessStaticRoute(list)) = options.get(OptionCode::ClasslessStaticRoute) {
        let each = list.iter().filter(|(to, router)| on_link(*router) && !to.network().is_loopback());
        return each.take(ROUTES_MAX).map(|(to, router)| (to.network(), to.prefix_len(), *router)).collect();
    }
    match options.get(OptionCode::Router) {
        Some(DhcpOption::Router(list)) => {
            let each = list.iter().copied().filter(|router| on_link(*router)).take(ROUTERS_MAX);
            each.take(1).map(|router| (Ipv4Addr::UNSPECIFIED, 0, router)).collect()
        }
        _ => Vec::new(),
    }
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

    fn reply(kind: MessageType, address: [u8; 4], more: Vec<DhcpOption>) -> Vec<u8> {
        let zero = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(7, zero, address.into(), zero, zero, &MAC);
        message.set_opcode(Opcode::BootReply);
        message.opts_mut().insert(DhcpOption::MessageType(kind));
        message.opts_mut().insert(DhcpOption::ServerIdentifier([192, 0, 2, 1].into()));
        for option in more {
            message.opts_mut().insert(option);
        }
        message.to_vec().unwrap()
    }

    fn leased(more: Vec<DhcpOption>) -> Lease {
        match read(&reply(MessageType::Ack, [192, 0, 2, 7], more), 7, MAC) {
            Some(Reply::Ack(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answer_to_our_question_is_taken_and_no_other() {
        let bytes = reply(MessageType::Offer, [192, 0, 2, 7], vec![]);
        assert!(matches!(read(&bytes, 7, MAC), Some(Reply::Offer(_))));
        assert_eq!(read(&bytes, 8, MAC), None);
        assert_eq!(read(&bytes, 7, [2, 0, 0, 0, 0, 2]), None);
        assert_eq!(read(&write(&Ask::Discover, 7, MAC, 0), 7, MAC), None, "our own question");
        assert_eq!(read(&reply(MessageType::Nak, [0; 4], vec![]), 7, MAC), Some(Reply::Nak));
    }

    #[test]
    fn grant_that_makes_no_sense_is_no_answer() {
        for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255], [0, 1, 2, 3]] {
            assert_eq!(read(&reply(MessageType::Ack, address, vec![]), 7, MAC), None, "{address:?}");
        }
        let holes = vec![DhcpOption::SubnetMask([255, 0, 255, 0].into())];
        assert_eq!(read(&reply(MessageType::Ack, [192, 0, 2, 7], holes), 7, MAC), None);
    }

    #[test]
    fn times_are_bounded_and_in_order() {
        let times = |lease, renew, rebind| {
            let lease = leased(vec![
                DhcpOption::AddressLeaseTime(lease),
                DhcpOption::Renewal(renew),
                DhcpOption::Rebinding(rebind),
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
        let router = |last| DhcpOption::Router(vec![[192, 0, 2, last].into()]);
        assert_eq!(leased(vec![router(1)]).routes, [([0, 0, 0, 0].into(), 0, [192, 0, 2, 1].into())]);
        assert_eq!(leased(vec![router(7)]).routes, [], "ourselves");
        assert_eq!(leased(vec![DhcpOption::Router(vec![[198, 51, 100, 1].into()])]).routes, []);
        let mut list = DhcpOptions::new();
        list.insert(router(1));
        assert_eq!(routes(&list, [192, 0, 2, 7].into(), 24).len(), 1);
    }

    proptest! {
        #[test]
        fn answer_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read(&bytes, 7, MAC);
        }

        #[test]
        fn answer_with_flipped_bytes_ends(at in 0_usize..260, value: u8) {
            let mut bytes = reply(MessageType::Ack, [192, 0, 2, 7], vec![DhcpOption::SubnetMask([255, 255, 255, 0].into())]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            if let Some(Reply::Ack(lease)) = read(&bytes, 7, MAC) {
                prop_assert!(is_host(lease.address) && lease.renew_s <= lease.rebind_s && lease.rebind_s <= lease.lease_s);
            }
        }
    }
}
