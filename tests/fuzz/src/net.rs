//! What the network daemon reads: questions of apps, answers of name servers, grants of DHCP servers, its configuration, and
//! what it and `sandboxd` say to each other.

use std::net::IpAddr;

use bus::network_link::{FromNetd, ToNetd};
use netd::config::Config;
use netd::dns::answer::{ANSWER_MAX, Answered};
use netd::dns::because::Because;
use netd::dns::cache::Heard;
use netd::dns::question::{Asked, Fault};
use netd::dns::{ADDRESSES_MAX, Kind, reply};
use netd::link::advert::{self, Advised};
use netd::link::arp;
use netd::link::dhcp::machine::{Action, Machine};
use netd::link::dhcp::{frame, wire};

use crate::encodes_to_itself;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// An app's question: whatever it is, what it is answered fits into a datagram and can be read by others.
pub fn question(bytes: &[u8]) {
    let asked = match Asked::read(bytes) {
        Ok(asked) => asked,
        Err(Fault::Reply(reply)) => return assert!(simple_dns::Packet::parse(&reply).is_ok()),
        Err(Fault::Nonsense) => return,
    };
    let address: IpAddr =
        if asked.kind() == Some(Kind::Aaaa) { [0xfd; 16].into() } else { [192, 0, 2, 1].into() };
    let refused = Answered::Refused(Because::not_listed(&asked.name));
    for answered in [Answered::Addresses(vec![address; ADDRESSES_MAX], 60), refused, Answered::NoName] {
        let answer = asked.answer(&answered);
        assert!(answer.len() <= ANSWER_MAX, "{} bytes", answer.len());
        assert_eq!(answer.get(..2), bytes.get(..2), "the number of the question");
        let end = bytes.len().min(answer.len()).min(16);
        assert_eq!(answer.get(12..end), bytes.get(12..end), "the question as it was asked");
    }
}

/// A name server's answer: bounded, of the kind that was asked for, and none to another question.
pub fn answer(bytes: &[u8]) {
    // Nobody knows the number of a question; the fuzzer would not find it.
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    assert!(reply::read(bytes, !id, "a.example", Kind::A).is_err());
    for kind in [Kind::A, Kind::Aaaa] {
        if let Ok((Heard::Addresses(addresses), ttl_s)) = reply::read(bytes, id, "a.example", kind) {
            assert!((1..=ADDRESSES_MAX).contains(&addresses.len()) && (1..=86_400).contains(&ttl_s));
            assert!(addresses.iter().all(|address| address.is_ipv6() == (kind == Kind::Aaaa)));
        }
    }
}

/// What a DHCP server sends, one message after the other: what is in use is what was granted, for as long as that.
pub fn lease(bytes: &[u8]) {
    let client = wire::Client { mac: MAC, host_name: Some("pump-7".to_owned()) };
    let (mut machine, mut used, mut now_ms) = (Machine::default(), None, 0);
    machine.carrier(true, now_ms, 1);
    for (message, random) in bytes.chunks(320).zip(2..) {
        now_ms += 1000;
        let xid = message.get(4..8).and_then(|xid| xid.try_into().ok()).map_or(0, u32::from_be_bytes);
        let Some(reply) = wire::read(message, xid, MAC) else { continue };
        let mut actions = machine.received(reply, now_ms, random);
        // Nobody has the address that the link is asked for.
        while machine.watched().is_some_and(|(_, ours)| !ours) {
            now_ms = machine.deadline_ms().unwrap_or(now_ms);
            actions.extend(machine.due(now_ms, random));
        }
        for action in actions {
            match action {
                Action::Use(lease) => {
                    assert!(lease.renew_s <= lease.rebind_s && lease.rebind_s <= lease.lease_s);
                    assert!(lease.routes.len() <= 16 && lease.name_servers.len() <= 4);
                    used = Some(lease);
                }
                Action::Drop(address) => assert_eq!(used.take().map(|lease| lease.address), Some(address)),
                Action::Send(ask, _) => assert!(wire::write(&ask, machine.xid(), &client, 0).len() >= 300),
                Action::Probe(_) | Action::Announce(_) => {}
            }
        }
        assert_eq!(machine.lease(), used.as_ref());
    }
}

/// A frame of a link, as a message of a DHCP server and as ARP: what is inside is no more than was there.
pub fn frame(bytes: &[u8]) {
    if let Some(message) = frame::message(bytes) {
        assert!(message.len() + 42 <= bytes.len());
    }
    let address = bytes.get(28..32).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).unwrap_or_default();
    if arp::disputes(bytes, MAC, address.into(), true) {
        assert!(bytes.len() >= arp::FRAME && arp::disputes(bytes, MAC, address.into(), false));
    }
}

/// What the kernel passes on of routers, one message after the other: bounded, and over when its time is.
pub fn advert(bytes: &[u8]) {
    let mut advised = Advised::default();
    for (message, now_ms) in bytes.chunks(92).zip((0..).step_by(1000)) {
        let Some(advert) = advert::read(message) else { continue };
        advised.take(&advert, now_ms);
        assert!(advised.servers(now_ms).len() <= 32 * 4);
        assert!(advised.deadline_ms(now_ms).is_none_or(|end| end > now_ms));
        assert_ne!(advised.deadline_ms(now_ms).is_some(), advised.servers(now_ms).is_empty());
    }
}

/// A configuration: a fault that can be shown, or one within bounds.
pub fn network(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Config>() {
        Ok(config) => assert!(config.links.len() <= 16 && config.dns.servers.len() <= 16),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// Messages of `sandboxd` and netd: each encodes to itself, no longer.
pub fn netlink(bytes: &[u8]) {
    encodes_to_itself(bytes, ToNetd::decode, ToNetd::encode);
    encodes_to_itself(bytes, FromNetd::decode, FromNetd::encode);
}
