//! An app's rules as its author knows them: by the line of the manifest.

use std::net::IpAddr;

use bus::interfaces::network::{Direction, Protocol, Rule};
use firewall::tables::{self, LINE_DNS};
use policy::Proto;

use crate::apps::AppPolicy;
use crate::rules::Listed;

/// The rules that the kernel has, and a row for each line that has none.
pub(super) fn shown(policy: &AppPolicy, listed: &[Listed], now_ns: u64) -> Vec<Rule<'static>> {
    let mut rules: Vec<Rule<'static>> =
        listed.iter().map(|listed| of_kernel(policy, listed, now_ns)).collect();
    let mut lines = Vec::new();
    for to in &policy.connect {
        lines.push((Direction::Connect, connect_line(&to.to_string()), to.port()));
    }
    for listen in &policy.listen {
        lines.push((Direction::Listen, listen_line(*listen), listen.port()));
    }
    for (direction, line, port) in lines {
        if !rules.iter().any(|rule| rule.manifest_line.as_deref() == Some(line.as_str())) {
            rules.push(Rule {
                direction,
                manifest_line: Some(line.into()),
                address: None,
                port: port.number().into(),
                protocol: protocol(port.proto()),
                // What has no address yet lets nobody through; what has one says until when.
                expires_s: (direction == Direction::Connect).then_some(0),
                attempts: 0,
                packets: 0,
                bytes: 0,
            });
        }
    }
    rules.sort_by(|a, b| {
        let key = |rule: &Rule<'static>| (rule.direction, rule.manifest_line.clone(), rule.address.clone());
        key(a).cmp(&key(b))
    });
    rules
}

fn of_kernel(policy: &AppPolicy, Listed { key, rule }: &Listed, now_ns: u64) -> Rule<'static> {
    let line = usize::from(rule.line);
    let (direction, manifest_line) = match key.direction {
        tables::Direction::Connect if rule.line == LINE_DNS => (Direction::Connect, None),
        tables::Direction::Connect => {
            (Direction::Connect, policy.connect.get(line).map(|to| connect_line(&to.to_string())))
        }
        tables::Direction::Listen | tables::Direction::Inbound => {
            (Direction::Listen, policy.listen.get(line).map(|listen| listen_line(*listen)))
        }
    };
    let address = IpAddr::V6(key.address).to_canonical();
    Rule {
        direction,
        manifest_line: manifest_line.map(Into::into),
        address: (!address.is_unspecified()).then(|| address.to_string().into()),
        port: key.port.into(),
        protocol: match key.protocol {
            tables::Protocol::Tcp => Protocol::Tcp,
            tables::Protocol::Udp => Protocol::Udp,
        },
        expires_s: (rule.expiry_ns != 0)
            .then(|| number(rule.expiry_ns.saturating_sub(now_ns).div_ceil(1_000_000_000))),
        attempts: number(rule.attempts),
        packets: number(rule.packets),
        bytes: number(rule.bytes),
    }
}

pub(super) fn connect_line(to: &str) -> String {
    format!("connect = [\"{to}\"]")
}

fn listen_line(listen: policy::Listen) -> String {
    format!("listen = [\"{listen}\"]")
}

const fn protocol(proto: Proto) -> Protocol {
    match proto {
        Proto::Tcp => Protocol::Tcp,
        Proto::Udp => Protocol::Udp,
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewall::tables::{Key, mapped};

    fn policy() -> AppPolicy {
        AppPolicy {
            uid: 10_000,
            id: "com.example.a".to_owned(),
            connect: ["a.example:443/tcp", "b.example:1/udp"].map(|to| to.parse().unwrap()).to_vec(),
            listen: vec!["localhost:80/tcp".parse().unwrap()],
            private: Vec::new(),
        }
    }

    fn listed(address: &str, line: u16, expiry_ns: u64) -> Listed {
        let key = Key {
            uid: 10_000,
            generation: 1,
            direction: tables::Direction::Connect,
            protocol: tables::Protocol::Tcp,
            port: 443,
            address: mapped(address.parse().unwrap()),
        };
        Listed { key, rule: tables::Rule { line, expiry_ns, attempts: 3, ..tables::Rule::default() } }
    }

    #[test]
    fn rule_is_shown_by_its_line_with_the_time_it_has_left() {
        let second = 1_000_000_000;
        let all = [listed("192.0.2.1", 0, 30 * second), listed("127.64.35.40", LINE_DNS, 0)];
        let rules = shown(&policy(), &all, 28 * second);
        let of = |address: &str| rules.iter().find(|rule| rule.address.as_deref() == Some(address)).unwrap();
        let learnt = of("192.0.2.1");
        assert_eq!(learnt.manifest_line.as_deref(), Some("connect = [\"a.example:443/tcp\"]"));
        assert_eq!((learnt.expires_s, learnt.attempts), (Some(2), 3));
        let server = of("127.64.35.40");
        assert_eq!((&server.manifest_line, server.expires_s), (&None, None));
        let over = shown(&policy(), &all, 31 * second);
        assert!(over.iter().any(|rule| rule.address.is_some() && rule.expires_s == Some(0)));
    }

    #[test]
    fn line_without_an_address_has_a_row_that_lets_nobody_through() {
        let rules = shown(&policy(), &[listed("192.0.2.1", 0, 1)], 0);
        let rows: Vec<_> =
            rules.iter().map(|rule| (rule.direction, rule.address.is_some(), rule.expires_s)).collect();
        let connect = Direction::Connect;
        assert_eq!(
            rows,
            [(connect, true, Some(1)), (connect, false, Some(0)), (Direction::Listen, false, None)]
        );
        assert_eq!(rules[2].manifest_line.as_deref(), Some("listen = [\"localhost:80/tcp\"]"));
    }
}
