//! What an interface is to a program: names, a type for each method, and which parameter is wrong when one is.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// An interface.
#[derive(Debug)]
pub struct Interface {
    /// As `os.gabion.Apps`.
    pub name: &'static str,
    /// The interface file.
    pub description: &'static str,
    /// Its methods, in the file's order.
    pub methods: &'static [MethodInfo],
}

/// A method of an [`Interface`].
#[derive(Debug)]
pub struct MethodInfo {
    /// Without the interface's name.
    pub name: &'static str,
    /// Whether it answers by a stream.
    pub more: More,
    /// Whether a call brings descriptors.
    pub takes_descriptors: bool,
    /// Whether a reply brings descriptors.
    pub gives_descriptors: bool,
}

/// Whether a method answers by a stream of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// One reply to a call.
    No,
    /// A stream when the caller asks for it.
    Supports,
    /// Always; a call without `more` is an error.
    Requires,
}

impl Interface {
    /// The place of a method in [`Interface::methods`].
    pub fn index(&self, method: &str) -> Option<usize> {
        self.methods.iter().position(|m| m.name == method)
    }

    /// Whether a call of any method may bring descriptors.
    pub fn takes_descriptors(&self) -> bool {
        self.methods.iter().any(|m| m.takes_descriptors)
    }
}

/// A method as a type, so that a call, its parameters, its reply and its errors cannot be mixed up.
pub trait Method {
    /// Where it belongs.
    const INTERFACE: &'static Interface;
    /// Its place there.
    const INDEX: usize;
    /// Its name with the interface's.
    const CALL: &'static str;
    /// What a call brings. Text in it is borrowed from the message where it has no escapes. A structure inside may
    /// also be written as a JSON array of its fields in order: serde reads both.
    type Parameters<'a>: Parameters + Serialize + Deserialize<'a>;
    /// What a reply brings.
    type Reply<'a>: Serialize + Deserialize<'a>;
    /// The errors of its interface.
    type Error: Serialize + DeserializeOwned + fmt::Debug;
}

/// Parameters of a method.
pub trait Parameters {
    /// Its fields.
    const FIELDS: &'static [Field];
}

/// One field of [`Parameters`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// On the wire.
    pub name: &'static str,
    /// Whether it may be absent.
    pub optional: bool,
    /// Whether a value is of its type.
    pub reads: for<'a> fn(&'a RawValue) -> bool,
}

/// Whether a value is of type `T`.
pub fn reads<'a, T: Deserialize<'a>>(json: &'a RawValue) -> bool {
    serde_json::from_str::<T>(json.get()).is_ok()
}

/// A structure without fields: a reply that says nothing but that it was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Parameters of a method that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

impl Parameters for NoParameters {
    const FIELDS: &'static [Field] = &[];
}

/// The errors of an interface that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoError {}

impl fmt::Display for NoError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for NoError {}

/// An error as it is on the wire, for people.
///
/// # Errors
/// Those of the formatter.
pub fn show_error(error: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(error).map_err(|_| fmt::Error)?)
}

/// The parameter that is the reason why parameters could not be read: not known, given twice, of another type, or
/// missing. Empty when they are no object at all.
pub fn culprit(json: &str, fields: &[Field]) -> String {
    let Ok(Pairs(pairs)) = serde_json::from_str::<Pairs<'_>>(json) else { return String::new() };
    let wrong = pairs.iter().enumerate().find(|(n, (name, value))| {
        let field = fields.iter().find(|field| field.name == name);
        let twice = pairs.iter().take(*n).any(|(before, _)| before == name);
        twice || field.is_none_or(|field| !(field.reads)(value))
    });
    if let Some((_, (name, _))) = wrong {
        return name.clone().into_owned();
    }
    let given = |field: &&Field| field.optional || pairs.iter().any(|(name, _)| name == field.name);
    fields.iter().find(|field| !given(field)).map(|field| field.name.to_owned()).unwrap_or_default()
}

/// An object's members as they stand there, repeated ones too.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Key(name)) = map.next_key()? {
                    pairs.push((name, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A bare `Cow` would be copied.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[Field] = &[
        Field { name: "app", optional: false, reads: |json| reads::<Cow<'_, str>>(json) },
        Field { name: "lines", optional: true, reads: |json| reads::<i64>(json) },
    ];

    #[test]
    fn culprit_is_the_parameter_that_is_wrong() {
        assert_eq!(culprit(r#"{"app":"a","lines":"b"}"#, FIELDS), "lines");
        assert_eq!(culprit(r#"{"lines":1}"#, FIELDS), "app");
        assert_eq!(culprit(r#"{"app":"a","app":"a"}"#, FIELDS), "app");
        assert_eq!(culprit(r#"{"app":"a","lins":1}"#, FIELDS), "lins");
        assert_eq!(culprit(r#"["a",1]"#, FIELDS), "");
    }
}
