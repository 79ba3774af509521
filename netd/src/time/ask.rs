//! Asking one server: one question, from a socket of its own that is connected to the server, on a port that the kernel
//! picks. Port 123 is never bound, so whoever holds it does not matter to us; and nobody can ask us.
//!
//! An attacker may send the socket anything: at most [`MOST_PACKETS`] packets are looked at, for [`PATIENCE`] at most.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::agree::Sample;
use super::wire::{self, Answer};

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How many packets are looked at before a server is taken for silent.
const MOST_PACKETS: usize = 32;

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The time.
    Sample(Sample),
    /// The server wants no more questions.
    Deny,
    /// The server wants fewer questions.
    Slower,
    /// No answer that is one.
    Nothing,
    /// The question could not be sent: there is no route.
    NoRoute,
}

/// Asks the `index`th server, which is at `address`. Times are not before `floor_s`, see [`wire::answer`].
pub async fn ask(index: usize, address: SocketAddr, nonce: [u8; 8], floor_s: i64) -> Asked {
    let asked = timeout(PATIENCE, exchange(index, address, nonce, floor_s)).await;
    match asked {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) if is_no_route(&error) => Asked::NoRoute,
        // Refused by the other end's kernel, or silent.
        Ok(Err(_)) | Err(_) => Asked::Nothing,
    }
}

async fn exchange(index: usize, address: SocketAddr, nonce: [u8; 8], floor_s: i64) -> io::Result<Asked> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    let asked_ns = sys::time::clock::raw_ns()?;
    socket.send(&wire::question(nonce)).await?;
    // Longer ones are cut, which is all that is read of them.
    let mut bytes = [0; wire::LENGTH];
    for _ in 0..MOST_PACKETS {
        let length = socket.recv(&mut bytes).await?;
        let answered_ns = sys::time::clock::raw_ns()?;
        match wire::answer(&bytes[..length], nonce, floor_s) {
            Ok(Answer::Deny) => return Ok(Asked::Deny),
            Ok(Answer::Slower) => return Ok(Asked::Slower),
            Ok(Answer::Time(told)) => {
                let sample = Sample::new(index, &told, asked_ns, answered_ns);
                return Ok(sample.map_or(Asked::Nothing, Asked::Sample));
            }
            // Anybody can send these; the server's own word may still come.
            Err(_) => {}
        }
    }
    Ok(Asked::Nothing)
}

fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown
    ) || error.kind() == io::ErrorKind::AddrNotAvailable
}
