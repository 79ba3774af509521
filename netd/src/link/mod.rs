//! Links and addresses: what is there, what each is to have, and what stands between the device and a usable network.
//!
//! The kernel is the truth: whenever it says that something changed, everything is read anew, what is to be there is added,
//! and what of ours is not to be there any more is taken away, whoever of us put it there. IPv6 addresses and routes by
//! router advertisement are the kernel's own business. What a link is to have follows from `network.toml`; one of which
//! nothing is said asks by DHCP.
//!
//! An attacker is anybody on the link: see `dhcp`.

pub mod advert;
pub mod arp;
pub mod dhcp;
pub mod kernel;
mod routers;

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
use dhcp::wire::{Client, Lease};
use dhcp::{Held, Lessee, run as ask};
use kernel::{Address, Kernel, Origin, Route, Seen};
use routers::{Heard, Routers};

/// Changes come in bursts.
const BURST: Duration = Duration::from_millis(10);
/// How soon what the kernel refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Links that are looked after.
const LINKS_MAX: usize = 32;

/// A link that asks by DHCP.
struct Asking {
    /// Who asks.
    client: Client,
    carrier: watch::Sender<bool>,
    held: watch::Receiver<Held>,
    asker: JoinHandle<()>,
    watcher: JoinHandle<()>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.asker.abort();
        self.watcher.abort();
    }
}

/// Looks after links for ever. Must run in a `LocalSet`. `ipv6` switches a link's IPv6, soon: that is not ours to do.
///
/// # Errors
/// No netlink socket can be had.
pub async fn run(
    mut config: watch::Receiver<Config>,
    state: watch::Sender<NetState>,
    ipv6: impl Fn(&str, bool),
) -> io::Result<()> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let (connection, handle, mut changes) = rtnetlink::new_multicast_connection(&groups)?;
    spawn_local(connection);
    let heard = Heard::open()?;
    let mut links = Links {
        kernel: Kernel::new(handle),
        asking: BTreeMap::new(),
        routers: Routers::default(),
        news: Rc::new(Notify::new()),
    };
    let began = Instant::now();
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    loop {
        let now = config.borrow_and_update().clone();
        let again = match links.settle(&now, now_ms(), &ipv6).await {
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
        let over = links.routers.advised.deadline_ms(now_ms());
        let over = over.map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
        tokio::select! {
            changed = config.changed() => if changed.is_err() { return Ok(()); },
            _ = changes.next() => sleep(BURST).await,
            () = news.notified() => {}
            () = heard.changed(&mut links.routers.advised, now_ms) => {}
            () = sleep(again.into_iter().chain(over).min().unwrap_or(Duration::MAX)) => {}
        }
        // What came meanwhile is in what is read next.
        while changes.try_recv().is_ok() {}
    }
}

struct Links {
    kernel: Kernel,
    asking: BTreeMap<u32, Asking>,
    routers: Routers,
    news: Rc<Notify>,
}

impl Links {
    /// Brings every link to what it is to be: what is there then, and whether something is to be tried again.
    async fn settle(
        &mut self,
        config: &Config,
        now_ms: u64,
        ipv6: &impl Fn(&str, bool),
    ) -> Result<(NetState, bool), rtnetlink::Error> {
        let links = self.kernel.links().await?;
        self.asking.retain(|index, _| links.iter().any(|seen| seen.link.index == *index));
        let unsaid = LinkConfig::default();
        let mut failed = false;
        for seen in links.iter().filter(|seen| !seen.link.loopback).take(LINKS_MAX) {
            let link = &seen.link;
            let wanted = config.link(&link.name, link.hardware_address).unwrap_or(&unsaid);
            if seen.ipv6 != wanted.ipv6 {
                // Until it is: who does it may be away just now.
                ipv6(&link.name, wanted.ipv6);
                failed = true;
            }
            // What the kernel refuses one link is no matter of the others.
            if let Err(e) = self.settle_one(seen, wanted, config.host_name.as_deref()).await {
                eprintln!("net: {}: {e}", link.name);
                failed = true;
            }
        }
        let mut links: Vec<Link> = self.kernel.links().await?.into_iter().map(|seen| seen.link).collect();
        for link in links.iter_mut().filter(|link| !link.loopback) {
            link.missing = missing(link);
        }
        self.routers.settle(&links);
        let held: Vec<_> = self.asking.values().map(|asking| asking.held.borrow()).collect();
        let leases = || held.iter().filter_map(|held| held.lease());
        let name_servers = leases().flat_map(|lease| lease.name_servers.iter().copied().map(IpAddr::V4));
        // RFC 8106, 5.3.1: what DHCP says goes before.
        let advised = self.routers.advised.servers(now_ms);
        let state = NetState {
            name_servers: name_servers.chain(advised.into_iter().map(IpAddr::V6)).collect(),
            time_servers: leases().flat_map(|lease| lease.time_servers.iter().copied()).collect(),
            links,
        };
        Ok((state, failed))
    }

    async fn settle_one(
        &mut self,
        seen: &Seen,
        wanted: &LinkConfig,
        host_name: Option<&str>,
    ) -> Result<(), rtnetlink::Error> {
        let index = seen.link.index;
        if !seen.link.up {
            // One without a carrier is up already, and this changes nothing.
            self.kernel.up(index).await?;
        }
        let held = self.held(seen, wanted, host_name);
        for address in seen.addresses.iter().filter(|address| !stays(address, wanted, &held)) {
            self.kernel.drop_address(index, address.at).await?;
        }
        let there = |at: &(IpAddr, u8)| seen.addresses.iter().any(|address| address.at == *at);
        for at in wanted.addresses.iter().filter(|at| !there(at)) {
            self.kernel.add(index, *at).await?;
        }
        if let Held::Leased(lease, end) = &held {
            let left = end.saturating_duration_since(Instant::now());
            if !seen.addresses.iter().any(|address| is_leased(address, lease, left)) {
                self.kernel.lease(index, lease, left).await?;
            }
        }
        // A link that goes down loses its routes, and takes none.
        if seen.link.up {
            self.settle_routes(seen, wanted, &held).await?;
        }
        Ok(())
    }

    async fn settle_routes(
        &self,
        seen: &Seen,
        wanted: &LinkConfig,
        held: &Held,
    ) -> Result<(), rtnetlink::Error> {
        let index = seen.link.index;
        let routes = routes(wanted, held);
        // Whose lease nobody has confirmed yet, its routes are not known.
        let stays =
            |route: &Route| routes.contains(route) || route.origin == Origin::Leased && *held == Held::Found;
        for route in seen.routes.iter().filter(|route| !stays(route)) {
            match self.kernel.drop_route(index, route).await {
                // It went with its address.
                Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -(nix::libc::ESRCH) => {}
                done => done?,
            }
        }
        for route in routes.iter().filter(|route| !seen.routes.contains(route)) {
            self.kernel.route(index, route).await?;
        }
        Ok(())
    }

    /// What the link has by DHCP.
    fn held(&mut self, seen: &Seen, wanted: &LinkConfig, host_name: Option<&str>) -> Held {
        let link = &seen.link;
        let Some(mac) = link.hardware_address.filter(|_| wanted.dhcp4) else {
            self.asking.remove(&link.index);
            return Held::Nothing;
        };
        let client = Client { mac, host_name: host_name.map(str::to_owned) };
        let news = self.news.clone();
        // Another name, or hardware address: another client, which finds the address on the link.
        self.asking.retain(|index, asking| *index != link.index || asking.client == client);
        let asking = self.asking.entry(link.index).or_insert_with(|| begin(seen, client, news));
        asking.carrier.send_if_modified(|up| std::mem::replace(up, link.up) != link.up);
        asking.held.borrow().clone()
    }
}

/// Whether this is the address of the lease, for as long as it is left: whole seconds, counted by two clocks.
fn is_leased(address: &Address, lease: &Lease, left: Duration) -> bool {
    let differs_s = u64::from(address.left_s).abs_diff(left.as_secs());
    address.at == (lease.address.into(), lease.prefix) && differs_s <= 2
}

/// Whether an address is to stay on its link: one that is not ours is, or one that is wanted.
fn stays(address: &Address, wanted: &LinkConfig, held: &Held) -> bool {
    let leased = match held {
        Held::Found => address.origin == Some(Origin::Leased),
        Held::Nothing => false,
        Held::Leased(lease, _) => (lease.address.into(), lease.prefix) == address.at,
    };
    address.origin.is_none() || wanted.addresses.contains(&address.at) || leased
}

/// The routes that a link is to have.
fn routes(wanted: &LinkConfig, held: &Held) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    if let Some(router) = wanted.gateway {
        let any = if router.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        routes.push(Route { origin: Origin::Fixed, to: (any, 0), router });
    }
    let leased = held.lease().map(|lease| lease.routes.as_slice()).unwrap_or_default();
    for (network, prefix, router) in leased {
        let to = (IpAddr::V4(*network), *prefix);
        // Of two ways to one network the kernel would keep the last: the configuration goes before, and then the first.
        if !routes.iter().any(|route| route.to == to) {
            routes.push(Route { origin: Origin::Leased, to, router: IpAddr::V4(*router) });
        }
    }
    routes
}

/// Says which links came up and went down.
fn say_changes(before: &NetState, now: &NetState) {
    let was = |name: &str| before.links.iter().find(|link| link.name == name).is_some_and(|link| link.up);
    for link in now.links.iter().filter(|link| !link.loopback && link.up != was(&link.name)) {
        eprintln!("net: {} {}", link.name, if link.up { "up" } else { "down" });
    }
}

fn begin(seen: &Seen, client: Client, news: Rc<Notify>) -> Asking {
    let found = seen.addresses.iter().find_map(|address| match address.at {
        (IpAddr::V4(at), _) if address.origin == Some(Origin::Leased) => Some((at, address.left_s)),
        _ => None,
    });
    let (carrier, carried) = watch::channel(false);
    let (holds, held) = watch::channel(if found.is_some() { Held::Found } else { Held::Nothing });
    let lessee =
        Lessee { index: seen.link.index, name: seen.link.name.clone(), client: client.clone(), found };
    let asker = spawn_local(ask(lessee, carried, holds));
    let mut watched = held.clone();
    let watcher = spawn_local(async move {
        while watched.changed().await.is_ok() {
            news.notify_one();
        }
    });
    Asking { client, carrier, held, asker, watcher }
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
