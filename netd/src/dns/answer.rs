//! What an app is answered, as bytes: its own question again, addresses, and why there are none if it speaks EDNS.

use std::net::IpAddr;

use super::because::Because;
use super::question::{Asked, HEADER_BYTES};

/// The longest answer, bytes: no datagram cuts it, whatever the app can take.
pub const ANSWER_MAX: usize = 512;

/// Bits of the header's flags.
pub(super) const RESPONSE: u16 = 0x8000;
pub(super) const OPCODE: u16 = 0x7800;
pub(super) const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// A record of ours: a pointer to the question's name, type, class, time to live, length, and an IPv6 address.
const RECORD_MAX: usize = 2 + 2 + 2 + 4 + 2 + 16;
/// EDNS without options: the root, type, size of datagrams, codes, length.
const OPT_BYTES: usize = 11;
/// The head of an option: its number and length, and the number of the error.
const OPTION_BYTES: usize = 6;
const OPTION_ERROR: u16 = 15;
/// What we can take of an app over UDP.
const SIZE: u16 = super::question::QUESTION_MAX as u16;

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Addresses of the type asked for, with their time to live in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// The name is there, and has nothing of this type.
    Nothing,
    /// The name is not there.
    NoName,
    /// Nobody could say, or it is kept back.
    Failed(Because),
    /// Not a question that this app may ask.
    Refused(Because),
}

/// Codes of errors (RFC 1035, section 4.1.1; RFC 6891, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Good = 0,
    Format = 1,
    Server = 2,
    NoName = 3,
    NotImplemented = 4,
    Refused = 5,
    Version = 16,
}

impl Asked {
    /// The message that answers it, of [`ANSWER_MAX`] bytes at most.
    pub fn answer(&self, answered: &Answered) -> Vec<u8> {
        let (code, because) = match answered {
            Answered::Addresses(..) | Answered::Nothing => (Code::Good, None),
            Answered::NoName => (Code::NoName, None),
            Answered::Failed(because) => (Code::Server, Some(because)),
            Answered::Refused(because) => (Code::Refused, Some(because)),
        };
        let edns = if self.edns { OPT_BYTES } else { 0 };
        let room = ANSWER_MAX - HEADER_BYTES - edns - self.question.len();
        let (addresses, ttl_s) = match answered {
            Answered::Addresses(addresses, ttl_s) => (addresses.as_slice(), *ttl_s),
            _ => (&[][..], 0),
        };
        let addresses = addresses.get(..room / RECORD_MAX).unwrap_or(addresses);
        let flags = if self.recursion { RECURSION_DESIRED } else { 0 };
        let counts = [1, addresses.len(), 0, usize::from(self.edns)];
        let mut bytes = header(self.id, flags, code, counts);
        bytes.extend(&self.question);
        for address in addresses {
            record(&mut bytes, *address, ttl_s);
        }
        if self.edns {
            opt(&mut bytes, code, because, room);
        }
        bytes
    }
}

/// The answer to what is not understood. `flags` are those of the message.
pub(super) fn error(id: u16, flags: u16, code: Code) -> Vec<u8> {
    let edns = code == Code::Version;
    let mut bytes = header(id, flags, code, [0, 0, 0, usize::from(edns)]);
    if edns {
        opt(&mut bytes, code, None, 0);
    }
    bytes
}

fn header(id: u16, flags: u16, code: Code, counts: [usize; 4]) -> Vec<u8> {
    let flags = RESPONSE | flags & (OPCODE | RECURSION_DESIRED) | RECURSION_AVAILABLE | code as u16 & 15;
    let mut bytes = Vec::with_capacity(ANSWER_MAX);
    bytes.extend(id.to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    counts.iter().for_each(|count| bytes.extend((*count as u16).to_be_bytes()));
    bytes
}

/// One address of the question's name.
fn record(bytes: &mut Vec<u8>, address: IpAddr, ttl_s: u32) {
    let (kind, length) = match address {
        IpAddr::V4(_) => (1, 4),
        IpAddr::V6(_) => (28, 16),
    };
    // The question's name begins after the header.
    bytes.extend([0xc0, HEADER_BYTES as u8, 0, kind, 0, 1]);
    bytes.extend(ttl_s.to_be_bytes());
    bytes.extend([0, length]);
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

/// RFC 6891: whoever asks with EDNS is answered with it.
fn opt(bytes: &mut Vec<u8>, code: Code, because: Option<&Because>, room: usize) {
    let text = because.map(|because| cut(&because.text, room.saturating_sub(OPTION_BYTES)));
    let length = text.map_or(0, |text| OPTION_BYTES + text.len());
    bytes.extend([0, 0, 41]);
    bytes.extend(SIZE.to_be_bytes());
    bytes.extend([(code as u16 >> 4) as u8, 0, 0, 0]);
    bytes.extend((length as u16).to_be_bytes());
    if let (Some(because), Some(text)) = (because, text) {
        bytes.extend(OPTION_ERROR.to_be_bytes());
        bytes.extend((2 + text.len() as u16).to_be_bytes());
        bytes.extend(because.code.to_be_bytes());
        bytes.extend(text.as_bytes());
    }
}

/// The beginning of `text` that has so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::question::tests::{bytes, with_edns};
    use super::*;
    use proptest::prelude::*;
    use simple_dns::{Packet, PacketFlag, RCODE, TYPE};

    fn refused() -> Answered {
        Answered::Refused(Because::not_listed("a.example"))
    }

    #[test]
    fn answer_has_the_question_as_it_was_asked_and_addresses() {
        let question = bytes("A.eXample", TYPE::AAAA);
        let asked = Asked::read(&question).unwrap();
        let addresses = vec!["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        let answer = asked.answer(&Answered::Addresses(addresses.clone(), 60));
        assert_eq!(answer[12..question.len()], question[12..], "byte for byte");
        let packet = Packet::parse(&answer).unwrap();
        assert_eq!((packet.id(), packet.rcode(), packet.questions.len()), (7, RCODE::NoError, 1));
        assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        assert!(packet.opt().is_none(), "nobody spoke EDNS");
        let found: Vec<IpAddr> = packet
            .answers
            .iter()
            .map(|record| match &record.rdata {
                simple_dns::rdata::RData::AAAA(aaaa) => std::net::Ipv6Addr::from(aaaa.address).into(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(found, addresses);
        let names: Vec<_> =
            packet.answers.iter().map(|record| (record.name.to_string(), record.ttl)).collect();
        assert_eq!(names[0], ("A.eXample".to_owned(), 60));
    }

    #[test]
    fn refusal_says_why_to_whoever_speaks_edns_and_to_nobody_else() {
        let question = bytes("a.example", TYPE::A);
        let plain = Asked::read(&question).unwrap().answer(&refused());
        let packet = Packet::parse(&plain).unwrap();
        assert_eq!((packet.rcode(), packet.opt().is_none()), (RCODE::Refused, true));
        let told = Asked::read(&with_edns(&question, 0)).unwrap().answer(&refused());
        let packet = Packet::parse(&told).unwrap();
        let [option] = &packet.opt().unwrap().opt_codes[..] else { panic!("{packet:?}") };
        assert_eq!((packet.rcode(), option.code, &option.data[..2]), (RCODE::Refused, 15, &[0, 18][..]));
        let text = std::str::from_utf8(&option.data[2..]).unwrap();
        assert!(text.contains("connect = [\"a.example:PORT/tcp\"]"), "{text}");
    }

    #[test]
    fn answer_of_any_length_of_name_fits_into_a_datagram() {
        let label = "a".repeat(63);
        for name in [
            "a.example".to_owned(),
            [label.as_str(); 3].join("."),
            format!("{}.{}", [label.as_str(); 3].join("."), "b".repeat(61)),
        ] {
            for question in [bytes(&name, TYPE::AAAA), with_edns(&bytes(&name, TYPE::AAAA), 0)] {
                let asked = Asked::read(&question).unwrap();
                let addresses = vec!["2001:db8::1".parse().unwrap(); 16];
                let answer = asked.answer(&Answered::Addresses(addresses, 60));
                let packet = Packet::parse(&answer).unwrap();
                assert!(answer.len() <= ANSWER_MAX && packet.answers.len() >= 8, "{}", answer.len());
                let because = Because { code: 18, text: "é".repeat(600) };
                let answer = asked.answer(&Answered::Failed(because));
                assert!(answer.len() <= ANSWER_MAX && Packet::parse(&answer).is_ok(), "{}", answer.len());
            }
        }
    }

    proptest! {
        #[test]
        fn question_of_any_bytes_is_answered_or_not_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(asked) = Asked::read(&bytes) {
                let reply = asked.answer(&refused());
                prop_assert!(reply.len() <= ANSWER_MAX);
            }
        }
    }
}
