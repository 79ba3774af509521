//! A connection to the first of some addresses that answers.
//!
//! A host has several addresses, and one that nobody answers at must not be all that is tried: a route that leads nowhere is told
//! by silence alone, for minutes. So each has a few seconds, one after the other, as long as there is another; racing them (RFC 8305)
//! would gain a person's patience, which no daemon of ours has.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one may be silent while there is another, and all of those together: less than our callers wait.
const EACH: Duration = Duration::from_secs(6);
const ALL: Duration = Duration::from_secs(15);

/// Connects to `port` of the first that answers. How long the last one has is the caller's to say. What is sent goes at once: a first
/// request is behind the end of a handshake, and does not wait until that is acknowledged.
///
/// # Errors
/// Why the last one did not; there is none.
pub async fn dial(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let stream = first(addresses, port, EACH, ALL).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn first(addresses: &[IpAddr], port: u16, each: Duration, all: Duration) -> io::Result<TcpStream> {
    let Some((last, others)) = addresses.split_last() else { return Err(io::ErrorKind::NotFound.into()) };
    let shares = u32::try_from(others.len()).unwrap_or(u32::MAX).max(1);
    let each = each.min(all / shares);
    for address in others {
        if let Ok(Ok(stream)) = timeout(each, TcpStream::connect((*address, port))).await {
            return Ok(stream);
        }
    }
    TcpStream::connect((*last, port)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use tokio::net::TcpSocket;

    /// With less patience than a device has. The clock is the machine's: one that goes on when nobody has anything to do would go on
    /// while the kernel has something under way.
    #[tokio::test]
    async fn address_that_is_silent_or_refuses_is_left_for_the_next() {
        let (each, all) = (Duration::from_secs(2), Duration::from_secs(4));
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
        let silent = silent.listen(1).unwrap();
        let port = silent.local_addr().unwrap().port();
        // Its queue is full, so whoever comes now is not answered.
        let mut queue = Vec::new();
        while let Ok(Ok(stream)) = timeout(each, TcpStream::connect(silent.local_addr().unwrap())).await {
            queue.push(stream);
        }
        let there = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let [silent, refuses] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)].map(IpAddr::from);
        for silents in [1, 9] {
            let to = [&vec![silent; silents][..], &[refuses, Ipv4Addr::LOCALHOST.into()]].concat();
            // Less than nine would have if there were no end to all of them, and much more than is needed: the machine may be busy.
            let dialled = timeout(Duration::from_secs(16), first(&to, port, each, all)).await;
            assert_eq!(dialled.unwrap().unwrap().peer_addr().unwrap(), there.local_addr().unwrap());
        }
        assert_eq!(dial(&[refuses], port).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(dial(&[], port).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
