//! How far the network can be used, and the first stage that is missing.

use std::net::IpAddr;

use bus::interfaces::network::{Reach, Stage};

use crate::dns::trouble::Trouble;
use crate::state::{Link, NetState};

/// What is known besides the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known<'a> {
    /// Whether there is a server to be asked for names.
    pub(super) name_server: bool,
    /// Whether one answered when it was last asked, or why not; `None` before.
    pub(super) names: Option<Result<(), &'a Trouble>>,
    /// Whether a server has set the clock.
    pub(super) time: bool,
}

/// How far, and the first stage that is missing.
pub(super) fn status(net: &NetState, known: Known<'_>) -> (Reach, Option<Stage>) {
    let best = net.links.iter().filter(|link| !link.loopback).map(missing).max_by_key(|stage| *stage as u8);
    match best {
        None | Some(Have::Nothing) => (Reach::Offline, Some(Stage::Link)),
        Some(Have::Carrier) => (Reach::Link, Some(Stage::Address)),
        Some(Have::Address) => (Reach::Local, Some(Stage::Route)),
        Some(Have::Route) if !known.name_server || matches!(known.names, Some(Err(_))) => {
            (Reach::Local, Some(Stage::Names))
        }
        Some(Have::Route) if !known.time => (Reach::Online, Some(Stage::Time)),
        Some(Have::Route) => (Reach::Online, None),
    }
}

/// What is missing, and what to do.
pub(super) fn reason(stage: Stage, net: &NetState, known: Known<'_>) -> String {
    let names = |of: Have| {
        let found: Vec<_> =
            net.links.iter().filter(|link| !link.loopback && missing(link) == of).map(|l| &*l.name).collect();
        found.join(", ")
    };
    match stage {
        Stage::Link => match names(Have::Nothing) {
            none if none.is_empty() => {
                "link: the device has no network interface that its kernel knows; check its driver".to_owned()
            }
            links => format!("link: {links} has no carrier; check the cable and what is at its other end"),
        },
        Stage::Address => format!(
            "address: {} is up and nobody gave it an address; check the DHCP server, or give it a fixed one with \
             `gabion net configure`",
            names(Have::Carrier)
        ),
        Stage::Route => format!(
            "route: {} has an address and no router; the local network can be reached, nothing beyond it",
            names(Have::Address)
        ),
        Stage::Names if !known.name_server => {
            "names: nobody named a name server; name one as [dns] servers with `gabion net configure`"
                .to_owned()
        }
        Stage::Names => match known.names {
            Some(Err(trouble)) => format!(
                "names: no name server answers ({trouble}); check the way to it, and [dns] of the configuration"
            ),
            Some(Ok(())) | None => "names: no name server answers; check the way to them".to_owned(),
        },
        Stage::Time => {
            "time: no time server has set the clock, so certificates may be refused; `gabion time` says \
                        which servers were asked"
                .to_owned()
        }
    }
}

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Have {
    Nothing,
    Carrier,
    Address,
    Route,
}

fn missing(link: &Link) -> Have {
    // Every IPv6 link has such a one by itself.
    let given = |address: &IpAddr| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    match link {
        link if !link.up => Have::Nothing,
        link if !link.addresses.iter().any(|(address, _)| given(address)) => Have::Carrier,
        link if link.gateways.is_empty() => Have::Address,
        _ => Have::Route,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::trouble::Fault;

    const ALL: Known<'static> = Known { name_server: true, names: Some(Ok(())), time: true };

    fn net(up: bool, addresses: &[&str], gateways: &[&str]) -> NetState {
        let link = Link {
            index: 2,
            name: "eth0".to_owned(),
            hardware_address: None,
            loopback: false,
            up,
            addresses: addresses.iter().map(|a| (a.parse().unwrap(), 24)).collect(),
            gateways: gateways.iter().map(|a| a.parse().unwrap()).collect(),
            missing: None,
        };
        let lo = Link { loopback: true, name: "lo".to_owned(), up: true, index: 1, ..link.clone() };
        NetState { links: vec![lo, link], ..NetState::default() }
    }

    #[test]
    fn first_stage_that_is_missing_is_named_with_what_to_do() {
        let whole = net(true, &["192.0.2.7"], &["192.0.2.1"]);
        let unnamed = Known { name_server: false, names: None, ..ALL };
        let trouble = Trouble::Server(([192, 0, 2, 53], 53).into(), Fault::Silent);
        let silent = Known { names: Some(Err(&trouble)), ..ALL };
        let cases = [
            (net(false, &["192.0.2.7"], &["192.0.2.1"]), ALL, Reach::Offline, Stage::Link, "eth0"),
            (net(true, &["fe80::1"], &[]), ALL, Reach::Link, Stage::Address, "DHCP"),
            (net(true, &["192.0.2.7"], &[]), ALL, Reach::Local, Stage::Route, "router"),
            (whole.clone(), unnamed, Reach::Local, Stage::Names, "[dns] servers"),
            (whole.clone(), silent, Reach::Local, Stage::Names, "192.0.2.53:53: no answer"),
            (whole.clone(), Known { time: false, ..ALL }, Reach::Online, Stage::Time, "clock"),
        ];
        for (net, known, reach, stage, said) in cases {
            assert_eq!(status(&net, known), (reach, Some(stage)));
            let reason = reason(stage, &net, known);
            assert!(reason.contains(said), "{reason}");
        }
        assert_eq!(status(&whole, ALL), (Reach::Online, None));
        assert_eq!(status(&whole, Known { names: None, ..ALL }), (Reach::Online, None));
        assert_eq!(status(&NetState::default(), ALL).1, Some(Stage::Link));
    }

    #[test]
    fn best_of_several_links_counts() {
        let mut two = net(true, &["192.0.2.7"], &["192.0.2.1"]);
        two.links.extend(net(false, &[], &[]).links);
        assert_eq!(status(&two, ALL), (Reach::Online, None));
    }
}
