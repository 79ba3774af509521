//! What stops an app from reaching somebody, looked for in the order in which it would be met.

use std::net::IpAddr;

use bus::interfaces::network::{Obstacle, WhyConnectReply};
use policy::HostPort;

use super::shown::connect_line;
use crate::apps::AppPolicy;
use crate::dns::address::{Class, class};

/// What can be said without asking anybody.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum First {
    /// That is the answer.
    Said(WhyConnectReply<'static>),
    /// The name has to be looked up.
    Resolve {
        /// The line that names it.
        line: String,
    },
}

/// Looks at the manifest. `network` is what is missing of the network, for people.
pub(super) fn first(
    app: &str,
    policy: Option<&AppPolicy>,
    wanted: &HostPort,
    network: Option<&str>,
    in_kernel: impl Fn(IpAddr) -> bool,
) -> First {
    let line = connect_line(&wanted.to_string());
    let Some(policy) = policy else {
        let because = format!(
            "{app} is not installed, or its manifest has no line below [network]; that would be: {line}"
        );
        return First::Said(no(Obstacle::App, because, Some(line)));
    };
    let host = wanted.host();
    let same = |to: &&HostPort| {
        to.port() == wanted.port() && (to.host() == host || to.host().is_local() && host.is_local())
    };
    let Some(found) = policy.connect.iter().find(same) else {
        let because =
            format!("no line `connect` of {app} names {wanted}; add below [network] of its manifest: {line}");
        return First::Said(no(Obstacle::Manifest, because, Some(line)));
    };
    let line = connect_line(&found.to_string());
    if host.is_local() {
        return First::Said(yes(line));
    }
    if let Some(missing) = network {
        return First::Said(no(Obstacle::Network, format!("{line} allows it, but {missing}"), None));
    }
    match host.address() {
        None => First::Resolve { line },
        Some(address) if in_kernel(address) => First::Said(yes(line)),
        Some(_) => First::Said(unruled(&line)),
    }
}

/// Looks at what a name leads to. `own` are the device's addresses.
pub(super) fn second(
    line: &str,
    policy: &AppPolicy,
    wanted: &HostPort,
    found: &[IpAddr],
    own: &[IpAddr],
) -> WhyConnectReply<'static> {
    let host = wanted.host();
    let private = policy.private.contains(host);
    let passes = |address: &&IpAddr| match class(**address, own) {
        Class::Open => true,
        Class::Private => private,
        Class::Never(_) => false,
    };
    if let Some(address) = found.iter().find(passes) {
        return yes(format!("{line}; {host} is {address}, which is allowed once the app looks the name up"));
    }
    match found.first().map(|address| (address, class(*address, own))) {
        None => {
            let because = format!("{line} allows it, but {host} has no address, or no name server knows it");
            no(Obstacle::Name, because, None)
        }
        Some((address, Class::Never(what))) => {
            let because = format!("{host} is {address}: {what}, which no name may lead an app to");
            no(Obstacle::Address, because, None)
        }
        Some((address, _)) => {
            let line = format!("private = [\"{host}\"]");
            let because = format!(
                "{host} is {address}, of a private network; if it is meant to be, add below [network]: {line}"
            );
            no(Obstacle::Address, because, Some(line))
        }
    }
}

fn unruled(line: &str) -> WhyConnectReply<'static> {
    let because = format!("{line} allows it, but the kernel has no rule; see the log of os.gabion.net");
    no(Obstacle::Firewall, because, None)
}

fn yes(because: String) -> WhyConnectReply<'static> {
    WhyConnectReply { allowed: true, obstacle: None, because: because.into(), manifest_line: None }
}

fn no(obstacle: Obstacle, because: String, line: Option<String>) -> WhyConnectReply<'static> {
    let manifest_line = line.map(Into::into);
    WhyConnectReply { allowed: false, obstacle: Some(obstacle), because: because.into(), manifest_line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(private: &[&str]) -> AppPolicy {
        let connect = ["a.example:443/tcp", "192.0.2.1:1/tcp", "localhost:1883/tcp"];
        AppPolicy {
            uid: 10_000,
            id: "com.example.a".to_owned(),
            connect: connect.map(|to| to.parse().unwrap()).to_vec(),
            listen: Vec::new(),
            private: private.iter().map(|host| host.parse().unwrap()).collect(),
        }
    }

    fn said(
        policy: Option<&AppPolicy>,
        to: &str,
        network: Option<&str>,
        in_kernel: bool,
    ) -> (bool, Option<Obstacle>, Option<String>) {
        match first("com.example.a", policy, &to.parse().unwrap(), network, |_| in_kernel) {
            First::Said(reply) => {
                (reply.allowed, reply.obstacle, reply.manifest_line.map(|line| line.into_owned()))
            }
            First::Resolve { line } => (false, None, Some(line)),
        }
    }

    #[test]
    fn first_obstacle_is_named_with_the_line_that_would_help() {
        let policy = policy(&[]);
        let line = |to: &str| Some(format!("connect = [\"{to}\"]"));
        let no = |obstacle, line| (false, Some(obstacle), line);
        assert_eq!(said(None, "a.example:443/tcp", None, true), no(Obstacle::App, line("a.example:443/tcp")));
        for to in ["b.example:443/tcp", "a.example:444/tcp", "a.example:443/udp", "192.0.2.2:1/tcp"] {
            assert_eq!(said(Some(&policy), to, None, true), no(Obstacle::Manifest, line(to)), "{to}");
        }
        let off = Some("link: no cable");
        assert_eq!(said(Some(&policy), "a.example:443/tcp", off, true), no(Obstacle::Network, None));
        assert_eq!(said(Some(&policy), "192.0.2.1:1/tcp", None, false), no(Obstacle::Firewall, None));
        assert_eq!(said(Some(&policy), "192.0.2.1:1/tcp", None, true), (true, None, None));
        assert_eq!(said(Some(&policy), "127.0.0.1:1883/tcp", off, false), (true, None, None));
        let resolve = said(Some(&policy), "a.example:443/tcp", None, false);
        assert_eq!(resolve, (false, None, line("a.example:443/tcp")));
    }

    #[test]
    fn address_of_a_name_is_allowed_as_the_resolver_would() {
        let own = ["203.0.113.9".parse().unwrap()];
        let to = "a.example:443/tcp".parse().unwrap();
        let asked = |private: &[&str], found: &[&str]| {
            let found: Vec<IpAddr> = found.iter().map(|address| address.parse().unwrap()).collect();
            let reply = second("line", &policy(private), &to, &found, &own);
            (reply.obstacle, reply.manifest_line.map(|line| line.into_owned()))
        };
        assert_eq!(asked(&[], &["192.0.2.9"]), (None, None));
        assert_eq!(asked(&[], &["10.0.0.1", "192.0.2.9"]), (None, None));
        assert_eq!(asked(&[], &[]), (Some(Obstacle::Name), None));
        let private = Some("private = [\"a.example\"]".to_owned());
        assert_eq!(asked(&[], &["10.0.0.1"]), (Some(Obstacle::Address), private));
        assert_eq!(asked(&["a.example"], &["10.0.0.1"]), (None, None));
        for never in ["127.0.0.1", "203.0.113.9", "::ffff:10.0.0.1"] {
            assert_eq!(asked(&["a.example"], &[never]), (Some(Obstacle::Address), None), "{never}");
        }
    }
}
