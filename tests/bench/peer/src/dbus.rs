//! D-Bus as bare as it can be: messages put together by hand, no library, two system calls for a call.
//!
//! What a broker costs is measured with this, so that no library's own time is held against it. Little-endian only,
//! and just what the bench sends: a header, and a body that is bytes already. The brokers are our own, started for the
//! measurement; nothing hostile is read here.

mod connection;
mod message;

pub use connection::Connection;
pub use message::{Head, Kind, Received, Writer};
