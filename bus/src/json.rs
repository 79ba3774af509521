//! Writes JSON. Reading it is `serde_json`'s; so was writing, until it was measured: looking at a string's every byte by
//! itself took a fifth of the round trip of a call with 4 KiB in it. Here eight are looked at together, and what needs
//! no escape is copied as a whole.
//!
//! What is written is byte for byte what `serde_json` writes (there is a test), for what varlink has: no bytes, and
//! text alone as keys.

use std::fmt;
use std::io::Write;

use serde::{Serialize, ser};

/// A value that JSON or this writer does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct NotJson(String);

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value is not JSON: {}", self.0)
    }
}

impl std::error::Error for NotJson {}

impl ser::Error for NotJson {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

/// Adds a value to `out`.
///
/// # Errors
/// It cannot be expressed; part of it may have been added.
pub fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), NotJson> {
    value.serialize(Writer { out })
}

/// Writes one value.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

/// Writes the elements of a list or the members of an object.
struct Inside<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
    end: &'static [u8],
}

impl<'o> Writer<'o> {
    fn display(self, value: impl fmt::Display) -> Result<(), NotJson> {
        // Writing to memory does not fail.
        let _ = write!(self.out, "{value}");
        Ok(())
    }

    fn inside(self, start: &[u8], end: &'static [u8]) -> Inside<'o> {
        self.out.extend_from_slice(start);
        Inside { out: self.out, first: true, end }
    }

    /// `{"variant":` and what comes then.
    fn variant(self, variant: &str) -> Self {
        self.out.push(b'{');
        text(self.out, variant);
        self.out.push(b':');
        self
    }
}

impl Inside<'_> {
    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), NotJson> {
        self.comma();
        write(self.out, value)
    }

    fn member(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), NotJson> {
        self.comma();
        text(self.out, key);
        self.out.push(b':');
        write(self.out, value)
    }

    fn close(self) {
        self.out.extend_from_slice(self.end);
    }
}

/// A string with its quotes.
fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain(rest);
        let (copied, then) = rest.split_at(plain);
        out.extend_from_slice(copied);
        let Some((byte, after)) = then.split_first() else { break };
        escape(out, *byte);
        rest = after;
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// How many bytes from the beginning are plain: neither control character nor quote nor backslash.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<32>();
    let mut done = 0;
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        // All four named: a program that is optimised for size has no loops unrolled.
        let [a, b, c, d] = words else { break };
        if (special(*a) | special(*b) | special(*c) | special(*d)) & HIGH != 0 {
            break;
        }
        done += 32;
    }
    let rest = bytes.get(done..).unwrap_or_default();
    done + rest.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\')).unwrap_or(rest.len())
}

/// The top bit of each byte.
const HIGH: u64 = (u64::MAX / 255) << 7;

/// [`HIGH`] bits of it are set if one of eight bytes is below 0x20, a quote or a backslash. In each byte, `x - n` sets the high bit where x is
/// below n; a byte that had it set itself does not count. A quote is 0x22: with its bit 1 turned it is 0x20, and bytes
/// below 0x20 stay there, so that one question answers for both.
#[inline(always)]
fn special(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let chars = u64::from_ne_bytes(bytes);
    let quote_or_control = (chars ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (chars ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !chars
}

impl<'o> ser::Serializer for Writer<'o> {
    type Ok = ();
    type Error = NotJson;
    type SerializeSeq = Inside<'o>;
    type SerializeTuple = Inside<'o>;
    type SerializeTupleStruct = Inside<'o>;
    type SerializeTupleVariant = Inside<'o>;
    type SerializeMap = Inside<'o>;
    type SerializeStruct = Inside<'o>;
    type SerializeStructVariant = Inside<'o>;

    fn serialize_bool(self, v: bool) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_i8(self, v: i8) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_i16(self, v: i16) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_i32(self, v: i32) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_i64(self, v: i64) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_u8(self, v: u8) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_u16(self, v: u16) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_u32(self, v: u32) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_u64(self, v: u64) -> Result<(), NotJson> {
        self.display(v)
    }
    fn serialize_f32(self, v: f32) -> Result<(), NotJson> {
        serde_json::to_writer(self.out, &v).map_err(ser::Error::custom)
    }
    fn serialize_f64(self, v: f64) -> Result<(), NotJson> {
        serde_json::to_writer(self.out, &v).map_err(ser::Error::custom)
    }
    fn serialize_char(self, v: char) -> Result<(), NotJson> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, v: &str) -> Result<(), NotJson> {
        text(self.out, v);
        Ok(())
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), NotJson> {
        Err(ser::Error::custom("bytes"))
    }
    fn serialize_none(self) -> Result<(), NotJson> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotJson> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), NotJson> {
        self.display("null")
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NotJson> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), NotJson> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotJson> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotJson> {
        let mut inside = self.inside(b"{", b"}");
        inside.member(variant, value)?;
        inside.close();
        Ok(())
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'o>, NotJson> {
        Ok(self.inside(b"[", b"]"))
    }
    fn serialize_tuple(self, _: usize) -> Result<Inside<'o>, NotJson> {
        Ok(self.inside(b"[", b"]"))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'o>, NotJson> {
        Ok(self.inside(b"[", b"]"))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'o>, NotJson> {
        Ok(self.variant(variant).inside(b"[", b"]}"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'o>, NotJson> {
        Ok(self.inside(b"{", b"}"))
    }
    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Inside<'o>, NotJson> {
        // Values that only serde_json knows how to write.
        if name.starts_with("$serde_json::private") {
            return Err(ser::Error::custom(name));
        }
        Ok(self.inside(b"{", b"}"))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'o>, NotJson> {
        Ok(self.variant(variant).inside(b"{", b"}}"))
    }
}

macro_rules! list {
    ($($which:ident :: $element:ident),*) => {
        $(impl ser::$which for Inside<'_> {
            type Ok = ();
            type Error = NotJson;
            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
                self.element(value)
            }
            fn end(self) -> Result<(), NotJson> {
                self.close();
                Ok(())
            }
        })*
    };
}

list!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! object {
    ($($which:ident),*) => {
        $(impl ser::$which for Inside<'_> {
            type Ok = ();
            type Error = NotJson;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), NotJson> {
                self.member(key, value)
            }
            fn end(self) -> Result<(), NotJson> {
                self.close();
                Ok(())
            }
        })*
    };
}

object!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotJson> {
        self.comma();
        let start = self.out.len();
        write(self.out, key)?;
        if self.out.get(start) != Some(&b'"') {
            return Err(ser::Error::custom("a key that is no text"));
        }
        self.out.push(b':');
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        write(self.out, value)
    }
    fn end(self) -> Result<(), NotJson> {
        self.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    enum Every {
        Unit,
        New(u8),
        Tuple(i8, char),
        Struct { a: Option<bool>, b: () },
    }

    fn ours(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        write(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn value_of_every_kind_is_written_as_serde_json_does() {
        let every =
            [Every::Unit, Every::New(7), Every::Tuple(-1, '"'), Every::Struct { a: Some(true), b: () }];
        assert_eq!(ours(&every), serde_json::to_string(&every).unwrap());
        let floats = [0.0, 1.0, -1.5e300, 0.1 + 0.2, f64::NAN, f64::INFINITY, std::f64::consts::PI];
        assert_eq!(ours(&floats), serde_json::to_string(&floats).unwrap());
        let numbers = (i64::MIN, u64::MAX, 1.5_f32, u32::MAX, i16::MIN);
        assert_eq!(ours(&numbers), serde_json::to_string(&numbers).unwrap());
    }

    #[test]
    fn what_json_does_not_have_is_an_error() {
        assert!(write(&mut Vec::new(), &BTreeMap::from([(1, 2)])).is_err());
        let raw = serde_json::value::RawValue::from_string("1".into()).unwrap();
        assert!(write(&mut Vec::new(), &raw).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[ -~]{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_written_as_serde_json_does(value in any_value()) {
            prop_assert_eq!(ours(&value), serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn any_text_is_written_as_serde_json_does(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(ours(&text), serde_json::to_string(&text).unwrap());
            let low: String = bytes.iter().map(|b| char::from(b % 128)).collect();
            prop_assert_eq!(ours(&low), serde_json::to_string(&low).unwrap());
        }
    }
}
