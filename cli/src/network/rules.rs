//! `gabion net rules`: what an app may reach and serve, with what came of it.

use bus::interfaces::network::{Direction, ListRulesReply, Protocol, Rule};
use serde::Deserialize;
use serde_json::json;

use super::of_network;
use crate::bus::{Device, table};
use crate::output::answer;

pub(super) fn run(device: &Device, app: &str) -> anyhow::Result<bool> {
    device.one(&of_network("ListRules", &json!({ "app": app }))?, |parameters| {
        let ListRulesReply { rules } = ListRulesReply::deserialize(parameters)?;
        let rows: Vec<_> = rules.iter().map(row).collect();
        answer(parameters, || {
            table(["MANIFEST LINE", "ADDRESS", "PORT", "LEFT", "CALLS", "PACKETS", "BYTES"], &rows)
        })
    })
}

fn row(rule: &Rule<'_>) -> [String; 7] {
    let proto = match rule.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let address = match (rule.address.as_deref(), rule.direction) {
        (Some(address), _) => address.to_owned(),
        (None, Direction::Connect) => "(not looked up)".to_owned(),
        (None, Direction::Listen) => "-".to_owned(),
    };
    let left = match rule.expires_s {
        None => "-".to_owned(),
        Some(0) => "over".to_owned(),
        Some(seconds) => format!("{seconds} s"),
    };
    let line = rule.manifest_line.as_deref().unwrap_or("(its name server)").to_owned();
    let counts = [rule.attempts, rule.packets, rule.bytes].map(|count| count.to_string());
    let [calls, packets, bytes] = counts;
    [line, address, format!("{}/{proto}", rule.port), left, calls, packets, bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_of_a_rule_says_until_when_it_holds() {
        let mut rule = Rule {
            direction: Direction::Connect,
            manifest_line: Some("connect = [\"a.example:443/tcp\"]".into()),
            address: Some("192.0.2.1".into()),
            port: 443,
            protocol: Protocol::Tcp,
            expires_s: Some(28),
            attempts: 3,
            packets: 40,
            bytes: 5000,
        };
        assert_eq!(row(&rule)[1..], ["192.0.2.1", "443/tcp", "28 s", "3", "40", "5000"]);
        rule.address = None;
        rule.expires_s = Some(0);
        assert_eq!(row(&rule)[1..4], ["(not looked up)", "443/tcp", "over"]);
        rule.direction = Direction::Listen;
        rule.expires_s = None;
        assert_eq!(row(&rule)[1..4], ["-", "443/tcp", "-"]);
    }
}
