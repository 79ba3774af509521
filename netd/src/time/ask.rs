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
use super::nts::fields::{self, Checked, Nonces};
use super::nts::{MOST_COOKIES, Session};
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
    /// The server does not know the keys any more (NTS).
    Forgotten,
    /// The question was not sent: there is no route, or no address.
    NoRoute,
}

/// Asks the `index`th server, which is at `address`. Times are not before `floor_s`, see [`wire::answer`].
pub async fn ask(index: usize, address: SocketAddr, nonce: [u8; 8], floor_s: i64) -> Asked {
    // Longer ones are cut, which is all that is read of them.
    let mut bytes = [0; wire::LENGTH];
    exchange(address, &wire::question(nonce), &mut bytes, |bytes, asked_ns, answered_ns| {
        told(index, wire::answer(bytes, nonce, floor_s).ok()?, asked_ns, answered_ns)
    })
    .await
}

/// Likewise by NTS; the session has its cookies renewed by the answer.
pub async fn ask_secured(
    index: usize,
    address: SocketAddr,
    session: &mut Session,
    nonces: &Nonces,
    floor_s: i64,
) -> Asked {
    let Some(question) = fields::question(session, nonces) else { return Asked::Forgotten };
    let mut bytes = [0; fields::MOST_BYTES];
    exchange(address, &question, &mut bytes, |bytes, asked_ns, answered_ns| {
        let fresh = match fields::check(bytes, &nonces.unique, &session.from_server) {
            Checked::Authentic(fresh) => fresh,
            Checked::Unknown => return Some(Asked::Forgotten),
            Checked::Forged => return None,
        };
        session.cookies.extend(fresh);
        session.cookies.truncate(MOST_COOKIES);
        match told(index, wire::answer(bytes, nonces.origin, floor_s).ok()?, asked_ns, answered_ns)? {
            Asked::Sample(sample) => Some(Asked::Sample(Sample { is_authentic: true, ..sample })),
            asked => Some(asked),
        }
    })
    .await
}

/// What an answer comes to.
fn told(index: usize, answer: Answer, asked_ns: i64, answered_ns: i64) -> Option<Asked> {
    match answer {
        Answer::Deny => Some(Asked::Deny),
        Answer::Slower => Some(Asked::Slower),
        Answer::Time(told) => Sample::new(index, &told, asked_ns, answered_ns).map(Asked::Sample),
    }
}

/// Sends a question and looks at what comes back, until `read` takes something for an answer.
async fn exchange(
    address: SocketAddr,
    question: &[u8],
    bytes: &mut [u8],
    read: impl FnMut(&[u8], i64, i64) -> Option<Asked>,
) -> Asked {
    match timeout(PATIENCE, converse(address, question, bytes, read)).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) if is_no_route(&error) => Asked::NoRoute,
        // Refused by the other end's kernel, or silent.
        Ok(Err(_)) | Err(_) => Asked::Nothing,
    }
}

async fn converse(
    address: SocketAddr,
    question: &[u8],
    bytes: &mut [u8],
    mut read: impl FnMut(&[u8], i64, i64) -> Option<Asked>,
) -> io::Result<Asked> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    let asked_ns = sys::time::clock::raw_ns()?;
    socket.send(question).await?;
    for _ in 0..MOST_PACKETS {
        let length = socket.recv(bytes).await?;
        let answered_ns = sys::time::clock::raw_ns()?;
        // Anybody can send what is no answer; the server's own word may still come.
        if let Some(asked) = read(&bytes[..length], asked_ns, answered_ns) {
            return Ok(asked);
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
