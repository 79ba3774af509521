//! Name servers that routers advertise (RFC 8106, RDNSS), as the kernel passes them on: `RTM_NEWNDUSEROPT` of rtnetlink.
//!
//! The kernel has checked that the advertisement came from this link; what is in the option is what anybody on the link wrote.
//! So many servers of a link are known at once, and each ends when its time is over, or when the link loses its carrier.
//!
//! Off-spec: search lists (DNSSL) are not looked at, since a name in a manifest is whole. Servers with an address of the link
//! alone (`fe80::`) are passed over: the resolver knows no links.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// Servers of one link.
const SERVERS_MAX: usize = 4;
/// Links with servers.
const LINKS_MAX: usize = 32;

/// `RTM_NEWNDUSEROPT`, `AF_INET6`, `ND_ROUTER_ADVERT`, RDNSS.
const NEW_OPTION: u16 = 68;
const INET6: u8 = 10;
const ROUTER_ADVERT: u8 = 134;
const RDNSS: u8 = 25;
/// Lengths of `struct nlmsghdr` and `struct nduseroptmsg`, and of what is in front of an option's servers.
const HEADER: usize = 16;
const MESSAGE: usize = 16;
const OPTION: usize = 8;

/// What one option says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The kernel's index of the link.
    pub link: u32,
    /// How long, seconds. 0: not any more; all ones: for ever.
    pub lifetime_s: u32,
    /// The servers.
    pub servers: Vec<Ipv6Addr>,
}

/// Reads what the kernel sent: one message. `None` if it is of anything else.
pub fn read(bytes: &[u8]) -> Option<Advert> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let (header, rest) = bytes.get(..length)?.split_at_checked(HEADER)?;
    let ([family, _, b, c, rest_of @ ..], options) = rest.split_at_checked(MESSAGE)? else { return None };
    let (link, kind) = rest_of.split_first_chunk::<4>()?;
    let ours = header.get(4..6)? == NEW_OPTION.to_ne_bytes() && *family == INET6;
    if !ours || *kind.first()? != ROUTER_ADVERT {
        return None;
    }
    let option = options.get(..usize::from(u16::from_ne_bytes([*b, *c])))?;
    // The kernel passes on one at a time. Its length counts in units of eight bytes.
    let [RDNSS, units, _, _, lifetime @ ..] = option else { return None };
    let addresses = option.get(OPTION..usize::from(*units) * 8)?.as_chunks::<16>().0;
    let servers = addresses.iter().map(|address| Ipv6Addr::from(*address)).filter(is_server);
    Some(Advert {
        link: u32::from_ne_bytes(*link),
        lifetime_s: u32::from_be_bytes(*lifetime.first_chunk()?),
        servers: servers.take(SERVERS_MAX).collect(),
    })
}

/// The servers that are known of, each by link and address, with the moment when it ends.
#[derive(Debug, Default)]
pub struct Advised(BTreeMap<u32, Vec<(Ipv6Addr, u64)>>);

impl Advised {
    /// Takes what was advertised; whether anything changed but times.
    pub fn take(&mut self, advert: &Advert, now_ms: u64) -> bool {
        let before = self.servers(now_ms);
        // One more link than there may be waits for another to go.
        if self.0.len() >= LINKS_MAX && !self.0.contains_key(&advert.link) {
            return false;
        }
        let known = self.0.entry(advert.link).or_default();
        known.retain(|(_, end)| *end > now_ms);
        let end = match advert.lifetime_s {
            u32::MAX => u64::MAX,
            seconds => now_ms.saturating_add(u64::from(seconds) * 1000),
        };
        for server in &advert.servers {
            if let Some(known) = known.iter_mut().find(|(known, _)| known == server) {
                known.1 = end;
            } else if known.len() < SERVERS_MAX {
                // Whoever came first stays: others can not push it out.
                known.push((*server, end));
            }
        }
        known.retain(|(_, end)| *end > now_ms);
        if known.is_empty() {
            self.0.remove(&advert.link);
        }
        self.servers(now_ms) != before
    }

    /// Forgets links of which this is not true.
    pub fn keep(&mut self, has_carrier: impl Fn(u32) -> bool) {
        self.0.retain(|link, _| has_carrier(*link));
    }

    /// The servers, by link, in the order in which they became known.
    pub fn servers(&self, now_ms: u64) -> Vec<Ipv6Addr> {
        let all = self.0.values().flatten();
        all.filter(|(_, end)| *end > now_ms).map(|(server, _)| *server).collect()
    }

    /// When the next one ends.
    pub fn deadline_ms(&self, now_ms: u64) -> Option<u64> {
        self.0.values().flatten().map(|(_, end)| *end).filter(|end| *end > now_ms).min()
    }
}

fn is_server(address: &Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    fn message(lifetime_s: u32, servers: &[Ipv6Addr]) -> Vec<u8> {
        let mut option = vec![RDNSS, 1 + 2 * servers.len() as u8, 0, 0];
        option.extend(lifetime_s.to_be_bytes());
        servers.iter().for_each(|server| option.extend(server.octets()));
        let mut bytes = ((HEADER + MESSAGE + option.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(NEW_OPTION.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend([INET6, 0]);
        bytes.extend((option.len() as u16).to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.push(ROUTER_ADVERT);
        bytes.resize(HEADER + MESSAGE, 0);
        bytes.extend(option);
        bytes
    }

    fn advert(lifetime_s: u32, servers: &[Ipv6Addr]) -> Advert {
        Advert { link: 7, lifetime_s, servers: servers.to_vec() }
    }

    #[test]
    fn option_of_a_router_is_read() {
        let bytes = message(600, &[server(1), "fe80::1".parse().unwrap(), server(2)]);
        assert_eq!(read(&bytes), Some(advert(600, &[server(1), server(2)])));
        assert_eq!(read(&message(0, &[])), Some(advert(0, &[])));
        let many: Vec<_> = (1..10).map(server).collect();
        assert_eq!(read(&message(600, &many)).unwrap().servers.len(), SERVERS_MAX);
    }

    #[test]
    fn option_of_another_kind_or_cut_off_is_none() {
        let whole = message(600, &[server(1)]);
        for (at, value) in [(4, 16), (16, 2), (24, 133), (32, 31), (33, 9), (33, 0)] {
            let mut other = whole.clone();
            other[at] = value;
            assert_eq!(read(&other), None, "{at}");
        }
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn server_is_known_for_its_time_and_until_it_is_taken_back() {
        let mut advised = Advised::default();
        assert!(advised.take(&advert(10, &[server(1), server(2)]), 0));
        assert!(!advised.take(&advert(20, &[server(2)]), 1000), "only the time changed");
        assert_eq!(advised.deadline_ms(1000), Some(10_000));
        assert_eq!(advised.servers(10_000), [server(2)]);
        assert!(advised.take(&advert(0, &[server(2)]), 11_000));
        assert_eq!((advised.servers(11_000), advised.deadline_ms(11_000)), (vec![], None));
        advised.take(&advert(u32::MAX, &[server(3)]), 12_000);
        assert_eq!(advised.servers(u64::MAX - 1), [server(3)]);
        advised.keep(|link| link != 7);
        assert!(advised.servers(12_000).is_empty());
    }

    #[test]
    fn servers_of_a_link_are_bounded_and_the_first_stay() {
        let mut advised = Advised::default();
        for last in 1..100 {
            advised.take(&advert(600, &[server(last)]), 0);
        }
        assert_eq!(advised.servers(0), [1, 2, 3, 4].map(server));
    }

    proptest! {
        #[test]
        fn message_of_any_bytes_ends(mut bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let length = (bytes.len() as u32).to_ne_bytes();
            bytes.iter_mut().zip(length).for_each(|(to, byte)| *to = byte);
            let _ = read(&bytes);
        }

        #[test]
        fn message_with_a_flipped_byte_ends(at in 0_usize..56, value: u8) {
            let mut bytes = message(600, &[server(1)]);
            bytes[at] = value;
            if let Some(advert) = read(&bytes) {
                prop_assert!(advert.servers.len() <= SERVERS_MAX && advert.servers.iter().all(is_server));
            }
        }
    }
}
