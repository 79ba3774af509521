//! What an upstream server said, checked: it answers our question and no other, and of all that is in it only the addresses
//! at the end of the name's own chain of aliases are taken.

use std::net::IpAddr;

use simple_dns::rdata::{OPT, OPTCode, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::cache::Heard;
use super::{ADDRESSES_MAX, Kind};

/// Longest answer read, bytes.
pub const REPLY_MAX: usize = 4096;
/// Aliases that are followed: as many as resolvers follow.
const ALIASES_MAX: usize = 16;
/// Bytes of a datagram that all networks carry whole (RFC 9715).
const SIZE: u16 = 1232;
/// What padded questions are a multiple of, bytes (RFC 8467).
const PADDED: usize = 128;
const OPTION_PADDING: u16 = 12;
/// Header, and the least of a question and of a record.
const HEADER_BYTES: usize = 12;
const QUESTION_BYTES: usize = 5;
const RECORD_BYTES: usize = 11;
/// How long it is remembered that something is not there, seconds (RFC 2308 lets the zone say; bounded here).
const NEGATIVE_S: std::ops::RangeInclusive<u32> = 5..=300;
/// The same where the zone does not say.
const NEGATIVE_UNSAID_S: u32 = 30;
/// How long an address is believed, seconds, at the least and at the most.
const POSITIVE_S: std::ops::RangeInclusive<u32> = 1..=86_400;

/// Why it is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No message, or not an answer to this question: perhaps somebody else's. Waiting goes on.
    Foreign,
    /// It did not fit: ask over a stream.
    Cut,
    /// The server does not know what was added to the question.
    Options,
    /// The server can not or will not say. Another may.
    Server,
}

/// What a question has beside itself (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// How long a datagram may be.
    Size,
    /// Padding, so that its length does not say which name it has.
    Padded,
}

/// The question as bytes.
pub fn question(id: u16, host: &str, kind: Kind, extra: Extra) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new_unchecked(host),
        QTYPE::TYPE(record_type(kind)),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    let opt = |opt_codes| Some(OPT { opt_codes, udp_packet_size: SIZE, version: 0 });
    let padding = |count| vec![OPTCode { code: OPTION_PADDING, data: vec![0; count].into() }];
    match extra {
        Extra::None => {}
        Extra::Size => *packet.opt_mut() = opt(Vec::new()),
        Extra::Padded => {
            *packet.opt_mut() = opt(padding(0));
            let bare = packet.build_bytes_vec().unwrap_or_default().len();
            *packet.opt_mut() = opt(padding(bare.next_multiple_of(PADDED) - bare));
        }
    }
    packet.build_bytes_vec().unwrap_or_default()
}

/// Reads an answer: what was heard, and for how many seconds it holds.
///
/// # Errors
/// See [`Fault`].
pub fn read(bytes: &[u8], id: u16, host: &str, kind: Kind) -> Result<(Heard, u32), Fault> {
    if !holds_what_it_says(bytes) {
        return Err(Fault::Foreign);
    }
    let packet = Packet::parse(bytes).map_err(|_| Fault::Foreign)?;
    let ours = packet.id() == id && packet.has_flags(PacketFlag::RESPONSE);
    let [question] = &packet.questions[..] else {
        // Some servers refuse without saying what.
        let refused = !matches!(packet.rcode(), RCODE::NoError | RCODE::NameError);
        let bare = ours && refused && packet.questions.is_empty();
        return Err(if bare { refusal(&packet) } else { Fault::Foreign });
    };
    if !ours
        || !is(&question.qname, host)
        || question.qtype != QTYPE::TYPE(record_type(kind))
        || question.qclass != QCLASS::CLASS(CLASS::IN)
    {
        return Err(Fault::Foreign);
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Err(Fault::Cut);
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok((Heard::NoName, negative_s(&packet))),
        _ => return Err(refusal(&packet)),
    }
    let (name, mut ttl_s) = end_of_aliases(&packet, host).ok_or(Fault::Server)?;
    let mut addresses = Vec::new();
    for record in packet.answers.iter().filter(|record| record.class == CLASS::IN && is(&record.name, &name))
    {
        let address: IpAddr = match (&record.rdata, kind) {
            (RData::A(a), Kind::A) => std::net::Ipv4Addr::from(a.address).into(),
            (RData::AAAA(aaaa), Kind::Aaaa) => std::net::Ipv6Addr::from(aaaa.address).into(),
            _ => continue,
        };
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
            ttl_s = ttl_s.min(record.ttl);
        }
    }
    if addresses.is_empty() {
        return Ok((Heard::Nothing, negative_s(&packet)));
    }
    Ok((Heard::Addresses(addresses), ttl_s.clamp(*POSITIVE_S.start(), *POSITIVE_S.end())))
}

/// Whether as many entries as the header says can be in so few bytes: room is made for them before they are read.
fn holds_what_it_says(bytes: &[u8]) -> bool {
    let count = |at| bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes);
    let least = |at, each: usize| usize::from(count(at)) * each;
    let records = [6, 8, 10].map(|at| least(at, RECORD_BYTES)).iter().sum::<usize>();
    HEADER_BYTES + least(4, QUESTION_BYTES) + records <= bytes.len()
}

fn refusal(packet: &Packet<'_>) -> Fault {
    match packet.rcode() {
        RCODE::FormatError | RCODE::NotImplemented => Fault::Options,
        _ => Fault::Server,
    }
}

const fn record_type(kind: Kind) -> TYPE {
    match kind {
        Kind::A => TYPE::A,
        Kind::Aaaa => TYPE::AAAA,
    }
}

fn is(name: &Name<'_>, host: &str) -> bool {
    name.to_string().eq_ignore_ascii_case(host)
}

/// Follows `host` through the aliases of the answer; the shortest time to live on the way. `None` if they have no end.
fn end_of_aliases(packet: &Packet<'_>, host: &str) -> Option<(String, u32)> {
    let (mut name, mut ttl_s) = (host.to_owned(), u32::MAX);
    for _ in 0..=ALIASES_MAX {
        let next = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(to) if is(&record.name, &name) => Some((to.0.to_string(), record.ttl)),
            _ => None,
        });
        let Some((to, ttl)) = next else { return Some((name, ttl_s)) };
        (name, ttl_s) = (to, ttl_s.min(ttl));
    }
    None
}

fn negative_s(packet: &Packet<'_>) -> u32 {
    let said = packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    said.unwrap_or(NEGATIVE_UNSAID_S).clamp(*NEGATIVE_S.start(), *NEGATIVE_S.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, CNAME};

    fn reply(records: Vec<ResourceRecord<'_>>) -> Vec<u8> {
        let question = question(7, "a.example", Kind::A, Extra::None);
        let mut packet = Packet::parse(&question).unwrap().into_reply();
        packet.questions = Packet::parse(&question).unwrap().questions;
        packet.answers = records;
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn a(name: &'static str, last: u8, ttl: u32) -> ResourceRecord<'static> {
        let data = RData::A(A::from(std::net::Ipv4Addr::new(192, 0, 2, last)));
        ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, ttl, data)
    }

    fn alias(from: &'static str, to: &'static str, ttl: u32) -> ResourceRecord<'static> {
        ResourceRecord::new(
            Name::new_unchecked(from),
            CLASS::IN,
            ttl,
            RData::CNAME(CNAME(Name::new_unchecked(to))),
        )
    }

    fn heard(bytes: &[u8]) -> Result<(Heard, u32), Fault> {
        read(bytes, 7, "a.example", Kind::A)
    }

    #[test]
    fn addresses_at_the_end_of_the_aliases_are_taken_and_no_others() {
        let bytes = reply(vec![
            alias("A.example", "b.example", 50),
            alias("b.example", "c.example", 40),
            a("c.example", 1, 60),
            a("c.example", 2, 70),
            a("evil.example", 9, 1),
            a("a.example", 8, 1),
        ]);
        let expected = Heard::Addresses(vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()]);
        assert_eq!(heard(&bytes), Ok((expected, 40)));
        let round = reply(vec![alias("a.example", "b.example", 9), alias("b.example", "a.example", 9)]);
        assert_eq!(heard(&round), Err(Fault::Server));
    }

    #[test]
    fn answer_to_another_question_is_foreign() {
        let bytes = reply(vec![a("a.example", 1, 60)]);
        assert_eq!(read(&bytes, 8, "a.example", Kind::A), Err(Fault::Foreign));
        assert_eq!(read(&bytes, 7, "b.example", Kind::A), Err(Fault::Foreign));
        assert_eq!(read(&bytes, 7, "a.example", Kind::Aaaa), Err(Fault::Foreign));
        assert_eq!(
            heard(&question(7, "a.example", Kind::A, Extra::None)),
            Err(Fault::Foreign),
            "our own question"
        );
    }

    #[test]
    fn answer_cut_or_failed_or_empty_is_told_apart() {
        let mut cut = reply(vec![]);
        cut[2] |= 2;
        assert_eq!(heard(&cut), Err(Fault::Cut));
        let mut failed = reply(vec![]);
        failed[3] |= 2;
        assert_eq!(heard(&failed), Err(Fault::Server));
        let mut absent = reply(vec![]);
        absent[3] |= 3;
        assert_eq!(heard(&absent), Ok((Heard::NoName, 30)));
        assert_eq!(heard(&reply(vec![])), Ok((Heard::Nothing, 30)));
    }

    #[test]
    fn refusal_of_options_is_told_apart_with_and_without_the_question() {
        for (code, fault) in
            [(1, Fault::Options), (4, Fault::Options), (5, Fault::Server), (2, Fault::Server)]
        {
            let mut refused = reply(vec![]);
            refused[3] |= code;
            assert_eq!(heard(&refused), Err(fault));
            refused.truncate(12);
            refused[5] = 0;
            assert_eq!(heard(&refused), Err(fault), "without the question");
            refused[0] = 9;
            assert_eq!(heard(&refused), Err(Fault::Foreign), "of another number");
        }
        let mut empty = reply(vec![]);
        empty.truncate(12);
        empty[5] = 0;
        assert_eq!(heard(&empty), Err(Fault::Foreign), "no refusal");
    }

    #[test]
    fn question_by_tls_has_a_length_that_does_not_say_its_name() {
        for (host, length) in [("a.example", 128), ("a-longer-name.example", 128), (&*"a.".repeat(60), 256)] {
            let question = question(7, host.trim_end_matches('.'), Kind::A, Extra::Padded);
            assert_eq!(question.len(), length, "{host}");
            assert!(Packet::parse(&question).unwrap().opt().is_some());
        }
    }

    #[test]
    fn answer_that_says_it_has_more_than_it_can_is_foreign() {
        let mut bytes = reply(vec![a("a.example", 1, 60)]);
        assert!(heard(&bytes).is_ok());
        bytes[10] = 0xff;
        assert!(!holds_what_it_says(&bytes) && heard(&bytes) == Err(Fault::Foreign));
    }

    #[test]
    fn answer_with_many_addresses_and_odd_times_is_bounded() {
        let bytes = reply((0..40).map(|n| a("a.example", n, 0)).collect());
        let Ok((Heard::Addresses(addresses), ttl_s)) = heard(&bytes) else { panic!() };
        assert_eq!((addresses.len(), ttl_s), (ADDRESSES_MAX, 1));
        assert_eq!(heard(&reply(vec![a("a.example", 1, u32::MAX)])).unwrap().1, 86_400);
    }

    proptest! {
        #[test]
        fn answer_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = heard(&bytes);
        }
    }
}
