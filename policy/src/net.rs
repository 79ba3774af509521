//! Places in the network: protocols, ports, hosts.
//!
//! An attacker chooses the text. What holds for every value: a port is never 0; a host is a name, an IPv4 or an IPv6
//! address, each in its one spelling. What a name resolves to, and whether anybody answers there, is not known here.

use crate::name::checked_text;
use crate::problem::{Invalid, quote};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Proto {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port with its protocol, `"8080/tcp"`. The port is 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port {
    number: u16,
    proto: Proto,
}

impl Port {
    /// The port's number, never 0.
    pub const fn number(self) -> u16 {
        self.number
    }

    /// The protocol.
    pub const fn proto(self) -> Proto {
        self.proto
    }
}

impl FromStr for Port {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fault = |what: &str, help: String| Err(Invalid::new(format!("{} {what}", quote(text)), help));
        let Some((number, proto)) = text.split_once('/') else {
            return fault("names no protocol", "write a port and a protocol, as \"8080/tcp\"".to_owned());
        };
        let proto = match proto {
            "tcp" => Proto::Tcp,
            "udp" => Proto::Udp,
            _ => return fault("has an unknown protocol", "write /tcp or /udp".to_owned()),
        };
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
        match number.parse() {
            Ok(number @ 1..) if plain => Ok(Self { number, proto }),
            _ => fault("has no valid port", "write a port from 1 to 65535, as \"8080/tcp\"".to_owned()),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.proto)
    }
}

impl TryFrom<String> for Port {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(value: Port) -> String {
        value.to_string()
    }
}

/// Whether an address is of a private network or of a link: RFC 1918, RFC 3927, RFC 6598; RFC 4193, link-local and the former
/// site-local. A name has one only where the manifest says so.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_private() || a.is_link_local() || matches!(a.octets(), [100, 64..=127, ..]),
        IpAddr::V6(a) => {
            a.is_unique_local() || a.is_unicast_link_local() || matches!(a.segments(), [0xfec0..=0xfeff, ..])
        }
    }
}

checked_text! {
    /// A host: a lower-case DNS name, an IPv4 address, or an IPv6 address in brackets, each in its one spelling.
    Host, check_host
}

impl Host {
    /// The address, if it is written as one.
    pub fn address(&self) -> Option<IpAddr> {
        let text = self.as_str();
        text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    /// Whether it is a name that somebody has to resolve: no address, and not `localhost`.
    pub fn is_name(&self) -> bool {
        !self.is_local() && self.address().is_none()
    }

    /// Whether the host is this box itself: `localhost`, `127.0.0.1` or `[::1]`. Other names that might resolve to
    /// loopback are not: what a name resolves to is not this crate's business (see `netd`).
    pub fn is_local(&self) -> bool {
        matches!(self.as_str(), "localhost" | "127.0.0.1" | "[::1]")
    }
}

fn check_host(text: &str) -> Result<(), Invalid> {
    let help = "write a host name in lower case, as \"mqtt.example.com\", or an address, as \"192.0.2.7\" or \"[2001:db8::7]\"";
    if text.contains('*') {
        return Err(Invalid::new(
            format!("{} has a wildcard", quote(text)),
            "name each host: there are no wildcards",
        ));
    }
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    let good = if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse::<std::net::Ipv6Addr>().ok());
        address.is_some_and(|address| format!("[{address}]") == text)
    } else if numeric {
        text.parse::<std::net::Ipv4Addr>().is_ok()
    } else {
        text.len() <= 253 && text.split('.').all(is_dns_label)
    };
    if good { Ok(()) } else { Err(Invalid::new(format!("{} is not a host", quote(text)), help)) }
}

/// RFC 1123: letters, digits and inner `-`, 1 to 63 of them.
fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A port that is served: `"8080/tcp"` to whoever reaches the device, `"localhost:1883/tcp"` to boxes on it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen {
    port: Port,
    local: bool,
}

impl Listen {
    /// Which port.
    pub const fn port(self) -> Port {
        self.port
    }

    /// Whether only boxes on the device reach it.
    pub const fn is_local(self) -> bool {
        self.local
    }
}

impl FromStr for Listen {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.rsplit_once(':') {
            None => Ok(Self { port: text.parse()?, local: false }),
            Some(("localhost", port)) => Ok(Self { port: port.parse()?, local: true }),
            Some((host, port)) => Err(Invalid::new(
                format!("{} names where to listen", quote(host)),
                format!(
                    "write \"{port}\" for all of the device's addresses, or \"localhost:{port}\" for its own apps"
                ),
            )),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.local {
            f.write_str("localhost:")?;
        }
        self.port.fmt(f)
    }
}

impl TryFrom<String> for Listen {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(value: Listen) -> String {
        value.to_string()
    }
}

/// A destination, `"mqtt.example.com:8883/tcp"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    host: Host,
    port: Port,
}

impl HostPort {
    /// Where to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Which port there.
    pub fn port(&self) -> Port {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((host, port)) = text.rsplit_once(':') else {
            let what = format!("{} names no port", quote(text));
            return Err(Invalid::new(
                what,
                "write host, port and protocol, as \"mqtt.example.com:8883/tcp\"",
            ));
        };
        Ok(Self { host: host.parse()?, port: port.parse()? })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl TryFrom<String> for HostPort {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(value: HostPort) -> String {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_without_protocol_or_zero_is_refused() {
        assert_eq!("8080/tcp".parse::<Port>().unwrap().to_string(), "8080/tcp");
        for bad in ["8080", "0/tcp", "65536/tcp", "80/icmp", "080/tcp", "+80/tcp", "/tcp", "80/tcp/x"] {
            assert!(bad.parse::<Port>().is_err(), "{bad}");
        }
    }

    #[test]
    fn host_port_names_and_addresses_are_read() {
        for good in
            ["mqtt.example.com:8883/tcp", "localhost:1883/tcp", "192.0.2.7:53/udp", "[2001:db8::7]:443/tcp"]
        {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        for bad in [
            "example.com",
            "*.example.com:1/tcp",
            "UPPER.example:1/tcp",
            "300.1.1.1:1/tcp",
            "[::0]:1/tcp",
            ":1/tcp",
            "a b:1/tcp",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn listen_is_everywhere_or_on_the_device() {
        for good in ["8080/tcp", "localhost:1883/tcp"] {
            assert_eq!(good.parse::<Listen>().unwrap().to_string(), good);
        }
        assert!("localhost:1/udp".parse::<Listen>().unwrap().is_local());
        for bad in ["0.0.0.0:80/tcp", "127.0.0.1:80/tcp", "localhost:0/tcp", ":80/tcp", "localhost"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn host_is_a_name_or_an_address() {
        let host = |text: &str| text.parse::<Host>().unwrap();
        assert_eq!(host("192.0.2.7").address(), Some([192, 0, 2, 7].into()));
        assert!(host("[2001:db8::7]").address().is_some() && !host("[2001:db8::7]").is_name());
        assert!(host("a.example").is_name() && !host("localhost").is_name());
    }

    #[test]
    fn host_local_only_for_the_three_spellings() {
        assert!("localhost".parse::<Host>().unwrap().is_local());
        assert!(!"localhost.example".parse::<Host>().unwrap().is_local());
        assert!(!"127.0.0.2".parse::<Host>().unwrap().is_local());
    }
}
