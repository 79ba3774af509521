//! Which addresses an answer may have. A name belongs to whoever owns it, who may let it lead anywhere: to the device
//! itself, to what trusts the device's network, to other apps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy::is_private;

/// What an address is for the purpose of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anybody's.
    Open,
    /// Of a private network or of this link: only for hosts that the manifest names as `private`.
    Private,
    /// Never a host elsewhere; why.
    Never(&'static str),
}

/// The class of an address. `own` are the device's.
pub fn class(address: IpAddr, own: &[IpAddr]) -> Class {
    if own.contains(&address.to_canonical()) {
        return Class::Never("the device's own address");
    }
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address, own),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        [127, ..] => Class::Never("loopback"),
        [0, ..] => Class::Never("no address of a host"),
        [224..=239, ..] => Class::Never("multicast"),
        // 240/4, and the broadcast address in it.
        [240..=255, ..] => Class::Never("reserved"),
        _ if is_private(address.into()) => Class::Private,
        _ => Class::Open,
    }
}

fn class_v6(address: Ipv6Addr, own: &[IpAddr]) -> Class {
    if let Some(inner) = embedded(address) {
        // A second spelling would be a way round the first.
        return match class(IpAddr::V4(inner), own) {
            Class::Open => Class::Open,
            Class::Private | Class::Never(_) => Class::Never("an IPv4 address in disguise"),
        };
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Never("loopback"),
        [0, ..] => Class::Never("no address of a host"),
        [0xff00..=0xffff, ..] => Class::Never("multicast"),
        _ if is_private(address.into()) => Class::Private,
        // Teredo: the address of an IPv4 host, scrambled; translation of a network's own (RFC 8215), to whatever host.
        [0x2001, 0, ..] | [0x64, 0xff9b, 1, ..] => Class::Never("an IPv4 address in disguise"),
        _ => Class::Open,
    }
}

/// The IPv4 address in a mapped, compatible, translated (NAT64) or 6to4 one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
            Some(v4(a, b))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Class {
        class(text.parse().unwrap(), &["203.0.113.9".parse().unwrap(), "2001:db8::9".parse().unwrap()])
    }

    #[test]
    fn address_that_leads_into_the_device_is_never_passed_on() {
        for text in [
            "127.0.0.1",
            "127.64.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::1",
            "203.0.113.9",
            "::ffff:203.0.113.9",
            "2001:db8::9",
            "::ffff:10.0.0.1",
            "2002:a00:1::",
            "2001:0:1::1",
            "64:ff9b:1::a00:1",
        ] {
            assert!(matches!(of(text), Class::Never(_)), "{text}");
        }
    }

    #[test]
    fn address_of_a_private_network_is_told_apart() {
        for text in [
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "fe80::1",
            "fd00::1",
            "fec0::1",
        ] {
            assert_eq!(of(text), Class::Private, "{text}");
        }
        for text in
            ["192.0.2.1", "172.32.0.1", "100.128.0.1", "2001:db8::1", "2606:4700::1", "64:ff9b::c000:201"]
        {
            assert_eq!(of(text), Class::Open, "{text}");
        }
    }
}
