//! An app's question, read from bytes (RFC 1035, section 4.1; RFC 6891).
//!
//! Every byte of it is the app's. Of it only its number, its one name, type and class are looked at, and whether it speaks
//! EDNS; options are passed over. It is read here and not by a general reader, because it is given back to the app byte for
//! byte: clients compare it, the case of letters included, before they believe the answer.

use super::Kind;
use super::answer::{self, Code};

/// Longest question read, bytes: a name of 255 and the options that libraries add.
pub const QUESTION_MAX: usize = 1024;

/// A header: number, flags, and how many there are of four kinds of entries.
pub(super) const HEADER_BYTES: usize = 12;
/// The longest name, bytes (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 255;
/// Beside a question: EDNS, and what signs it. More is no question of an app.
const ADDITIONAL_MAX: u16 = 8;

const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub(super) id: u16,
    pub(super) recursion: bool,
    /// The name in lower case, without the last dot. Empty if it has bytes that no host's name has: written out and read
    /// again it would be another name, and a longer one.
    pub name: String,
    /// Name, type and class as the app wrote them.
    pub(super) question: Vec<u8>,
    /// Whether the app speaks EDNS, and so is told more.
    pub(super) edns: bool,
    kind: u16,
    class: u16,
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
        let mut rest = Rest(bytes);
        let header = [(); 6].map(|()| rest.number());
        let [Some(id), Some(flags), Some(questions), Some(answers), Some(authorities), Some(additional)] =
            header
        else {
            return Err(Fault::Nonsense);
        };
        // What is a response is never answered: two resolvers would talk for ever.
        if bytes.len() > QUESTION_MAX || flags & answer::RESPONSE != 0 {
            return Err(Fault::Nonsense);
        }
        let error = |code| Fault::Reply(answer::error(id, flags, code));
        if flags & answer::OPCODE != 0 {
            return Err(error(Code::NotImplemented));
        }
        if (questions, answers, authorities) != (1, 0, 0) || additional > ADDITIONAL_MAX {
            return Err(error(Code::Format));
        }
        let asked = Self::one(id, flags, &mut rest).ok_or_else(|| error(Code::Format))?;
        match edns(&mut rest, additional).ok_or_else(|| error(Code::Format))? {
            Some(0) => Ok(Self { edns: true, ..asked }),
            Some(_) => Err(error(Code::Version)),
            None => Ok(asked),
        }
    }

    fn one(id: u16, flags: u16, rest: &mut Rest<'_>) -> Option<Self> {
        let begin = rest.0;
        let (mut name, mut plain, mut length) = (String::new(), true, 1);
        loop {
            // Pointers can lead nowhere here: there is no name before this one.
            let label = match rest.take(1)? {
                [0] => break,
                [count @ 1..=63] => rest.take((*count).into())?,
                _ => return None,
            };
            length += 1 + label.len();
            if length > NAME_MAX {
                return None;
            }
            plain &= label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if plain {
                let dot = if name.is_empty() { "" } else { "." };
                name.push_str(dot);
                name.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
            }
        }
        let (kind, class) = (rest.number()?, rest.number()?);
        let question = begin.get(..begin.len() - rest.0.len())?.to_vec();
        if !plain {
            name.clear();
        }
        Some(Self {
            id,
            recursion: flags & answer::RECURSION_DESIRED != 0,
            name,
            question,
            edns: false,
            kind,
            class,
        })
    }

    /// Which addresses are asked for, if it is addresses.
    pub fn kind(&self) -> Option<Kind> {
        match (self.class, self.kind) {
            (CLASS_IN, TYPE_A) => Some(Kind::A),
            (CLASS_IN, TYPE_AAAA) => Some(Kind::Aaaa),
            _ => None,
        }
    }
}

/// The version of EDNS that the message speaks, if it does; the outer `None`: it is no message.
fn edns(rest: &mut Rest<'_>, records: u16) -> Option<Option<u8>> {
    let mut version = None;
    for _ in 0..records {
        let name = rest.skip_name()?;
        let kind = rest.number()?;
        let _size = rest.number()?;
        let [_code, its_version, _, _] = *rest.take(4)? else { return None };
        let length = rest.number()?;
        rest.take(length.into())?;
        // RFC 6891, section 6.1.1: its name must be the root, and there must be no second.
        if kind == TYPE_OPT && (name != 1 || version.replace(its_version).is_some()) {
            return None;
        }
    }
    Some(version)
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
    }

    /// Steps over a name without following where it points to: how many bytes it has here.
    fn skip_name(&mut self) -> Option<usize> {
        let begin = self.0.len();
        loop {
            match *self.take(1)? {
                [0] => break,
                [count @ 1..=63] => drop(self.take(count.into())?),
                [0xc0..=0xff] => {
                    self.take(1)?;
                    break;
                }
                _ => return None,
            }
        }
        Some(begin - self.0.len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use simple_dns::rdata::RData;
    use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE};

    pub(in super::super) fn bytes(name: &str, kind: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new_unchecked(name);
        packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    /// The same with EDNS of this version.
    pub(in super::super) fn with_edns(bytes: &[u8], version: u8) -> Vec<u8> {
        let mut bytes = [bytes, &[0, 0, 41, 4, 0xd0, 0, version, 0, 0, 0, 0]].concat();
        bytes[11] += 1;
        bytes
    }

    fn code(bytes: &[u8]) -> RCODE {
        match Asked::read(bytes) {
            Err(Fault::Reply(reply)) => Packet::parse(&reply).unwrap().rcode(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn question_is_read_in_lower_case_and_kept_as_it_is() {
        let bytes = bytes("A.eXample", TYPE::AAAA);
        let asked = Asked::read(&bytes).unwrap();
        assert_eq!((asked.name.as_str(), asked.kind(), asked.edns), ("a.example", Some(Kind::Aaaa), false));
        assert_eq!(asked.question, bytes[12..]);
        let asked = Asked::read(&with_edns(&bytes, 0)).unwrap();
        assert_eq!((asked.name.as_str(), asked.edns), ("a.example", true));
    }

    #[test]
    fn question_with_bytes_that_no_host_has_is_one_without_a_name() {
        let mut bytes = bytes("a.example", TYPE::A);
        for odd in [0xff, b' ', b'.', 0] {
            bytes[13] = odd;
            assert_eq!(Asked::read(&bytes).unwrap().name, "");
        }
    }

    #[test]
    fn question_of_a_type_or_class_that_is_not_known_is_a_question() {
        let mut bytes = bytes("a.example", TYPE::A);
        for (at, value) in [(24, 250), (24, 0), (26, 99)] {
            let kept = std::mem::replace(&mut bytes[at], value);
            let asked = Asked::read(&bytes).unwrap();
            assert_eq!((asked.name.as_str(), asked.kind()), ("a.example", None));
            bytes[at] = kept;
        }
        assert_eq!(Asked::read(&bytes).unwrap().kind(), Some(Kind::A));
    }

    #[test]
    fn what_is_no_single_question_is_an_error_or_nothing() {
        assert_eq!(Asked::read(b""), Err(Fault::Nonsense));
        assert_eq!(Asked::read(&[0; 2000]), Err(Fault::Nonsense));
        let plain = bytes("a.example", TYPE::A);
        let mut response = plain.clone();
        response[2] |= 0x80;
        assert_eq!(Asked::read(&response), Err(Fault::Nonsense), "else two resolvers would talk for ever");
        let mut update = plain.clone();
        update[2] |= 5 << 3;
        assert_eq!(code(&update), RCODE::NotImplemented);
        assert_eq!(code(&Packet::new_query(1).build_bytes_vec().unwrap()), RCODE::FormatError);
        for count in [4, 6, 8, 10] {
            let mut more = plain.clone();
            more[count + 1] += 1;
            assert_eq!(code(&more), RCODE::FormatError, "of the kind at {count}");
        }
        let mut pointing = plain.clone();
        pointing.splice(12..23, [0xc0, 0]);
        assert_eq!(code(&pointing), RCODE::FormatError);
        assert_eq!(code(&plain[..20]), RCODE::FormatError);
        let long = bytes(&["a".repeat(63).as_str(); 4].join("."), TYPE::A);
        assert_eq!(code(&long), RCODE::FormatError, "a name of 257 bytes");
    }

    #[test]
    fn edns_that_is_twice_or_newer_or_not_of_the_root_is_an_error() {
        let plain = bytes("a.example", TYPE::A);
        let Err(Fault::Reply(newer)) = Asked::read(&with_edns(&plain, 1)) else { panic!() };
        // 16 is a 1 before the four bits of the header. (Our general reader looks for it elsewhere.)
        assert_eq!((newer[3] & 15, &newer[12..15], newer[17]), (0, &[0, 0, 41][..], 1));
        let once = with_edns(&plain, 0);
        let mut twice = [&once[..], &once[plain.len()..]].concat();
        twice[11] = 2;
        assert_eq!(code(&twice), RCODE::FormatError);
        let mut named = once.clone();
        named.splice(plain.len()..=plain.len(), [0xc0, 12]);
        assert_eq!(code(&named), RCODE::FormatError);
        let mut signed = Packet::parse(&once).unwrap();
        let other = RData::A(simple_dns::rdata::A { address: 1 });
        signed.additional_records.push(ResourceRecord::new(Name::new_unchecked("x"), CLASS::IN, 0, other));
        assert!(Asked::read(&signed.build_bytes_vec().unwrap()).unwrap().edns);
    }
}
