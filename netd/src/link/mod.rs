//! Links and addresses: what is there, what each is to have, and what stands between the device and a usable network.
//!
//! The kernel is the truth: whenever it says that something changed, everything is read anew. IPv6 addresses and routes by
//! router advertisement are the kernel's own business. What a link is to have follows from `network.toml`; one of which
//! nothing is said asks by DHCP.
//!
//! An attacker is anybody on the link: see `dhcp`.

pub mod arp;
pub mod dhcp;
pub mod kernel;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use crate::config::{Config, LinkConfig};
use crate::state::{Link, NetState, Stage};
use dhcp::wire::Lease;
use dhcp::{Held, Lessee, run as ask};
use kernel::Kernel;

/// Changes come in bursts.
const BURST: Duration = Duration::from_millis(10);
/// How soon what the kernel refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Links that are looked after.
const LINKS_MAX: usize = 32;

/// A link that asks by DHCP.
struct Asking {
    carrier: watch::Sender<bool>,
    held: watch::Receiver<Held>,
    /// What is on the link.
    used: Option<Lease>,
    client: JoinHandle<()>,
    watcher: JoinHandle<()>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.client.abort();
        self.watcher.abort();
    }
}

/// Looks after links for ever. Must run in a `LocalSet`.
///
/// # Errors
/// No netlink socket can be had.
pub async fn run(mut config: watch::Receiver<Config>, state: watch::Sender<NetState>) -> io::Result<()> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, handle, mut changes) = rtnetlink::new_multicast_connection(&groups)?;
    spawn_local(connection);
    let mut links =
        Links { kernel: Kernel::new(handle), asking: BTreeMap::new(), news: Rc::new(Notify::new()) };
    loop {
        let now = config.borrow_and_update().clone();
        let again = match links.settle(&now).await {
            Ok((net, failed)) => {
                say_changes(&state.borrow(), &net);
                state.send_if_modified(|old| {
                    let changed = *old != net;
                    *old = net;
                    changed
                });
                failed.then_some(RETRY)
            }
            Err(e) => {
                eprintln!("links: {e}");
                Some(RETRY)
            }
        };
        let news = links.news.clone();
        tokio::select! {
            changed = config.changed() => if changed.is_err() { return Ok(()); },
            _ = changes.next() => sleep(BURST).await,
            () = news.notified() => {}
            () = sleep(again.unwrap_or(Duration::MAX)) => {}
        }
        // What came meanwhile is in what is read next.
        while changes.try_recv().is_ok() {}
    }
}

struct Links {
    kernel: Kernel,
    asking: BTreeMap<u32, Asking>,
    news: Rc<Notify>,
}

impl Links {
    /// Brings every link to what it is to be: what is there then, and whether something was refused.
    async fn settle(&mut self, config: &Config) -> Result<(NetState, bool), rtnetlink::Error> {
        let links = self.kernel.links().await?;
        self.asking.retain(|index, _| links.iter().any(|link| link.index == *index));
        let unsaid = LinkConfig::default();
        let mut failed = false;
        for link in links.iter().filter(|link| !link.loopback).take(LINKS_MAX) {
            let wanted = config.link(&link.name, link.hardware_address).unwrap_or(&unsaid);
            // What the kernel refuses one link is no matter of the others.
            if let Err(e) = self.settle_one(link, wanted).await {
                eprintln!("net: {}: {e}", link.name);
                failed = true;
            }
        }
        let mut links = self.kernel.links().await?;
        for link in links.iter_mut().filter(|link| !link.loopback) {
            link.missing = missing(link);
        }
        let leases = || self.asking.values().filter_map(|asking| asking.used.as_ref());
        let state = NetState {
            name_servers: leases()
                .flat_map(|lease| lease.name_servers.iter().copied().map(IpAddr::V4))
                .collect(),
            time_servers: leases().flat_map(|lease| lease.time_servers.iter().copied()).collect(),
            links,
        };
        Ok((state, failed))
    }

    async fn settle_one(&mut self, link: &Link, wanted: &LinkConfig) -> Result<(), rtnetlink::Error> {
        if !link.up {
            // One without a carrier is up already, and this changes nothing.
            self.kernel.up(link.index).await?;
        }
        for (address, prefix) in wanted.addresses.iter().filter(|wanted| !link.addresses.contains(wanted)) {
            self.kernel.add(link.index, *address, *prefix).await?;
        }
        if let Some(gateway) = wanted.gateway.filter(|gateway| link.up && !link.gateways.contains(gateway)) {
            let any = if gateway.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
            self.kernel.route(link.index, (any, 0), gateway).await?;
        }
        let Some(mac) = link.hardware_address.filter(|_| wanted.dhcp4) else {
            if let Some(lease) = self.asking.remove(&link.index).and_then(|mut asking| asking.used.take()) {
                self.kernel.drop_address(link.index, lease.address.into(), lease.prefix).await?;
            }
            return Ok(());
        };
        let news = self.news.clone();
        let asking = self.asking.entry(link.index).or_insert_with(|| begin(link, mac, news));
        asking.carrier.send_if_modified(|up| std::mem::replace(up, link.up) != link.up);
        let renewed = asking.held.has_changed().unwrap_or(false);
        let held = asking.held.borrow_and_update().clone();
        let lease = if let Held::Leased(lease, end) = held { Some((lease, end)) } else { None };
        let now = lease.as_ref().map(|(lease, _)| (lease.address, lease.prefix));
        if let Some(old) = asking.used.take_if(|old| Some((old.address, old.prefix)) != now) {
            self.kernel.drop_address(link.index, old.address.into(), old.prefix).await?;
        }
        let Some((lease, end)) = lease else { return Ok(()) };
        // Somebody may have taken it from the link meanwhile; the kernel does when the link goes down.
        let there = link.addresses.contains(&(lease.address.into(), lease.prefix))
            && (lease.routes.is_empty() || !link.up || !link.gateways.is_empty());
        // Whatever becomes of its routes, the address is on the link from here.
        asking.used = Some(lease.clone());
        if renewed || !there {
            let left = end.saturating_duration_since(Instant::now());
            self.kernel.lease(link.index, &lease, left).await?;
        }
        Ok(())
    }
}

/// Says which links came up and went down.
fn say_changes(before: &NetState, now: &NetState) {
    let was = |name: &str| before.links.iter().find(|link| link.name == name).is_some_and(|link| link.up);
    for link in now.links.iter().filter(|link| !link.loopback && link.up != was(&link.name)) {
        eprintln!("net: {} {}", link.name, if link.up { "up" } else { "down" });
    }
}

fn begin(link: &Link, mac: [u8; 6], news: Rc<Notify>) -> Asking {
    let (carrier, carried) = watch::channel(false);
    let (holds, held) = watch::channel(Held::Nothing);
    let lessee = Lessee { index: link.index, name: link.name.clone(), mac, found: None };
    let client = spawn_local(ask(lessee, carried, holds));
    let mut watched = held.clone();
    let watcher = spawn_local(async move {
        while watched.changed().await.is_ok() {
            news.notify_one();
        }
    });
    Asking { carrier, held, used: None, client, watcher }
}

/// What stands between this link and hosts elsewhere, as far as a link can say.
fn missing(link: &Link) -> Option<Stage> {
    let global = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    match () {
        () if !link.up => Some(Stage::Link),
        () if !link.addresses.iter().any(|(address, _)| global(address)) => Some(Stage::Address),
        () if link.gateways.is_empty() => Some(Stage::Route),
        () => None,
    }
}
