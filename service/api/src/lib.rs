//! What devices, people and the Security Service say to each other over HTTPS, as JSON.
//!
//! Every type is read strictly: a field that is not known, a text that is too long or a list with too many entries is
//! refused by the reader, before anybody looks at the value. So what a peer can make the reader keep is bounded by the
//! type. What the bytes mean (a quote, a certificate request) is not looked at here.
//!
//! Bytes travel as base64url without padding, times as seconds since 1970 (UTC).

mod bytes;
mod list;
mod text;

pub mod artefacts;
pub mod deployments;
pub mod device;
pub mod feeds;
pub mod fleet;
pub mod orders;
pub mod people;
pub mod permits;
pub mod problem;
pub mod publish;
pub mod records;
pub mod release;
pub mod updates;

pub use bytes::Bytes;
pub use list::Few;
pub use text::{Code, DeviceId, Digest, Name, RecoveryKey, Subject, Text, TextError, Version};
