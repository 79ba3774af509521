//! A simulated site beside a device: a network of its own, with the servers that a device meets where it is used.
//!
//! | module | idea |
//! |---|---|
//! | [`namespace`] | a network namespace without a name, and being inside it for a moment |
//! | [`servers`] | real servers that run in it: addresses, names and routes (dnsmasq), time (chronyd), web (nginx), MQTT over TLS (mosquitto), redis |
//! | [`service`] | a Security Service, and who administers it |
//! | [`Teller`] | a time server that says what it is told to |
//! | `authority` | the certificates that its servers show |
//!
//! ```text
//!   device ── tap ┐
//!                 ├─ br0  10.77.0.1/24, 2001:db8:77::1/64: the router, its DHCP, DNS, router advertisements and time
//!   device ── tap ┘
//!                    lo   198.51.100.10 … .14, 2001:db8:1::10 … ::14, 10.88.0.5: hosts elsewhere ([`HOSTS`])
//! ```
//!
//! Nothing of it is left when it is dropped, or when the test is killed: the namespace has no name and ends with its last
//! process, each of its processes is ended by its handle, and ends with the test's thread besides.

mod authority;
pub mod namespace;
pub mod releases;
pub mod servers;
pub mod service;
mod teller;

use crate::console::Console;
use anyhow::{Context, Result, ensure};
use authority::Authority;
use image::command::tool;
use image::paths::Tree;
use namespace::Namespace;
use servers::Server;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
pub use teller::Teller;
use tempfile::TempDir;

/// What QEMU calls a device's network card.
pub(crate) const CARD: &str = "card";

/// The router's address on the devices' link.
pub const ROUTER: &str = "10.77.0.1";
/// The same, IPv6.
pub const ROUTER_6: &str = "2001:db8:77::1";

/// Hosts elsewhere: name, IPv4 and IPv6 address. The last is one of a private network.
pub const HOSTS: [(&str, &str, &str); 6] = [
    ("web.example", "198.51.100.10", "2001:db8:1::10"),
    ("broker.example", "198.51.100.11", "2001:db8:1::11"),
    ("store.example", "198.51.100.12", "2001:db8:1::12"),
    ("other.example", "198.51.100.13", "2001:db8:1::13"),
    ("service.example", "198.51.100.14", "2001:db8:1::14"),
    ("inner.example", "10.88.0.5", "fd88::5"),
];

/// Names whose owner means ill: where they lead, as dnsmasq is told. The last is forgotten after a second.
pub const TRAPS: [(&str, &str); 6] = [
    ("loopback.example", "127.0.0.1,::1"),
    ("linklocal.example", "169.254.7.7"),
    ("device.example", "10.77.0.50"),
    ("mapped.example", "::ffff:127.0.0.1"),
    ("private.example", "10.88.0.5,fd88::5"),
    ("short.example", "198.51.100.13,1"),
];

/// The address that the device with this number gets, counted from the first beside the site.
pub fn device(number: u8) -> String {
    format!("10.77.0.{}", 50 + number)
}

/// The hardware address of its network card.
pub(crate) fn hardware(number: u8) -> String {
    format!("52:54:00:77:00:{number:02x}")
}

/// A site. Clones are the same one, which ends with the last.
#[derive(Clone)]
pub struct Site(Arc<Parts>);

struct Parts {
    // In this order they are dropped: the servers before what they serve from.
    servers: Mutex<Vec<Server>>,
    namespace: Namespace,
    authority: Authority,
    place: TempDir,
    cards: Mutex<u8>,
    tree: Tree,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("place", &self.0.place.path()).finish_non_exhaustive()
    }
}

impl Site {
    /// A link, hosts with addresses, and nobody that serves.
    ///
    /// # Errors
    /// Without root; what `ip` or `openssl` says.
    pub fn new() -> Result<Self> {
        let place = tempfile::Builder::new().prefix("gabion-site-").tempdir()?;
        let site = Self(Arc::new(Parts {
            servers: Mutex::new(Vec::new()),
            namespace: Namespace::new()?,
            authority: Authority::new(&place.path().join("tls"), &HOSTS)?,
            place,
            cards: Mutex::new(0),
            tree: Tree::here()?,
        }));
        let mut words = format!(
            "link set lo up\nlink add br0 type bridge mcast_snooping 0\nlink set br0 up\naddress add {ROUTER}/24 dev br0\n\
             address add {ROUTER_6}/64 dev br0 nodad\n"
        );
        for (_, v4, v6) in HOSTS {
            words += &format!("address add {v4}/32 dev lo\naddress add {v6}/128 dev lo nodad\n");
        }
        words += "address add 169.254.7.7/32 dev lo\n";
        site.ip(&words)?;
        // A router that does not forward says in its neighbour advertisements that it is none.
        site.inside(|| Ok(std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?))?;
        Ok(site)
    }

    /// A site with every server: see [`servers`].
    ///
    /// # Errors
    /// A server that does not start.
    pub fn complete() -> Result<Self> {
        let site = Self::new()?;
        site.serve(servers::dnsmasq(&site)?);
        site.serve(servers::chronyd(&site)?);
        site.serve(servers::nginx(&site)?);
        site.serve(servers::mosquitto(&site)?);
        site.serve(servers::redis(&site)?);
        Ok(site)
    }

    /// Keeps a server until the site ends.
    pub fn serve(&self, server: Server) {
        self.0.servers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
    }

    /// Does `act` in the site's network: sockets that it opens and processes that it starts stay there.
    ///
    /// # Errors
    /// What `act` says; the kernel, when the thread can't go there or come back.
    pub fn inside<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.0.namespace.inside(act)
    }

    /// Commands for `ip`, one a line.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.inside(|| {
            let mut ip = tool("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("ip")?;
            ip.stdin.take().context("a pipe")?.write_all(lines.as_bytes())?;
            ensure!(ip.wait()?.success(), "ip did not do: {lines}");
            Ok(())
        })
    }

    /// A further place on the link; QEMU's words for a network card there. Whoever opens it is [`Site::inside`].
    pub(crate) fn card(&self) -> Result<Vec<String>> {
        let mut cards = self.0.cards.lock().unwrap_or_else(PoisonError::into_inner);
        let (tap, number) = (format!("tap{cards}"), *cards);
        *cards += 1;
        self.ip(&format!("tuntap add dev {tap} mode tap\nlink set {tap} master br0\nlink set {tap} up\n"))?;
        Ok(vec![
            "-netdev".to_owned(),
            format!("tap,id=site,ifname={tap},script=no,downscript=no"),
            "-device".to_owned(),
            format!("virtio-net-pci,id={CARD},netdev=site,romfile=,mac={}", hardware(number)),
        ])
    }

    /// The certificate of who signed those of the site's servers, PEM.
    ///
    /// # Errors
    /// It is not there.
    pub fn authority(&self) -> Result<String> {
        Ok(fs::read_to_string(self.0.authority.certificate())?)
    }

    /// A folder of the site's own for a server called `name`.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.0.place.path().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.0.tree
    }

    /// Puts the servers' certificate, its key and the authority's into `folder` as `cert.pem`, `key.pem`, `ca.pem`.
    pub(crate) fn certificates(&self, folder: &Path) -> Result<()> {
        self.0.authority.lay_out(folder)
    }

    /// What a server has said.
    ///
    /// # Panics
    /// There is no such server.
    pub fn said(&self, name: &str) -> Console {
        let servers = self.0.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = servers.iter().find(|server| server.name() == name);
        found.unwrap_or_else(|| unreachable!("no server {name}")).console().clone()
    }

    /// Ends a server.
    pub fn end(&self, name: &str) {
        self.0.servers.lock().unwrap_or_else(PoisonError::into_inner).retain(|server| server.name() != name);
    }
}
