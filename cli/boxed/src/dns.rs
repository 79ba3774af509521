//! Which name an address was the answer to. The bytes come from a name server, by way of the program's own memory.

use std::net::IpAddr;

use simple_dns::Packet;
use simple_dns::rdata::RData;

/// The addresses that a DNS answer gives, with the name that was asked for. Aliases on the way are not named: the
/// program asked for the first.
pub(crate) fn answers(message: &[u8]) -> Vec<(IpAddr, String)> {
    let Ok(packet) = Packet::parse(message) else { return Vec::new() };
    let Some(question) = packet.questions.first() else { return Vec::new() };
    let name = question.qname.to_string().trim_end_matches('.').to_ascii_lowercase();
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) => Some(IpAddr::from(std::net::Ipv4Addr::from(a.address))),
        RData::AAAA(a) => Some(IpAddr::from(std::net::Ipv6Addr::from(a.address))),
        _ => None,
    });
    addresses.map(|address| (address, name.clone())).collect()
}

/// What `/etc/hosts` of the app's root says: each address with its first name.
pub(crate) fn hosts(text: &str) -> Vec<(IpAddr, String)> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.to_ascii_lowercase()))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of a name server for `broker.example`, an alias of `a.example`, as captured.
    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x06Broker\x07example\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x13\xc0\x2c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07";

    #[test]
    fn answer_gives_the_name_that_was_asked_for() {
        let expected = ("192.0.2.7".parse::<IpAddr>().unwrap(), "broker.example".to_owned());
        assert_eq!(answers(ANSWER), [expected]);
    }

    #[test]
    fn answer_cut_anywhere_gives_nothing_and_does_not_panic() {
        for cut in 0..ANSWER.len() {
            assert_eq!(answers(&ANSWER[..cut]), [], "{cut}");
        }
    }

    #[test]
    fn hosts_have_their_first_name() {
        let found = hosts("# x\n127.0.0.1 localhost\n192.0.2.7\tBroker b # c\nnonsense\n");
        assert_eq!(found[1], ("192.0.2.7".parse().unwrap(), "broker".to_owned()));
        assert_eq!(found.len(), 2);
    }
}
