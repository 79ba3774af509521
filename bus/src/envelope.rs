//! One message: what is around the parameters of a call or a reply.
//!
//! Read before anybody looks at the parameters, which stay a slice of the message: whether the method may be called
//! is decided first. What an attacker controls is every byte; what bounds the work is the length of the message.
//! Skipping over the parameters needs no recursion (a byte of memory for each bracket that is open); reading them into
//! a type goes at most 128 levels deep, `serde_json`'s own limit. Both refuse bytes that are not UTF-8.

mod scan;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A call, its parameters not yet read.
#[derive(Debug, PartialEq)]
pub struct Call<'a> {
    /// With the interface's name.
    pub method: Cow<'a, str>,
    /// A JSON object; absent is the same as an empty one.
    pub parameters: Option<&'a str>,
    /// The caller wants no reply.
    pub oneway: bool,
    /// The caller takes more than one reply.
    pub more: bool,
    /// The caller wants to go on with another protocol.
    pub upgrade: bool,
}

/// Refuses unknown members: what we do not know we cannot hold to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    oneway: Option<bool>,
    #[serde(default)]
    more: Option<bool>,
    #[serde(default)]
    upgrade: Option<bool>,
}

/// Reads a call from a message without its NUL. `None` when it is none: not JSON, not an object, not UTF-8, a member
/// that is unknown, repeated or of another type, or `oneway` together with `more`. What is wrong inside the parameters
/// may be left for who reads them.
pub fn call(message: &[u8]) -> Option<Call<'_>> {
    let message = std::str::from_utf8(message).ok()?;
    let call = scan::call(message).or_else(|| whole(message))?;
    (!(call.oneway && call.more)).then_some(call)
}

/// Reads a call that is written in any way that JSON allows.
fn whole(message: &str) -> Option<Call<'_>> {
    if !is_object(message.as_bytes()) {
        return None;
    }
    let claimed: Claimed<'_> = serde_json::from_str(message).ok()?;
    let said = |flag: Option<bool>| flag.unwrap_or(false);
    Some(Call {
        method: claimed.method,
        parameters: claimed.parameters.map(RawValue::get),
        oneway: said(claimed.oneway),
        more: said(claimed.more),
        upgrade: said(claimed.upgrade),
    })
}

/// A derived structure would be read from a JSON array, too.
pub(crate) fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// A call to be sent.
#[derive(Debug, Serialize)]
pub struct Request<'a, P> {
    /// With the interface's name.
    pub method: &'a str,
    /// What the method takes.
    pub parameters: &'a P,
    /// The caller wants no reply.
    #[serde(skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// The caller takes more than one reply.
    #[serde(skip_serializing_if = "is_false")]
    pub more: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A reply, its parameters not yet read.
#[derive(Debug, Deserialize)]
pub struct Reply<'a> {
    /// The name of an error, with its interface's.
    #[serde(borrow, default)]
    pub error: Option<Cow<'a, str>>,
    /// A JSON object; absent is the same as an empty one.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// Another reply to the same call follows.
    #[serde(default)]
    pub continues: Option<bool>,
}

/// A reply that is no error, its parameters read at once.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "R: Deserialize<'de>"))]
struct Typed<R> {
    #[serde(default)]
    error: Option<serde::de::IgnoredAny>,
    parameters: R,
    #[serde(default)]
    continues: Option<bool>,
}

/// Reads a reply that is no error, and whether others follow. `None`: see what [`reply`] makes of it.
pub fn typed_reply<'m, R: Deserialize<'m>>(message: &'m [u8]) -> Option<(R, bool)> {
    let read: Typed<R> =
        if is_object(message) { serde_json::from_slice(message).ok()? } else { return None };
    read.error.is_none().then_some((read.parameters, read.continues.unwrap_or(false)))
}

/// Reads a reply from a message without its NUL.
pub fn reply(message: &[u8]) -> Option<Reply<'_>> {
    if is_object(message) { serde_json::from_slice(message).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_is_read_with_its_parameters_left_alone() {
        let read = call(br#"{"parameters":{"a":[1, {"b":"\u0000"}]},"method":"a.b.C","more":true}"#).unwrap();
        assert_eq!(read.method, "a.b.C");
        assert!(matches!(read.method, Cow::Borrowed(_)));
        assert_eq!(read.parameters, Some(r#"{"a":[1, {"b":"\u0000"}]}"#));
        assert!(read.more && !read.oneway && !read.upgrade);
    }

    #[test]
    fn call_that_is_none_is_refused() {
        let wrong: [&[u8]; 12] = [
            b"",
            b"{}",
            b"null",
            br#"["a.b.C",null,null,null,null]"#,
            br#"{"method":1}"#,
            br#"{"method":"a.b.C"} x"#,
            br#"{"method":"a.b.C","method":"a.b.D"}"#,
            br#"{"method":"a.b.C","extra":1}"#,
            br#"{"method":"a.b.C","more":true,"oneway":true}"#,
            br#"{"method":"a.b.C","parameters":{"a":"}}"#,
            b"{\"method\":\"a.b.\xff\"}",
            b"{\"method\":\"a.b.C\",\"parameters\":{\"a\":\"\xff\"}}",
        ];
        for message in wrong {
            assert_eq!(call(message), None, "{}", String::from_utf8_lossy(message));
        }
    }

    #[test]
    fn reply_is_read_at_once_unless_it_is_an_error() {
        assert_eq!(typed_reply::<i64>(br#"{"parameters":7}"#), Some((7, false)));
        assert_eq!(typed_reply::<i64>(br#"{"continues":true,"parameters":7}"#), Some((7, true)));
        assert_eq!(typed_reply::<i64>(br#"{"error":null,"parameters":7}"#), Some((7, false)));
        for other in
            [&br#"{"error":"a.b","parameters":7}"#[..], b"{}", b"[null,7,null]", br#"{"parameters":"7"}"#]
        {
            assert_eq!(typed_reply::<i64>(other), None);
        }
    }

    #[test]
    fn call_nested_deeply_needs_no_stack() {
        let (open, close) = ("[".repeat(30_000), "]".repeat(30_000));
        let message = format!(r#"{{"method":"a.b.C","parameters":{{"a":{open}{close}}}}}"#);
        let read = call(message.as_bytes()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(read.parameters.unwrap()).is_err());
    }
}
