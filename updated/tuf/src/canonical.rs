//! Canonical JSON, which signatures are over: names in order, no white space, nothing escaped but `"` and `\`.
//!
//! What an attacker controls: the text, before any signature is checked. A name that an object has twice, a number that is no
//! whole one and what is nested too deeply are refused, so that what is signed is one thing for every reader. What it takes
//! to hold the text is within a small multiple of its length.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// The canonical form of a JSON text.
///
/// # Errors
/// It is no JSON, or has what canonical JSON has not.
pub fn of(text: &str) -> Result<Vec<u8>, serde_json::Error> {
    let value: Value = serde_json::from_str(text)?;
    let mut bytes = Vec::with_capacity(text.len());
    value.write(&mut bytes);
    Ok(bytes)
}

/// Objects as a list in order, which takes a tenth of what a tree takes for small ones.
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Long(u64),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    fn write(&self, into: &mut Vec<u8>) {
        match self {
            Self::Null => into.extend(b"null"),
            Self::Bool(value) => into.extend(value.to_string().as_bytes()),
            Self::Int(value) => into.extend(value.to_string().as_bytes()),
            Self::Long(value) => into.extend(value.to_string().as_bytes()),
            Self::Text(text) => write_text(text, into),
            Self::Array(items) => {
                into.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        into.push(b',');
                    }
                    item.write(into);
                }
                into.push(b']');
            }
            Self::Object(fields) => {
                into.push(b'{');
                for (at, (name, item)) in fields.iter().enumerate() {
                    if at > 0 {
                        into.push(b',');
                    }
                    write_text(name, into);
                    into.push(b':');
                    item.write(into);
                }
                into.push(b'}');
            }
        }
    }
}

fn write_text(text: &str, into: &mut Vec<u8>) {
    into.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            into.push(b'\\');
        }
        into.push(byte);
    }
    into.push(b'"');
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON with whole numbers")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Int(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Long(value))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut array = Vec::new();
                while let Some(item) = items.next_element()? {
                    array.push(item);
                }
                Ok(Value::Array(array))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut fields: Vec<(String, Value)> = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    fields.push(entry);
                }
                // By bytes of UTF-8, which is the order of code points.
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                if fields.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(de::Error::custom("an object has a name twice"));
                }
                Ok(Value::Object(fields))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_one_canonical_form() {
        let text = r#" { "b": [1, -2, true, null], "a\u0062": "x\"\\\n\u00e9", "a": {} } "#;
        let expected = "{\"a\":{},\"ab\":\"x\\\"\\\\\né\",\"b\":[1,-2,true,null]}";
        assert_eq!(of(text).ok(), Some(expected.into()));
    }

    #[test]
    fn what_readers_would_understand_differently_is_refused() {
        for bad in
            [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "1.5", "1e2", "-0", "[1] 2", &"[".repeat(200)]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
