//! The door of a device in developer mode: TLS 1.3, in which both ends prove who they are, and in it the frames of a developer port.
//!
//! What an attacker on the network controls: how many connections he makes, and every byte on them until he fails to prove that he
//! has the key of the one certificate that the permit names. Until then he has four places at a time, thirty seconds in each, and learns
//! what a TLS server shows: the device's certificate. Nothing he sends reaches the bus. Each handshake costs the TPM a signature, of which
//! attestd gives this box no more than any.
//!
//! What the developer may call is this box's manifest; what he may keep it from doing is his own business: he has four connections.

mod caller;
mod listen;

pub use caller::{Caller, config};
pub use listen::{Door, HANDSHAKE_MS, HANDSHAKES, SESSIONS};

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use bus::client::Connection;
use bus::devport::DOOR_PORT;
use bus::interfaces::permit::{Client, INTERFACE};
use gabion::certificate::Identity;

/// Where a box has its sockets.
const BUS: &str = "/run/bus";

/// The daemon: lets in whom the permit in force names, until it is ended.
///
/// # Errors
/// There is no permit, no certificate, or no port.
pub fn run() -> io::Result<()> {
    let developer = developer()?;
    let identity = Identity::of_app().map_err(io::Error::other)?;
    let listener = bound()?;
    Door::new(listener, config(std::sync::Arc::new(identity), developer)?, BUS.into())?.run()
}

/// Whom the permit names: SHA-256 of his certificate.
fn developer() -> io::Result<[u8; 32]> {
    let mut client = Client(Connection::granted(&INTERFACE)?);
    let reply = client.get_status().map_err(|e| io::Error::other(e.to_string()))?;
    let none = || io::Error::other("no permit is in force");
    let text = reply.permit.ok_or_else(none)?.developer;
    digest(&text).ok_or_else(|| io::Error::other("the permit names nobody"))
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// On every address of the device, of both families where it has both.
fn bound() -> io::Result<TcpListener> {
    let any = |address: std::net::IpAddr| TcpListener::bind(SocketAddr::new(address, DOOR_PORT));
    any(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| any(Ipv4Addr::UNSPECIFIED.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_64_digits_and_nothing_else() {
        assert_eq!(digest(&"0a".repeat(32)), Some([10; 32]));
        for bad in ["", "0a", &"0a".repeat(33), &"+a".repeat(32), &"ä".repeat(32), &"g0".repeat(32)] {
            assert_eq!(digest(bad), None, "{bad}");
        }
    }
}
