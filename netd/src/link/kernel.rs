//! What the kernel knows of links, and telling it what to do: rtnetlink.
//!
//! What holds: every address and route of ours bears a mark in the kernel (`IFA_PROTO`, `RTA_PROTOCOL`) that says where it is
//! from. So the kernel is our memory: whoever starts after a netd that died knows what is ours, and takes away what is not
//! to be there any more. What is not marked is not touched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkFlags, LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

use super::dhcp::wire::Lease;
use crate::state::Link;

/// Our routes have this metric and the link's index more: of two links the first is preferred.
const METRIC: u32 = 100;

/// The kernel's side of links.
#[derive(Clone, Debug)]
pub struct Kernel(Handle);

/// Where what is ours is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration.
    Fixed,
    /// A DHCP server.
    Leased,
}

/// A link as the kernel has it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What all others are told of it.
    pub link: Link,
    /// Whether it may have IPv6.
    pub ipv6: bool,
    /// Its addresses, those included that can not be used yet.
    pub addresses: Vec<Address>,
    /// Its routes that are ours.
    pub routes: Vec<Route>,
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// With the length of its prefix.
    pub at: (IpAddr, u8),
    /// Whether it is ours.
    pub origin: Option<Origin>,
    /// Seconds that are left of it.
    pub left_s: u32,
}

/// A route by way of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whence.
    pub origin: Origin,
    /// Network and the length of its prefix.
    pub to: (IpAddr, u8),
    /// The router.
    pub router: IpAddr,
}

impl Kernel {
    /// By this connection, which somebody has to drive.
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// Every link with its addresses and default routers, by index.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn links(&self) -> Result<Vec<Seen>, Error> {
        let mut links: Vec<Seen> = Vec::new();
        let mut messages = self.0.link().get().execute();
        while let Some(message) = messages.try_next().await? {
            let link = read_link(&message);
            let ipv6 = has_ipv6(&message);
            links.extend(link.map(|link| Seen { link, ipv6, addresses: Vec::new(), routes: Vec::new() }));
        }
        let mut messages = self.0.address().get().execute();
        while let Some(message) = messages.try_next().await? {
            let seen = links.iter_mut().find(|seen| seen.link.index == message.header.index);
            if let (Some(seen), Some(address)) = (seen, read_address(&message)) {
                if is_usable(&message) {
                    seen.link.addresses.push(address.at);
                }
                seen.addresses.push(address);
            }
        }
        for query in
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let mut messages = self.0.route().get(query).execute();
            while let Some(message) = messages.try_next().await? {
                let Some((index, to, router)) = read_route(&message) else { continue };
                let Some(seen) = links.iter_mut().find(|seen| seen.link.index == index) else { continue };
                if to.1 == 0 {
                    seen.link.gateways.push(router);
                }
                let origin = Origin::of_route(message.header.protocol);
                seen.routes.extend(origin.map(|origin| Route { origin, to, router }));
            }
        }
        links.sort_by_key(|seen| seen.link.index);
        Ok(links)
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn up(&self, index: u32) -> Result<(), Error> {
        self.0.link().set(LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build()).execute().await
    }

    /// Gives a link a fixed address.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn add(&self, index: u32, (address, prefix): (IpAddr, u8)) -> Result<(), Error> {
        let mut request = self.0.address().add(index, address, prefix).replace();
        request.message_mut().attributes.push(AddressAttribute::Protocol(Origin::Fixed.of_addresses()));
        request.execute().await
    }

    /// Gives a link the address of a lease, for as long as that is. The kernel takes the address back by itself when it is
    /// over, whatever became of us.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn lease(&self, index: u32, lease: &Lease, left: Duration) -> Result<(), Error> {
        // Not 0, which the kernel refuses; forever is more than any lease.
        let left_s = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1);
        let mut request = self.0.address().add(index, lease.address.into(), lease.prefix).replace();
        let mut life = CacheInfo::default();
        life.ifa_preferred = left_s;
        life.ifa_valid = left_s;
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::CacheInfo(life));
        attributes.push(AddressAttribute::Protocol(Origin::Leased.of_addresses()));
        request.execute().await?;
        if let Some(mtu) = lease.mtu {
            let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).mtu(mtu.into()).build();
            self.0.link().set(message).execute().await?;
        }
        Ok(())
    }

    /// Takes an address from a link.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn drop_address(&self, index: u32, at: (IpAddr, u8)) -> Result<(), Error> {
        let mut messages = self.0.address().get().set_link_index_filter(index).execute();
        let mut found = None;
        while let Some(message) = messages.try_next().await? {
            if read_address(&message).is_some_and(|address| address.at == at) {
                found = Some(message);
            }
        }
        match found {
            Some(message) => self.0.address().del(message).execute().await,
            None => Ok(()),
        }
    }

    /// Adds or replaces a route.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn route(&self, index: u32, route: &Route) -> Result<(), Error> {
        match message(index, route) {
            Some(message) => self.0.route().add(message).replace().execute().await,
            None => Ok(()),
        }
    }

    /// Takes a route away.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn drop_route(&self, index: u32, route: &Route) -> Result<(), Error> {
        match message(index, route) {
            Some(message) => self.0.route().del(message).execute().await,
            None => Ok(()),
        }
    }
}

impl Origin {
    fn of_routes(self) -> RouteProtocol {
        match self {
            Self::Fixed => RouteProtocol::Static,
            Self::Leased => RouteProtocol::Dhcp,
        }
    }

    fn of_route(protocol: RouteProtocol) -> Option<Self> {
        [Self::Fixed, Self::Leased].into_iter().find(|origin| origin.of_routes() == protocol)
    }

    /// The same numbers as for routes, which the kernel leaves to us.
    fn of_addresses(self) -> AddressProtocol {
        AddressProtocol::Other(self.of_routes().into())
    }

    fn of_address(protocol: AddressProtocol) -> Option<Self> {
        [Self::Fixed, Self::Leased].into_iter().find(|origin| origin.of_addresses() == protocol)
    }
}

fn message(index: u32, route: &Route) -> Option<RouteMessage> {
    let metric = METRIC + index;
    match (route.to.0, route.router) {
        (IpAddr::V4(network), IpAddr::V4(router)) => Some(
            RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network, route.to.1)
                .gateway(router)
                .output_interface(index)
                .priority(metric)
                .protocol(route.origin.of_routes())
                .build(),
        ),
        (IpAddr::V6(network), IpAddr::V6(router)) => Some(
            RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(network, route.to.1)
                .gateway(router)
                .output_interface(index)
                .priority(metric)
                .protocol(route.origin.of_routes())
                .build(),
        ),
        _ => None,
    }
}

fn read_link(message: &LinkMessage) -> Option<Link> {
    let name = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let hardware_address = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    let flags = message.header.flags;
    Some(Link {
        index: message.header.index,
        name,
        hardware_address,
        loopback: message.header.link_layer_type == LinkLayerType::Loopback,
        up: flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp),
        addresses: Vec::new(),
        gateways: Vec::new(),
        missing: None,
    })
}

fn has_ipv6(message: &LinkMessage) -> bool {
    let families = message.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::AfSpecUnspec(families) => Some(families),
        _ => None,
    });
    let inet6 = families.flatten().filter_map(|family| match family {
        AfSpecUnspec::Inet6(inet6) => Some(inet6),
        _ => None,
    });
    !inet6.flatten().any(|said| matches!(said, AfSpecInet6::DevConf(conf) if conf.disable_ipv6 != 0))
}

/// Not one that IPv6 still looks for on the link, or found there.
fn is_usable(message: &AddressMessage) -> bool {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
    !flags.is_some_and(|flags| flags.intersects(unusable) && !flags.contains(AddressFlags::Optimistic))
}

fn read_address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut any, mut origin, mut left_s) = (None, None, None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => any = Some(*address),
            AddressAttribute::Protocol(protocol) => origin = Origin::of_address(*protocol),
            AddressAttribute::CacheInfo(life) => left_s = life.ifa_valid,
            _ => {}
        }
    }
    // Of IPv4 the local one; IPv6 has one alone.
    local.or(any).map(|address| Address { at: (address, message.header.prefix_len), origin, left_s })
}

/// A route by way of a router: the link, where it leads, the router.
fn read_route(message: &RouteMessage) -> Option<(u32, (IpAddr, u8), IpAddr)> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let (mut index, mut router, mut network) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(gateway) => router = address(gateway),
            RouteAttribute::Destination(destination) => network = address(destination),
            _ => {}
        }
    }
    let router = router?;
    // The kernel does not name the network of a default route.
    let any = if router.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Some((index?, (network.unwrap_or(any), message.header.destination_prefix_length), router))
}
