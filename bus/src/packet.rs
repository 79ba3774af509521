//! One message of a `SOCK_SEQPACKET` link between two daemons of the system: postcard, whole and nothing behind it.

use serde::{Deserialize, Serialize};

/// Longest message of a link, bytes.
const MESSAGE_MAX: usize = 64 << 10;

/// The message as bytes.
pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    // Plain strings and numbers into a vector: nothing can fail.
    postcard::to_stdvec(message).unwrap_or_default()
}

/// Reads a message; `None` when it is not one, or not all of the bytes.
pub(crate) fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Option<M> {
    let whole = bytes.len() <= MESSAGE_MAX;
    let read = whole.then(|| postcard::take_from_bytes(bytes).ok()).flatten();
    read.and_then(|(message, rest)| rest.is_empty().then_some(message))
}

/// One line for people of at most `max` bytes, which may go into a record between quotation marks.
pub(crate) fn is_text(text: &str, max: usize) -> bool {
    text.len() <= max && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\')
}
