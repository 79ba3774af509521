//! The loop: one conversation on each link that has an address, for as long as it has.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::records::Identity;
use super::responder::{MOST_BYTES, Responder};
use super::sockets::Sockets;
use crate::state::{Link, NetState};

/// Links that are served.
const MOST_LINKS: usize = 8;

/// Until a link is tried again whose sockets could not be opened.
const RETRY: Duration = Duration::from_secs(5);

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether the device is announced.
    pub announce: bool,
    /// On which links, by name; on every one if none is named.
    pub links: Vec<String>,
}

/// What the others tell.
pub struct Inputs {
    /// The configuration.
    pub settings: watch::Receiver<Settings>,
    /// The links.
    pub net: watch::Receiver<NetState>,
    /// Where a developer is let in; 0 for nowhere.
    pub door: watch::Receiver<u16>,
    /// What is told of the device.
    pub identity: Identity,
}

/// One link that is served.
struct Served {
    link: Link,
    sockets: Sockets,
    responder: Responder,
}

/// Announces the device until one of those who tell something is gone, and then says goodbye.
///
/// # Errors
/// The kernel has no random bytes.
pub async fn run(mut inputs: Inputs) -> io::Result<()> {
    let begin = Instant::now();
    let now_ms = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut served: Vec<Served> = Vec::new();
    // One for all: only what a message says outlives it.
    let mut bytes = vec![0; MOST_BYTES];
    loop {
        let port = *inputs.door.borrow_and_update();
        if inputs.identity.port != port {
            // Others keep what they heard for an hour, unless they are told to forget it.
            served.drain(..).for_each(|one| goodbye(&one));
            inputs.identity.port = port;
        }
        let wanted = wanted(&inputs.settings.borrow_and_update(), &inputs.net.borrow_and_update());
        let is_whole = update(&mut served, &wanted, &inputs.identity, now_ms())?;
        let retry = (!is_whole).then(|| Instant::now() + RETRY);
        let is_over = loop {
            for one in &mut served {
                while let Some(sent) = one.responder.poll(now_ms()) {
                    one.sockets.send(&sent);
                }
            }
            let next_ms = served.iter().filter_map(|one| one.responder.next_ms()).min();
            let due = next_ms.map(|next_ms| begin + Duration::from_millis(next_ms));
            tokio::select! {
                told = inputs.settings.changed() => break told.is_err(),
                told = inputs.net.changed() => break told.is_err(),
                told = inputs.door.changed() => break told.is_err(),
                () = at(retry) => break false,
                () = at(due) => {}
                (index, length, from) = heard(&served, &mut bytes) => {
                    if let Some(one) = served.get_mut(index) && is_on_link(&wanted, &one.link, from.ip())
                        && let Some(sent) = one.responder.handle(&bytes[..length], from, now_ms())
                    {
                        one.sockets.send(&sent);
                    }
                }
            }
        };
        if is_over {
            served.iter().for_each(goodbye);
            return Ok(());
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The next message on any link: which, its length, and from whom.
async fn heard(served: &[Served], bytes: &mut [u8]) -> (usize, usize, SocketAddr) {
    poll_fn(|context| {
        for (index, one) in served.iter().enumerate() {
            if let Poll::Ready((length, from)) = one.sockets.poll(context, bytes) {
                return Poll::Ready((index, length, from));
            }
        }
        Poll::Pending
    })
    .await
}

/// The links to serve.
fn wanted(settings: &Settings, net: &NetState) -> Vec<Link> {
    let is_wanted = |link: &&Link| {
        settings.announce
            && link.up
            && !link.loopback
            && !link.addresses.is_empty()
            && (settings.links.is_empty() || settings.links.contains(&link.name))
    };
    net.links.iter().filter(is_wanted).take(MOST_LINKS).cloned().collect()
}

/// Begins and ends conversations; whether all that are wanted are there.
fn update(served: &mut Vec<Served>, wanted: &[Link], identity: &Identity, now_ms: u64) -> io::Result<bool> {
    served.retain(|one| {
        let stays = wanted.iter().any(|link| {
            link.index == one.link.index && link.name == one.link.name && one.responder.has(&announced(link))
        });
        if !stays {
            goodbye(one);
        }
        stays
    });
    let mut is_whole = true;
    for link in wanted {
        if served.iter().any(|one| one.link.index == link.index) {
            continue;
        }
        let mut random = [0; 2];
        sys::time::random::fill(&mut random)?;
        match Sockets::open(&link.name, link.index, &link.addresses) {
            Ok(sockets) => served.push(Served {
                sockets,
                responder: Responder::new(identity, announced(link), now_ms, u16::from_le_bytes(random)),
                link: link.clone(),
            }),
            // Somebody holds the port alone, or the address went away since it was told.
            Err(_) => is_whole = false,
        }
    }
    Ok(is_whole)
}

fn goodbye(one: &Served) {
    if let Some(sent) = one.responder.goodbye() {
        one.sockets.send(&sent);
    }
}

/// The addresses that are announced on a link.
fn announced(link: &Link) -> Vec<IpAddr> {
    link.addresses.iter().map(|(address, _)| *address).collect()
}

/// Whether a message on a link is from somebody on it (RFC 6762, section 11), and not our own come back.
fn is_on_link(all: &[Link], link: &Link, from: IpAddr) -> bool {
    let is_ours = all.iter().flat_map(|link| &link.addresses).any(|(own, _)| *own == from);
    let is_near = |(own, length): &(IpAddr, u8)| match (own, from) {
        (IpAddr::V4(own), IpAddr::V4(from)) => same(own.to_bits(), from.to_bits(), 32, *length),
        (IpAddr::V6(own), IpAddr::V6(from)) => same(own.to_bits(), from.to_bits(), 128, *length),
        _ => false,
    };
    let is_link_local = matches!(from, IpAddr::V6(from) if from.is_unicast_link_local());
    !is_ours && (is_link_local || link.addresses.iter().any(is_near))
}

/// Whether two addresses of `bits` bits begin with the same `length` bits.
fn same<T: Into<u128>>(one: T, other: T, bits: u32, length: u8) -> bool {
    let differ: u128 = one.into() ^ other.into();
    differ.checked_shr(bits.saturating_sub(length.into())).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(addresses: &[(&str, u8)]) -> Link {
        Link {
            index: 2,
            name: "eth0".into(),
            hardware_address: None,
            loopback: false,
            up: true,
            addresses: addresses.iter().map(|(text, length)| (text.parse().unwrap(), *length)).collect(),
            gateways: Vec::new(),
            missing: None,
        }
    }

    #[test]
    fn message_is_taken_only_from_somebody_else_on_the_link() {
        let link = link(&[("192.0.2.7", 24), ("2001:db8::7", 64)]);
        let from = |text: &str| is_on_link(std::slice::from_ref(&link), &link, text.parse().unwrap());
        assert!(from("192.0.2.8") && from("2001:db8::8") && from("fe80::1"));
        assert!(!from("192.0.3.8") && !from("2001:db8:0:1::8") && !from("198.51.100.1"));
        assert!(!from("192.0.2.7") && !from("2001:db8::7"));
    }

    #[test]
    fn prefix_of_any_length_is_compared_without_overflow() {
        assert!(same(1_u32, u32::MAX, 32, 0) && !same(0_u32, 1, 32, 32) && same(5_u128, 4, 128, 127));
        assert!(same(0_u128, u128::MAX, 128, 0) && !same(0_u32, 1, 32, 200));
    }

    #[test]
    fn link_is_served_only_if_the_configuration_says_so() {
        let net = NetState { links: vec![link(&[("192.0.2.7", 24)])], ..NetState::default() };
        let on =
            |announce: bool, name: &str| wanted(&Settings { announce, links: vec![name.into()] }, &net).len();
        assert_eq!((on(true, "eth0"), on(false, "eth0"), on(true, "eth1")), (1, 0, 0));
    }
}
