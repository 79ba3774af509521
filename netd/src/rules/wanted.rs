//! From a policy to the rules that follow from it alone, before any name is resolved. Pure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall::tables::{Direction, Key, LINE_DNS, Protocol, Rule, mapped, name_server};
use policy::{Host, Proto};

use crate::apps::AppPolicy;

/// DNS.
const PORT_DNS: u16 = 53;

/// The rules: addresses as they are written, ports to serve, and the app's own name server. The first line wins where two
/// say the same.
pub(super) fn rules(policy: &AppPolicy, generation: u32) -> Vec<(Key, Rule)> {
    let mut rules = BTreeMap::new();
    let uid = policy.uid;
    let key = |direction, protocol, port, address: IpAddr| {
        let address = mapped(address);
        Key { uid, generation, direction, protocol, port, address }
    };
    for (line, place) in (0..LINE_DNS).zip(&policy.connect) {
        for address in addresses(place.host()) {
            let port = place.port();
            let key = key(Direction::Connect, protocol(port.proto()), port.number(), address);
            rules.entry(key).or_insert(Rule { line, ..Rule::default() });
        }
    }
    for (line, listen) in (0..LINE_DNS).zip(&policy.listen) {
        let port = listen.port();
        let key = key(Direction::Listen, protocol(port.proto()), port.number(), Ipv6Addr::UNSPECIFIED.into());
        rules.entry(key).or_insert(Rule { line, local: listen.is_local(), ..Rule::default() });
    }
    if let Some(server) =
        name_server(uid).filter(|_| policy.connect.iter().any(|place| place.host().is_name()))
    {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let key = key(Direction::Connect, protocol, PORT_DNS, server.into());
            rules.entry(key).or_insert(Rule { line: LINE_DNS, ..Rule::default() });
        }
    }
    rules.into_iter().collect()
}

/// What tells one policy from another. 128 bits, so that no author makes two that are taken for one.
pub(super) fn digest(policy: &AppPolicy) -> [u64; 2] {
    let AppPolicy { uid, id: _, connect, listen, private } = policy;
    [1_u8, 2].map(|salt| {
        let mut hasher = DefaultHasher::new();
        (salt, uid, connect, listen, private).hash(&mut hasher);
        hasher.finish()
    })
}

pub(super) fn protocol(proto: Proto) -> Protocol {
    match proto {
        Proto::Tcp => Protocol::Tcp,
        Proto::Udp => Protocol::Udp,
    }
}

/// `localhost` is both loopback addresses, whatever a resolver would say; a name is none yet.
fn addresses(host: &Host) -> Vec<IpAddr> {
    match host.address() {
        Some(address) => vec![address],
        None if host.is_local() => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(connect: &[&str], listen: &[&str]) -> AppPolicy {
        AppPolicy {
            uid: 10_000,
            id: "com.example.app".to_owned(),
            connect: connect.iter().map(|line| line.parse().unwrap()).collect(),
            listen: listen.iter().map(|line| line.parse().unwrap()).collect(),
            private: Vec::new(),
        }
    }

    fn text(policy: &AppPolicy) -> Vec<String> {
        let each = rules(policy, 1).into_iter();
        each.map(|(key, rule)| {
            let local = if rule.local { " local" } else { "" };
            format!(
                "{:?} {:?} {} {} #{}{local}",
                key.direction, key.protocol, key.address, key.port, rule.line
            )
        })
        .collect()
    }

    #[test]
    fn policy_of_addresses_is_rules_without_a_name_server() {
        let policy = policy(&["192.0.2.7:80/tcp", "localhost:1883/tcp", "[2001:db8::7]:5/udp"], &[]);
        let wanted = [
            "Connect Tcp ::1 1883 #1",
            "Connect Tcp ::ffff:192.0.2.7 80 #0",
            "Connect Tcp ::ffff:127.0.0.1 1883 #1",
            "Connect Udp 2001:db8::7 5 #2",
        ];
        let mut rules = text(&policy);
        rules.sort();
        let mut wanted = wanted.map(str::to_owned).to_vec();
        wanted.sort();
        assert_eq!(rules, wanted);
    }

    #[test]
    fn policy_with_a_name_reaches_its_own_name_server_and_nothing_else() {
        let server = format!("::ffff:{} 53 #{LINE_DNS}", name_server(10_000).unwrap());
        assert_eq!(
            text(&policy(&["example.com:443/tcp"], &[])),
            [format!("Connect Tcp {server}"), format!("Connect Udp {server}")]
        );
    }

    #[test]
    fn ports_to_serve_have_no_address_and_say_whether_they_are_local() {
        assert_eq!(
            text(&policy(&[], &["8080/tcp", "localhost:1883/tcp"])),
            ["Listen Tcp :: 1883 #1 local", "Listen Tcp :: 8080 #0"]
        );
    }

    #[test]
    fn digest_of_another_line_or_box_is_another() {
        let base = policy(&["a.example:1/tcp"], &["1/tcp"]);
        let mut other = base.clone();
        other.uid += 1;
        let changed =
            [policy(&["b.example:1/tcp"], &["1/tcp"]), policy(&["a.example:1/tcp"], &["localhost:1/tcp"])];
        assert_eq!(digest(&base), digest(&base.clone()));
        for changed in changed.iter().chain([&other]) {
            assert_ne!(digest(&base), digest(changed));
        }
    }
}
