//! The control messages as bytes: postcard's encoding, checked.
//!
//! Both ends are from one image, so there is no version. `sandboxd` believes nothing that the router says beyond its
//! form, and the router, which believes `sandboxd`, still checks each text: it goes on to servers and into records.
//! There is one encoding of each message; any other is refused, like one that is cut short or longer.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Connection, Event, FromRouter, Grant, Key, Limits, MESSAGE_MAX, ToRouter, Verdict};

/// Longest app id, interface and method, bytes; as in `policy`.
const APP_MAX: usize = 64;
const INTERFACE_MAX: usize = 80;
const METHOD_MAX: usize = 64;
/// Most methods in a grant; as in `policy`.
const METHODS_MAX: usize = 64;
/// Longest [`Event::detail`] and reason of a refusal, bytes: a sentence with two ids and an interface. What is longer is
/// no message, and would end the router.
const TEXT_MAX: usize = 320;

impl ToRouter {
    /// The message, without its descriptor.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        decode(bytes).filter(Self::is_valid)
    }

    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self, Self::Listen { .. } | Self::Serve { .. } | Self::Stored(_)))
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Sync { .. } | Self::SyncEnd(_) | Self::Monitor(_) => true,
            Self::Listen { key, app, verdict, .. } => {
                key.is_valid() && is_name(app, APP_MAX) && verdict.is_valid()
            }
            Self::Serve { key, app } => key.is_valid() && is_name(app, APP_MAX),
            Self::Stored(connection) => connection.is_valid(),
            Self::Revoke(key) => key.is_valid(),
        }
    }
}

impl FromRouter {
    /// The message, without its descriptor.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a message; `None` when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        decode(bytes).filter(Self::is_valid)
    }

    /// How many descriptors come with it.
    pub fn descriptors(&self) -> usize {
        usize::from(matches!(self, Self::Store(_)))
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Hello(number) | Self::Handed(number) | Self::Forget(number) => *number != 0,
            Self::Synced(_) => true,
            Self::Store(connection) => connection.is_valid(),
            Self::Event(event) => event.is_valid(),
        }
    }
}

impl Key {
    fn is_valid(&self) -> bool {
        self.uid != 0 && is_name(&self.interface, INTERFACE_MAX)
    }
}

impl Verdict {
    fn is_valid(&self) -> bool {
        match self {
            Self::Undecided => true,
            Self::Refused(reason) => is_text(reason),
            Self::Granted(grant) => grant.is_valid(),
        }
    }
}

impl Grant {
    fn is_valid(&self) -> bool {
        let Limits { connections, connections_per_s, message_bytes } = self.limits;
        self.server != 0
            && (1..=METHODS_MAX).contains(&self.methods.len())
            && self.methods.is_sorted_by(|one, next| one < next)
            && self.methods.iter().all(|method| is_name(method, METHOD_MAX))
            && connections != 0
            && connections_per_s != 0
            && message_bytes != 0
    }
}

impl Connection {
    fn is_valid(&self) -> bool {
        self.serial != 0 && self.server != 0 && self.key.is_valid()
    }
}

impl Event {
    fn is_valid(&self) -> bool {
        self.uid != 0 && is_name(&self.interface, INTERFACE_MAX) && is_text(&self.detail)
    }
}

/// What needs no quoting in a path, a record or JSON. The grammars themselves are `policy`'s.
fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

/// One line for people.
fn is_text(text: &str) -> bool {
    text.len() <= TEXT_MAX && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    // Writing plain strings and numbers into a vector has no way to fail.
    postcard::to_extend(message, Vec::new()).unwrap_or_default()
}

fn decode<M: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<M> {
    if bytes.len() > MESSAGE_MAX {
        return None;
    }
    let message = postcard::from_bytes(bytes).ok()?;
    (encode(&message) == bytes).then_some(message)
}

#[cfg(test)]
mod tests;
