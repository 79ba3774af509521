//! How far the network goes, names, and what the app may reach: `os.gabion.Network`.

use serde::{Deserialize, Serialize};

use crate::call::{CallError, Connection, Nothing};

/// The manifest does not name the host; the parameter `manifest_line` is the line that would.
pub const HOST_NOT_LISTED: &str = "os.gabion.Network.HostNotListed";
/// The name could not be resolved.
pub const NOT_RESOLVED: &str = "os.gabion.Network.NotResolved";

/// Whether something can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Reach {
    /// No link is up.
    Offline,
    /// A link is up, without an address.
    Link,
    /// There is an address, and nothing beyond the local network was reached.
    Local,
    /// The outside can be reached.
    Online,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// The stages from a cable to a usable network, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stage {
    /// A link.
    Link,
    /// An address.
    Address,
    /// A router that leads out.
    Route,
    /// A name server that answers.
    Names,
    /// A time server that has set the clock.
    Time,
    /// One that this version does not know.
    #[serde(other)]
    Other,
}

/// How far the network can be used, and if not, why not.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// How far.
    pub reach: Reach,
    /// The first stage that is missing.
    pub missing: Option<Stage>,
    /// What is missing and what to do about it, for people.
    pub reason: Option<String>,
    /// Name servers in use, as addresses.
    pub name_servers: Vec<String>,
    /// What is wrong with the device's configuration, for people.
    pub fault: Option<String>,
}

/// The addresses of a host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Addresses {
    /// At least one.
    pub addresses: Vec<String>,
    /// How long they may be used, seconds.
    pub ttl_s: u64,
}

/// Kinds of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// The device itself.
    Loopback,
    /// A cable.
    Ethernet,
    /// Radio (IEEE 802.11).
    Wifi,
    /// A mobile network.
    Cellular,
    /// Any other kind.
    #[serde(other)]
    Other,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Link {
    /// Its name for the kernel.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether it is switched on and has a carrier.
    pub up: bool,
    /// Its hardware address.
    pub hardware_address: Option<String>,
    /// Its addresses, each with the length of its prefix.
    pub addresses: Vec<String>,
    /// The router it leads to.
    pub gateway: Option<String>,
}

/// Protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a rule lets an app do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To reach somebody.
    Connect,
    /// To be reached.
    Listen,
}

/// What one line of the manifest means in the kernel now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Rule {
    /// Which way.
    pub direction: Direction,
    /// The line; absent for the app's own name server.
    pub manifest_line: Option<String>,
    /// The address; absent for what is served, and for a name that was not looked up lately.
    pub address: Option<String>,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// How long it lets new conversations begin, seconds; absent when it holds as long as the app is installed.
    pub expires_s: Option<u64>,
    /// Calls that it let through.
    pub attempts: u64,
    /// Packets, both ways.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Serialize)]
struct Host<'a> {
    host: &'a str,
}

#[derive(Deserialize)]
struct Interfaces {
    interfaces: Vec<Link>,
}

#[derive(Deserialize)]
struct Rules {
    rules: Vec<Rule>,
}

/// `os.gabion.Network`.
#[derive(Debug)]
pub struct Network(Connection);

impl Network {
    /// By the app's own manifest.
    pub fn of_app() -> Self {
        Self(Connection::to("os.gabion.Network"))
    }

    /// Over a connection to who serves it: for tests of an app.
    pub fn over(connection: Connection) -> Self {
        Self(connection)
    }

    /// How far the network can be used: `os.gabion.Network.GetStatus`. The manifest needs `[uses] "os.gabion.Network" =
    /// ["GetStatus"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// use gabion::network::{Network, Reach};
    ///
    /// let status = Network::of_app().status().await?;
    /// if status.reach != Reach::Online {
    ///     println!("{}", status.reason.unwrap_or_default());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn status(&mut self) -> Result<Status, CallError> {
        self.0.call_again("GetStatus", &Nothing {}).await
    }

    /// The addresses of a host that the manifest names below `[network] connect`; `getaddrinfo` works as well:
    /// `os.gabion.Network.Resolve`. The manifest needs `[uses] "os.gabion.Network" = ["Resolve"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// let found = gabion::network::Network::of_app().resolve("mqtt.example.com").await?;
    /// println!("{} for {} s", found.addresses.join(" "), found.ttl_s);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`HOST_NOT_LISTED`], [`NOT_RESOLVED`]; see [`CallError`].
    pub async fn resolve(&mut self, host: &str) -> Result<Addresses, CallError> {
        self.0.call_again("Resolve", &Host { host }).await
    }

    /// Every network interface: `os.gabion.Network.ListInterfaces`. The manifest needs `[uses] "os.gabion.Network" =
    /// ["ListInterfaces"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// for link in gabion::network::Network::of_app().list_interfaces().await? {
    ///     println!("{} {}", link.name, if link.up { "up" } else { "down" });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn list_interfaces(&mut self) -> Result<Vec<Link>, CallError> {
        Ok(self.0.call_again::<Interfaces>("ListInterfaces", &Nothing {}).await?.interfaces)
    }

    /// What this app may reach and serve: `os.gabion.Network.ListOwnRules`. The manifest needs `[uses] "os.gabion.Network" =
    /// ["ListOwnRules"]`.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), gabion::call::CallError> {
    /// for rule in gabion::network::Network::of_app().list_own_rules().await? {
    ///     println!("{:?} {}: {} bytes", rule.direction, rule.port, rule.bytes);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn list_own_rules(&mut self) -> Result<Vec<Rule>, CallError> {
        Ok(self.0.call_again::<Rules>("ListOwnRules", &Nothing {}).await?.rules)
    }
}
