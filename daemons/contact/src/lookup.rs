//! The service's addresses, from netd: each daemon has a name server of its own, as every box with names, and the firewall
//! lets it ask no other.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// What netd's answers fit into, bytes.
const ANSWER_MAX: usize = 512;
/// netd asks others, and gives up sooner.
const PATIENCE: Duration = Duration::from_secs(12);
/// The port of name servers.
const PORT: u16 = 53;

/// The addresses of `host`, which may be an address itself.
///
/// # Errors
/// netd is not there, or says that there is none.
pub async fn lookup(host: &str, name_server: Ipv4Addr) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((name_server, PORT)).await?;
    let mut addresses = ask(&socket, host, TYPE::A, 1).await?;
    addresses.extend(ask(&socket, host, TYPE::AAAA, 2).await.unwrap_or_default());
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    Ok(addresses)
}

/// Over the loopback, to a connected socket: the number of the question keeps answers apart, and nobody else sends there.
async fn ask(socket: &UdpSocket, host: &str, kind: TYPE, id: u16) -> io::Result<Vec<IpAddr>> {
    let question = question(host, kind, id).map_err(io::Error::other)?;
    socket.send(&question).await?;
    let mut buffer = [0; ANSWER_MAX];
    let answered = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            let Some(answer) = buffer.get(..length) else { continue };
            if let Some(found) = answer_of(answer, id) {
                return found;
            }
        }
    };
    timeout(PATIENCE, answered).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn question(host: &str, kind: TYPE, id: u16) -> Result<Vec<u8>, simple_dns::SimpleDnsError> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Question::new(Name::new(host)?, kind, class, false));
    packet.build_bytes_vec()
}

/// `None` when it is an answer to another question.
fn answer_of(bytes: &[u8], id: u16) -> Option<io::Result<Vec<IpAddr>>> {
    let packet = Packet::parse(bytes).ok().filter(|packet| packet.id() == id)?;
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::Refused => {
            return Some(Err(io::Error::new(io::ErrorKind::PermissionDenied, "netd does not know us yet")));
        }
        code => return Some(Err(io::Error::other(format!("netd says {code:?}")))),
    }
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    });
    Some(Ok(addresses.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_another_question_is_passed_over() {
        let asked = question("a.example", TYPE::A, 7).unwrap();
        assert!(answer_of(&asked, 7).unwrap().unwrap().is_empty());
        assert!(answer_of(&asked, 8).is_none());
        assert!(answer_of(b"nonsense", 7).is_none());
        let mut refused = asked;
        refused[3] |= 5;
        let error = answer_of(&refused, 7).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
