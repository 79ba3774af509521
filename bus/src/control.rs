//! What `sandboxd` and the router say to each other: one `SOCK_SEQPACKET` message each, some with one descriptor.
//!
//! Both ends of the socket pair live as long as the router's box: `init` keeps them, so either side may be killed and
//! the next one goes on with the same socket. What was under way to the one that died is recognised by its number
//! and passed over:
//!
//! ```text
//! router starts     router  ──Hello(n)──▶ sandboxd      answers with the whole state, under the same number:
//! sandboxd starts   sandboxd ──Sync(n)…──▶ router       sends it unasked, once it knows it, under a number of its own
//!
//! state = Sync(n) · Monitor? · Listen* · Serve* · Stored* · SyncEnd(n)
//! ```
//!
//! After a `Hello(n)` the router ignores everything before the `Sync(n)` that answers it. Between `Sync` and `SyncEnd` a
//! router that has state already only compares: what was not named by `SyncEnd` is revoked, with its connections; what
//! was named again keeps its connections. After a state that it did not ask for it repeats each of its connections as
//! `Store`: the new `sandboxd` has none of them. Either way it says `Synced(n)` when that is done. A new `sandboxd` that
//! hears `Hello` before it heard `Synced` with its own number knows that both had died, and that connections may be open
//! of which nobody has a duplicate. (With a number that each `sandboxd` uses, it could hear the answer to the one before
//! it, which died before it read that.)
//!
//! A router that still waits for the answer to its `Hello` and hears a state that it did not ask for asks again under
//! another number: the `Hello` may have been read by a `sandboxd` that died before it answered.
//!
//! ```text
//! one connection    accepted ──Store──▶ sandboxd    handed to the server    ──Handed──▶ sandboxd    …    ──Forget──▶
//! ```
//!
//! Invariant: a connection is in `sandboxd`'s store before the server gets it, so that a router that died can be
//! followed by one that still can revoke it. A router that died between the two is followed by one that hands over
//! what is `Stored` and not yet `Handed`; a server that has it already knows it by its number and closes the second.
//! Neither side waits for the other: a router whose message does not fit into the socket accepts nothing until it
//! does.
//!
//! What is left to `sandboxd`, because the router that would see it may be dead at that moment: when the first
//! process of a box that serves ends, it shuts down its duplicates of what was handed to that box.

mod wire;

use serde::{Deserialize, Serialize};

/// Largest message, bytes. A grant is at most 64 methods of at most 64 bytes.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// A listening socket: the box it was made for, and the interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The box.
    pub uid: u32,
    /// The interface, as `os.gabion.Apps`.
    pub interface: String,
}

/// What `sandboxd` tells the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRouter {
    /// The state follows.
    Sync {
        /// That of the `Hello` which this answers; otherwise one that no `sandboxd` before has used since the boot.
        number: u64,
        /// Whether it is an answer.
        asked: bool,
    },
    /// Whether servers shall tell of every call. Not named in a state: no.
    Monitor(bool),
    /// A box's `/run/bus/INTERFACE`. With its listening socket (`SOCK_STREAM`) as descriptor. Named again with
    /// another verdict it replaces the former one. A verdict that refuses, grants a method or a byte less, or names
    /// another server ends the connections under it; one that is undecided leaves them as they are. Another socket
    /// than before ends them too.
    Listen {
        /// Whose.
        key: Key,
        /// The app's id, for records and for the server.
        app: String,
        /// Whether the box is one of the image's own.
        system: bool,
        /// What who connects there gets.
        verdict: Verdict,
    },
    /// A box's `/run/serve/INTERFACE`. With its listening socket (`SOCK_SEQPACKET`) as descriptor.
    Serve {
        /// Who serves what.
        key: Key,
        /// The app's id.
        app: String,
    },
    /// A connection of a router before this one. With a duplicate of it as descriptor.
    Stored(Connection),
    /// The state is complete.
    SyncEnd(u64),
    /// A listening socket is gone, with every connection accepted from it (`Listen`) or handed to it (`Serve`).
    Revoke(Key),
}

/// What a listening socket gives to who connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Not known yet: not all manifests are read. Connections wait.
    Undecided,
    /// Refused, for this reason; connections are accepted, recorded and closed.
    Refused(String),
    /// Granted.
    Granted(Grant),
}

/// A capability: what one box may do with one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The box that serves the interface.
    pub server: u32,
    /// The methods that may be called, without the interface's name. Sorted, not empty.
    pub methods: Vec<String>,
    /// What the box may make the server and the router keep.
    pub limits: Limits,
}

/// Bounds of what a box may open, none of them 0. The box is charged for all its interfaces together; where its grants
/// differ, the widest holds. Narrower bounds end no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections open at a time.
    pub connections: u16,
    /// Connections opened per second, on average; up to four times as many at once.
    pub connections_per_s: u16,
    /// Longest message that the server reads, bytes.
    pub message_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 64, connections_per_s: 50, message_bytes: 64 * 1024 }
    }
}

/// An accepted connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number: unique on the device until the next boot, never 0.
    pub serial: u64,
    /// Where it was accepted.
    pub key: Key,
    /// The box that it is for.
    pub server: u32,
    /// What was granted with it, as a number that only the router understands: the next router ends the connection
    /// if the grant is another one by then.
    pub grant: u64,
    /// Whether the server got it.
    pub handed: bool,
}

/// What the router tells `sandboxd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRouter {
    /// A router came up and asks for the state under this number, which is never 0.
    Hello(u64),
    /// The state under this number was taken over; what had to be repeated as `Store` came before.
    Synced(u64),
    /// Keep a duplicate. With the connection as descriptor. One with a number that is stored already replaces it.
    Store(Connection),
    /// The connection with this number was handed to its server: keep `handed` with it.
    Handed(u64),
    /// The connection with this number is closed: forget the duplicate.
    Forget(u64),
    /// For the record.
    Event(Event),
}

/// One line of the audit log. None is lost: what does not fit into the bounds of the router (some tens at once, then two
/// a second for each box, interface and kind) is told by the next one's `suppressed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The caller's box; the server's, if it is about the server itself.
    pub uid: u32,
    /// The interface.
    pub interface: String,
    /// The connection, 0 when there is none.
    pub serial: u64,
    /// What is to be said about it besides: a reason, a method. Printable ASCII, at most 320 bytes.
    pub detail: String,
    /// How many like it were not told since the last one of its kind for this box and interface.
    pub suppressed: u32,
}

/// Kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// A connection was handed to the server.
    Opened,
    /// One of its ends closed it.
    Closed,
    /// A connection was not given, or the server refused a call.
    Refused,
    /// A connection was ended because its grant was.
    Revoked,
    /// The server ended a connection that broke the rules of the wire.
    Dropped,
    /// A call, told only while somebody monitors.
    Called,
    /// A system call of a box was refused. Never told by the router: `sandboxd` adds these itself.
    Denied,
}
