//! Bytes in JSON: base64url without padding (RFC 4648 §5), at most `MAX` of them.
//!
//! One encoding of each: unused bits that are set, padding, line breaks and other alphabets are refused, so nobody can
//! say the same thing in two ways. The length is checked before anything is decoded.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// At most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// The bytes, or none if there are too many.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() <= MAX).then_some(Self(bytes))
    }

    /// The bytes as they are.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes themselves.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// Base64url without padding.
    pub fn encode(&self) -> String {
        encode(&self.0)
    }

    /// Reads what [`Bytes::encode`] writes, and nothing else.
    pub fn decode(text: &str) -> Option<Self> {
        (text.len() <= encoded_len(MAX)).then(|| decode(text)).flatten().map(Self)
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    /// Only how many: some are secrets, and all are too long to be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> Serialize for Bytes<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Bytes<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const MAX: usize>;
        impl<const MAX: usize> de::Visitor<'_> for Visitor<MAX> {
            type Value = Bytes<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} bytes as base64url without padding")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Bytes::decode(text).ok_or_else(|| E::custom(format_args!("not {}", Expected::<MAX>)))
            }
        }
        struct Expected<const MAX: usize>;
        impl<const MAX: usize> fmt::Display for Expected<MAX> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                de::Visitor::expecting(&Visitor::<MAX>, f)
            }
        }
        deserializer.deserialize_str(Visitor::<MAX>)
    }
}

pub(crate) const fn encoded_len(bytes: usize) -> usize {
    bytes / 3 * 4 + [0, 2, 3][bytes % 3]
}

fn encode(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(encoded_len(bytes.len()));
    let digit = |word: u32, place: u32| ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
    let (groups, rest) = bytes.as_chunks::<3>();
    for [a, b, c] in groups {
        let word = u32::from_be_bytes([0, *a, *b, *c]);
        text.extend_from_slice(&[digit(word, 0), digit(word, 1), digit(word, 2), digit(word, 3)]);
    }
    match *rest {
        [a] => text.extend((0..2).map(|place| digit(u32::from_be_bytes([0, a, 0, 0]), place))),
        [a, b] => text.extend((0..3).map(|place| digit(u32::from_be_bytes([0, a, b, 0]), place))),
        _ => (),
    }
    // The alphabet is ASCII.
    String::from_utf8(text).unwrap_or_default()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
    // What is no digit has bits above the six, and they are looked at once for all.
    let mut wrong = 0;
    for group in groups {
        let [a, b, c, d] = group.map(|digit| VALUES[usize::from(digit)]);
        wrong |= a | b | c | d;
        let word = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        bytes.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    let mut word = 0_u32;
    for digit in rest {
        let value = VALUES[usize::from(*digit)];
        wrong |= value;
        word = word << 6 | u32::from(value & 63);
    }
    match rest.len() {
        0 => (),
        3 if word & 3 == 0 => bytes.extend_from_slice(&(word >> 2).to_be_bytes()[2..]),
        2 if word & 15 == 0 => bytes.extend_from_slice(&(word >> 4).to_be_bytes()[3..]),
        _ => return None,
    }
    (wrong < 64).then_some(bytes)
}

/// Each digit's value; 255 for what is none.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

#[cfg(feature = "openapi")]
mod schema {
    use super::{Bytes, encoded_len};
    use std::borrow::Cow;
    use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
    use utoipa::openapi::{RefOr, RefOr::T};

    impl<const MAX: usize> utoipa::PartialSchema for Bytes<MAX> {
        fn schema() -> RefOr<Schema> {
            let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9_-]*$"));
            let text = text.max_length(Some(encoded_len(MAX)));
            let says = format!("at most {MAX} bytes as base64url without padding");
            T(Schema::Object(text.description(Some(says)).build()))
        }
    }

    impl<const MAX: usize> utoipa::ToSchema for Bytes<MAX> {
        fn name() -> Cow<'static, str> {
            Cow::Owned(format!("Bytes{MAX}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_of_rfc_4648_encode_without_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn second_way_of_writing_is_refused() {
        for text in ["Zh", "Zg==", "Zm9", "Z", "Zm9v\n", "+/8", "Zm 9v", "é"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn more_bytes_than_allowed_are_refused() {
        assert!(Bytes::<3>::decode("AAAA").is_some());
        assert_eq!(Bytes::<3>::decode("AAAAAA"), None);
        assert_eq!(Bytes::<2>::new([0; 3]), None);
        assert!(serde_json::from_str::<Bytes<3>>("\"AAAAAA\"").is_err());
    }

    #[test]
    fn debug_output_has_no_content() {
        assert_eq!(format!("{:?}", Bytes::<9>::new(*b"secret")), "Some(6 bytes)");
    }

    proptest! {
        #[test]
        fn bytes_survive_the_way_through_json(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
            let bytes = Bytes::<70>::new(bytes);
            let json = serde_json::to_string(&bytes)?;
            prop_assert_eq!(serde_json::from_str::<Option<Bytes<70>>>(&json)?, bytes);
        }

        #[test]
        fn text_that_decodes_is_what_it_encodes_to(text in "[A-Za-z0-9_=-]{0,20}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
