//! An app's question as bytes, and what it is answered.
//!
//! Every byte of the question is the app's. Of it only its number, its one name and its type are looked at; what comes back
//! repeats these and adds addresses. Options are passed over, in both directions.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
};

use super::Kind;

/// Longest question read, bytes: a name of 255 and the options that libraries add.
pub const QUESTION_MAX: usize = 1024;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    id: u16,
    recursion: bool,
    /// The name in lower case, without the last dot. Empty if it has bytes that no host's name has: written out and read
    /// again it would be another name, and a longer one.
    pub name: String,
    kind: QTYPE,
    class: QCLASS,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Addresses of the type asked for, with their time to live in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// The name is there, and has nothing of this type.
    Nothing,
    /// The name is not there.
    NoName,
    /// Nobody could say.
    Failed,
    /// Not a question that this app may ask.
    Refused,
}

/// What is not answered by looking a name up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No question: nothing is answered.
    Nonsense,
    /// A message that is answered by an error without being understood, as bytes.
    Reply(Vec<u8>),
}

impl Asked {
    /// Reads a message.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn read(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > QUESTION_MAX {
            return Err(Fault::Nonsense);
        }
        let packet = Packet::parse(bytes).map_err(|_| Fault::Nonsense)?;
        if packet.has_flags(PacketFlag::RESPONSE) {
            return Err(Fault::Nonsense);
        }
        let error = |code| {
            Err(Fault::Reply(built(packet.id(), packet.has_flags(PacketFlag::RECURSION_DESIRED), code, None)))
        };
        if packet.opcode() != OPCODE::StandardQuery {
            return error(RCODE::NotImplemented);
        }
        let [question] = &packet.questions[..] else { return error(RCODE::FormatError) };
        if !packet.answers.is_empty() || !packet.name_servers.is_empty() {
            return error(RCODE::FormatError);
        }
        let of_hosts = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let plain = question.qname.as_bytes().flatten().all(of_hosts);
        Ok(Self {
            id: packet.id(),
            recursion: packet.has_flags(PacketFlag::RECURSION_DESIRED),
            name: if plain { question.qname.to_string().to_ascii_lowercase() } else { String::new() },
            kind: question.qtype,
            class: question.qclass,
        })
    }

    /// Which addresses are asked for, if it is addresses.
    pub fn kind(&self) -> Option<Kind> {
        match (self.class, self.kind) {
            (QCLASS::CLASS(CLASS::IN), QTYPE::TYPE(TYPE::A)) => Some(Kind::A),
            (QCLASS::CLASS(CLASS::IN), QTYPE::TYPE(TYPE::AAAA)) => Some(Kind::Aaaa),
            _ => None,
        }
    }

    /// The message that answers it. It is always below 512 bytes, so no datagram cuts it.
    pub fn answer(&self, answered: &Answered) -> Vec<u8> {
        let code = match answered {
            Answered::Addresses(..) | Answered::Nothing => RCODE::NoError,
            Answered::NoName => RCODE::NameError,
            Answered::Failed => RCODE::ServerFailure,
            Answered::Refused => RCODE::Refused,
        };
        // A name that can not be repeated is not.
        let about = (!self.name.is_empty()).then_some((self, answered));
        built(self.id, self.recursion, code, about)
    }
}

fn built(id: u16, recursion: bool, code: RCODE, about: Option<(&Asked, &Answered)>) -> Vec<u8> {
    let mut packet = Packet::new_reply(id);
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if recursion {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *packet.rcode_mut() = code;
    if let Some((asked, answered)) = about {
        let name = Name::new_unchecked(&asked.name);
        packet.questions.push(Question::new(name.clone(), asked.kind, asked.class, false));
        if let Answered::Addresses(addresses, ttl_s) = answered {
            let record = |address: &IpAddr| {
                let data = match *address {
                    IpAddr::V4(address) => RData::A(A::from(address)),
                    IpAddr::V6(address) => RData::AAAA(AAAA::from(address)),
                };
                ResourceRecord::new(name.clone(), CLASS::IN, *ttl_s, data)
            };
            packet.answers.extend(addresses.iter().take(fitting(&asked.name)).map(record));
        }
    }
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// How many addresses fit beside a name: 12 bytes of header, the question, 28 for each record with a pointer to its name.
fn fitting(name: &str) -> usize {
    super::ADDRESSES_MAX.min((512 - 12 - 6 - name.len().min(255)) / 28)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new_unchecked(name);
        packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn question_is_read_in_lower_case_and_answered_with_addresses() {
        let asked = Asked::read(&bytes("A.eXample", TYPE::AAAA)).unwrap();
        assert_eq!((asked.name.as_str(), asked.kind()), ("a.example", Some(Kind::Aaaa)));
        let addresses = vec!["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
        let answer = asked.answer(&Answered::Addresses(addresses, 60));
        let packet = Packet::parse(&answer).unwrap();
        assert_eq!(
            (packet.id(), packet.rcode(), packet.answers.len(), packet.questions.len()),
            (7, RCODE::NoError, 2, 1)
        );
        assert!(packet.has_flags(PacketFlag::RESPONSE | PacketFlag::RECURSION_DESIRED));
        assert_eq!(packet.answers[0].ttl, 60);
    }

    #[test]
    fn answer_of_any_length_of_name_fits_into_a_datagram() {
        let label = "a".repeat(63);
        for name in [
            "a.example".to_owned(),
            [label.as_str(); 3].join("."),
            format!("{}.{}", [label.as_str(); 3].join("."), "b".repeat(61)),
        ] {
            let asked = Asked::read(&bytes(&name, TYPE::AAAA)).unwrap();
            let addresses = vec!["2001:db8::1".parse().unwrap(); 16];
            let answer = asked.answer(&Answered::Addresses(addresses, 60));
            assert!(
                answer.len() <= 512 && !Packet::parse(&answer).unwrap().answers.is_empty(),
                "{}",
                answer.len()
            );
        }
    }

    #[test]
    fn question_with_bytes_that_no_host_has_is_answered_without_its_name() {
        let mut bytes = bytes("a.example", TYPE::A);
        for odd in [0xff, b' ', b'.', 0] {
            bytes[13] = odd;
            let asked = Asked::read(&bytes).unwrap();
            assert_eq!(asked.name, "");
            let answer = asked.answer(&Answered::Refused);
            assert!(answer.len() <= 512 && Packet::parse(&answer).unwrap().rcode() == RCODE::Refused);
        }
    }

    #[test]
    fn what_is_no_single_question_is_an_error_or_nothing() {
        assert_eq!(Asked::read(b""), Err(Fault::Nonsense));
        assert_eq!(Asked::read(&[0; 2000]), Err(Fault::Nonsense));
        let mut response = bytes("a.example", TYPE::A);
        response[2] |= 0x80;
        assert_eq!(Asked::read(&response), Err(Fault::Nonsense), "else two resolvers would talk for ever");
        let code = |bytes: &[u8]| match Asked::read(bytes) {
            Err(Fault::Reply(reply)) => Packet::parse(&reply).unwrap().rcode(),
            other => panic!("{other:?}"),
        };
        let mut update = bytes("a.example", TYPE::A);
        update[2] |= 5 << 3;
        assert_eq!(code(&update), RCODE::NotImplemented);
        assert_eq!(code(&Packet::new_query(1).build_bytes_vec().unwrap()), RCODE::FormatError);
        assert_eq!(Asked::read(&bytes("a.example", TYPE::TXT)).unwrap().kind(), None);
    }

    proptest! {
        #[test]
        fn question_of_any_bytes_is_answered_or_not_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(asked) = Asked::read(&bytes) {
                let reply = asked.answer(&Answered::Refused);
                prop_assert!(reply.len() <= 512);
            }
        }
    }
}
