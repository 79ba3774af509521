//! `network.toml`: how the device is connected, as its operator or the image's maker wants it.
//!
//! Without the file every Ethernet link gets an IPv4 address by DHCP, and IPv6 by router advertisements. Unknown keys are
//! refused. Whoever writes it may choose every byte; it is read here, in netd's box.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

use crate::dns::transport::{self, Transport};
use crate::{dns, time};

/// Tables, servers and addresses that a configuration may have.
const LISTS_MAX: usize = 16;

/// A configuration that was checked.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What is said of links, the first that fits counts.
    pub links: Vec<LinkConfig>,
    /// How names are resolved.
    pub dns: dns::Settings,
    /// Time servers by name or address.
    pub time: time::Settings,
    /// Whether the device is announced on its links.
    pub announce: bool,
    /// What DHCP servers are told the device is called; nothing if `None`.
    pub host_name: Option<String>,
}

/// How one link is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Which link.
    pub matches: Match,
    /// Whether it asks for an IPv4 address.
    pub dhcp4: bool,
    /// Whether it has IPv6 at all.
    pub ipv6: bool,
    /// Fixed addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The router of the IPv4 default route, or of IPv6's.
    pub gateway: Option<IpAddr>,
}

/// Which link is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// By the kernel's name.
    Name(String),
    /// By hardware address.
    Hardware([u8; 6]),
}

/// What is wrong, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Claimed {
    link: Vec<ClaimedLink>,
    dns: ClaimedDns,
    time: ClaimedTime,
    mdns: ClaimedMdns,
    dhcp: ClaimedDhcp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimedLink {
    r#match: String,
    dhcp4: Option<bool>,
    #[serde(default)]
    ipv6: ClaimedIpv6,
    #[serde(default)]
    addresses: Vec<String>,
    gateway: Option<IpAddr>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClaimedIpv6 {
    #[default]
    Auto,
    Off,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClaimedDns {
    servers: Vec<String>,
    tls_name: Option<String>,
    tls_roots: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClaimedTime {
    servers: Vec<String>,
    nts: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClaimedMdns {
    announce: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ClaimedDhcp {
    host_name: Option<String>,
}

impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let claimed: Claimed =
            toml::from_str(text).map_err(|e| ConfigError(e.to_string().trim_end().to_owned()))?;
        let links = bounded("link", claimed.link)?.into_iter().map(link).collect::<Result<_, _>>()?;
        Ok(Self {
            links,
            dns: names(claimed.dns)?,
            time: clock(claimed.time)?,
            announce: claimed.mdns.announce,
            host_name: claimed.dhcp.host_name.map(host_name).transpose()?,
        })
    }
}

impl Config {
    /// What is said of a link with this name and hardware address; `None`: nothing, so it gets what every link gets.
    pub fn link(&self, name: &str, hardware: Option<[u8; 6]>) -> Option<&LinkConfig> {
        self.links.iter().find(|link| match &link.matches {
            Match::Name(wanted) => wanted == name,
            Match::Hardware(wanted) => Some(*wanted) == hardware,
        })
    }
}

fn link(claimed: ClaimedLink) -> Result<LinkConfig, ConfigError> {
    let matches = matched(&claimed.r#match)?;
    let addresses = bounded("link.addresses", claimed.addresses)?;
    let addresses = addresses.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(gateway) =
        claimed.gateway.filter(|gateway| !addresses.iter().any(|on| contains(*on, *gateway)))
    {
        return Err(ConfigError(format!(
            "link {}: gateway {gateway} is in the network of none of its addresses",
            claimed.r#match
        )));
    }
    let ipv6 = claimed.ipv6 == ClaimedIpv6::Auto;
    if let Some((address, _)) = addresses.iter().find(|(address, _)| !ipv6 && address.is_ipv6()) {
        return Err(ConfigError(format!("link {}: address {address}, and ipv6 is off", claimed.r#match)));
    }
    let dhcp4 = claimed.dhcp4.unwrap_or(!addresses.iter().any(|(address, _)| address.is_ipv4()));
    Ok(LinkConfig { matches, dhcp4, ipv6, addresses, gateway: claimed.gateway })
}

/// One label of a name (RFC 1123, 2.1), as servers may put it into their DNS.
fn host_name(text: String) -> Result<String, ConfigError> {
    let good = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if good {
        Ok(text)
    } else {
        Err(ConfigError(format!("dhcp.host_name: {text:?} is no name, such as pump-7")))
    }
}

fn matched(text: &str) -> Result<Match, ConfigError> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    if let Some(Ok(hardware)) = bytes.map(<[u8; 6]>::try_from) {
        return Ok(Match::Hardware(hardware));
    }
    let good = !text.is_empty() && text.len() < 16 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if good {
        Ok(Match::Name(text.to_owned()))
    } else {
        Err(ConfigError(format!("link: {text:?} is no name of a link")))
    }
}

fn address(text: &str) -> Result<(IpAddr, u8), ConfigError> {
    let fault = || ConfigError(format!("link: {text:?} is no address with its prefix, such as 192.0.2.7/24"));
    let (address, prefix) = text.split_once('/').ok_or_else(fault)?;
    let (address, prefix): (IpAddr, u8) =
        (address.parse().map_err(|_| fault())?, prefix.parse().map_err(|_| fault())?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    if prefix == 0
        || prefix > most
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
    {
        return Err(fault());
    }
    Ok((address, prefix))
}

/// Whether `other` lies in the network of `address`.
pub(crate) fn contains((address, prefix): (IpAddr, u8), other: IpAddr) -> bool {
    match (address, other) {
        (IpAddr::V4(one), IpAddr::V4(two)) => {
            (u32::from(one) ^ u32::from(two)).leading_zeros() >= u32::from(prefix)
        }
        (IpAddr::V6(one), IpAddr::V6(two)) => {
            (u128::from(one) ^ u128::from(two)).leading_zeros() >= u32::from(prefix)
        }
        _ => false,
    }
}

fn names(claimed: ClaimedDns) -> Result<dns::Settings, ConfigError> {
    let transport = match (&claimed.tls_name, &claimed.tls_roots) {
        (Some(name), roots) => {
            Transport::tls(name, roots.as_deref()).map_err(|e| ConfigError(format!("dns: {e}")))?
        }
        (None, Some(_)) => return Err(ConfigError("dns: tls_roots without tls_name".to_owned())),
        (None, None) => Transport::Plain,
    };
    let servers = bounded("dns.servers", claimed.servers)?;
    let servers = servers.iter().map(|text| {
        let at = text.parse::<SocketAddr>().ok();
        at.or_else(|| text.parse().ok().map(|address| transport::server(address, &transport)))
            .ok_or_else(|| ConfigError(format!("dns.servers: {text:?} is no address, such as 192.0.2.53")))
    });
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() && claimed.tls_name.is_some() {
        return Err(ConfigError(
            "dns: tls_name without servers: name those that have the certificate".to_owned(),
        ));
    }
    Ok(dns::Settings { servers, transport })
}

fn clock(claimed: ClaimedTime) -> Result<time::Settings, ConfigError> {
    let server = |text: &String| -> Result<time::Server, ConfigError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(time::Server::Address(SocketAddr::new(address, time::PORT)));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(time::Server::Address(address));
        }
        let host = text.parse::<policy::Host>();
        host.map(|host| time::Server::Name(host.to_string()))
            .map_err(|_| ConfigError(format!("time.servers: {text:?} is no host")))
    };
    let servers = bounded("time.servers", claimed.servers)?;
    let nts = bounded("time.nts", claimed.nts)?;
    for host in &nts {
        if host.parse::<policy::Host>().is_err() {
            return Err(ConfigError(format!("time.nts: {host:?} is no host")));
        }
    }
    Ok(time::Settings { nts, servers: servers.iter().map(server).collect::<Result<_, _>>()? })
}

fn bounded<T>(key: &str, list: Vec<T>) -> Result<Vec<T>, ConfigError> {
    if list.len() > LISTS_MAX {
        return Err(ConfigError(format!("{key}: {} entries, and {LISTS_MAX} are the most", list.len())));
    }
    Ok(list)
}

impl Default for LinkConfig {
    /// What every link gets of which nothing is said.
    fn default() -> Self {
        Self {
            matches: Match::Name(String::new()),
            dhcp4: true,
            ipv6: true,
            addresses: Vec::new(),
            gateway: None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(text: &str) -> String {
        text.parse::<Config>().unwrap_err().to_string()
    }

    #[test]
    fn config_of_every_kind_is_read() {
        let text = "[[link]]\nmatch = \"eth0\"\naddresses = [\"192.0.2.7/24\", \"2001:db8::7/64\"]\ngateway = \"192.0.2.1\"\n\
                    [[link]]\nmatch = \"52:54:00:12:34:56\"\ndhcp4 = true\nipv6 = \"off\"\n[dns]\nservers = [\"192.0.2.53\", \"192.0.2.53:5353\"]\n\
                    [time]\nservers = [\"ntp.example.com\", \"192.0.2.1\"]\nnts = [\"nts.example.com\"]\n[mdns]\nannounce = true\n\
                    [dhcp]\nhost_name = \"pump-7\"\n";
        let config: Config = text.parse().unwrap();
        let eth0 = config.link("eth0", None).unwrap();
        assert_eq!((eth0.dhcp4, eth0.addresses.len(), eth0.gateway.is_some()), (false, 2, true));
        let eth9 = config.link("eth9", Some([0x52, 0x54, 0, 0x12, 0x34, 0x56])).unwrap();
        assert!(eth0.ipv6 && eth9.dhcp4 && !eth9.ipv6);
        assert!(config.link("eth9", None).is_none() && config.announce);
        assert_eq!(config.host_name.as_deref(), Some("pump-7"));
        assert_eq!(config.dns.servers.iter().map(SocketAddr::port).collect::<Vec<_>>(), [53, 5353]);
        assert_eq!(config.time.servers.len(), 2);
        assert_eq!(config.time.nts, ["nts.example.com"]);
    }

    #[test]
    fn config_that_is_wrong_says_where() {
        for (text, said) in [
            ("[dns]\nserver = []\n", "server"),
            ("[[link]]\nmatch = \"eth0\"\naddresses = [\"192.0.2.7\"]\n", "192.0.2.7"),
            (
                "[[link]]\nmatch = \"eth0\"\naddresses = [\"192.0.2.7/24\"]\ngateway = \"198.51.100.1\"\n",
                "198.51.100.1",
            ),
            ("[[link]]\nmatch = \"a/b\"\n", "a/b"),
            ("[[link]]\nmatch = \"a\"\nipv6 = \"no\"\n", "off"),
            ("[[link]]\nmatch = \"a\"\nipv6 = \"off\"\naddresses = [\"fd00::7/64\"]\n", "fd00::7"),
            ("[dns]\ntls_name = \"dns.example\"\n", "without servers"),
            ("[dns]\ntls_roots = \"x\"\n", "without tls_name"),
            (
                "[dns]\ntls_name = \"dns.example\"\ntls_roots = \"x\"\nservers = [\"192.0.2.1\"]\n",
                "no certificate",
            ),
            ("[time]\nservers = [\"*\"]\n", "time.servers"),
            ("[dhcp]\nhost_name = \"pump.7\"\n", "pump.7"),
            ("[dhcp]\nhost_name = \"-\"\n", "host_name"),
            ("[mdns\n", "line 1"),
        ] {
            assert!(fault(text).contains(said), "{text}: {}", fault(text));
        }
        assert!(fault(&"[[link]]\nmatch = \"eth0\"\n".repeat(17)).contains("16 are the most"));
    }

    proptest! {
        #[test]
        fn config_of_any_text_ends(text in ".{0,200}") {
            let _ = text.parse::<Config>();
        }
    }
}
