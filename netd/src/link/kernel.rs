//! What the kernel knows of links, and telling it what to do: rtnetlink.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::{Error, Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

use super::dhcp::wire::Lease;
use crate::state::Link;

/// Routes by DHCP have this metric and the link's index more: of two links the first is preferred.
const METRIC: u32 = 100;

/// The kernel's side of links.
#[derive(Clone, Debug)]
pub struct Kernel(Handle);

impl Kernel {
    /// By this connection, which somebody has to drive.
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// Every link with its addresses and default routers, by index.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let mut links: Vec<Link> = Vec::new();
        let mut messages = self.0.link().get().execute();
        while let Some(message) = messages.try_next().await? {
            links.extend(read_link(&message));
        }
        let mut messages = self.0.address().get().execute();
        while let Some(message) = messages.try_next().await? {
            let link = links.iter_mut().find(|link| link.index == message.header.index);
            if let (Some(link), Some(address)) = (link, read_address(&message)) {
                link.addresses.push(address);
            }
        }
        for query in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ] {
            let mut messages = self.0.route().get(query).execute();
            while let Some(message) = messages.try_next().await? {
                if let Some((index, gateway)) = read_default_route(&message)
                    && let Some(link) = links.iter_mut().find(|link| link.index == index)
                {
                    link.gateways.push(gateway);
                }
            }
        }
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn up(&self, index: u32) -> Result<(), Error> {
        self.0.link().set(LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build()).execute().await
    }

    /// Gives a link a fixed address, and a router.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn add(&self, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        self.0.address().add(index, address, prefix).replace().execute().await
    }

    /// Adds or replaces a route: network, length of its prefix, router.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn route(&self, index: u32, to: (IpAddr, u8), router: IpAddr) -> Result<(), Error> {
        let metric = METRIC + index;
        let message = match (to.0, router) {
            (IpAddr::V4(network), IpAddr::V4(router)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network, to.1)
                .gateway(router)
                .output_interface(index)
                .priority(metric)
                .protocol(RouteProtocol::Dhcp)
                .build(),
            (IpAddr::V6(network), IpAddr::V6(router)) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(network, to.1)
                .gateway(router)
                .output_interface(index)
                .priority(metric)
                .build(),
            _ => return Ok(()),
        };
        self.0.route().add(message).replace().execute().await
    }

    /// Gives a link the address of a lease, for as long as that is, and its routes. The kernel takes the address back by
    /// itself when it is over, whatever became of us.
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
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(life));
        request.execute().await?;
        if let Some(mtu) = lease.mtu {
            let message = LinkMessageBuilder::<LinkUnspec>::new().index(index).mtu(mtu.into()).build();
            self.0.link().set(message).execute().await?;
        }
        for (network, prefix, router) in &lease.routes {
            self.route(index, (IpAddr::V4(*network), *prefix), IpAddr::V4(*router)).await?;
        }
        Ok(())
    }

    /// Takes an address from a link; its routes go with it.
    ///
    /// # Errors
    /// Those of rtnetlink.
    pub async fn drop_address(&self, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        let mut messages = self.0.address().get().set_link_index_filter(index).execute();
        let mut found = None;
        while let Some(message) = messages.try_next().await? {
            if read_address(&message) == Some((address, prefix)) {
                found = Some(message);
            }
        }
        match found {
            Some(message) => self.0.address().del(message).execute().await,
            None => Ok(()),
        }
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

/// An address that can be used: not one that IPv6 still looks for on the link, or found there.
fn read_address(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed;
    if flags.is_some_and(|flags| flags.intersects(unusable) && !flags.contains(AddressFlags::Optimistic)) {
        return None;
    }
    // Of IPv4 the local one; IPv6 has one alone.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    local.or(any).map(|address| (address, message.header.prefix_len))
}

fn read_default_route(message: &RouteMessage) -> Option<(u32, IpAddr)> {
    if message.header.destination_prefix_length != 0 || message.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut index, mut gateway) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => index = Some(*oif),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            _ => {}
        }
    }
    Some((index?, gateway?))
}
