//! What the router decides: no clock, no socket, no file. Time comes as an argument (milliseconds), a descriptor is a
//! [`Token`] that the shell made up for it, and what is to be done comes out as one [`Action`] after the other.
//!
//! ```text
//! control, ready, writable, tick ──▶ Core ──next()──▶ Action ──▶ shell ──told, accepted, said, report──▶ Core
//! ```
//!
//! An action that has an answer (`Tell`, `Accept`, `Say`, `Read`) is answered before anything else is put in.
//!
//! What holds, whatever callers and servers do and whoever dies when (`tests` drives it through histories of that):
//! * No connection outlives its grant: a verdict that grants less, a listening or serving socket that is gone, a server
//!   that ended: all end the connections under them, at once, also when `sandboxd` does not read.
//! * Nobody reaches what is not granted: a connection is handed to the server that its listening socket's grant names,
//!   with that grant, and to nobody else.
//! * A connection is in the socket to `sandboxd` before it is in the one to the server. While the first is full,
//!   nothing is accepted.
//! * Every descriptor is closed in the end; a box's count is the number of its connections that `sandboxd` still has.
//! * A box makes the router keep no more than its limits, and work no more often than its rate; boxes take turns, one
//!   piece of work each.
//! * No record is lost: told ones and their `suppressed` add up to what happened.
//!
//! What an attacker controls: when it connects and closes, what a server's reports say, and whether anybody reads.

mod action;
mod ends;
mod place;
mod records;
mod reports;
mod state;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bus::control::{Grant, Key, Limits};

pub use action::{Accepted, Action, CONTROL, Descriptor, Sent, Token, Watch};

use crate::bucket::Bucket;
use records::Records;
use turns::{Accepting, Turns};

/// How long a caller waits for a server that is not there, and a stored connection for its own; milliseconds. Longer
/// than a restart takes, shorter than the patience of people.
pub const PATIENCE_MS: u64 = 10_000;
/// Pause after the kernel refused for want of memory or descriptors, milliseconds.
const BUSY_MS: u64 = 100;
/// How often what was suppressed is looked through, milliseconds.
const FLUSH_MS: u64 = 1000;

/// Where the router is in taking over `sandboxd`'s state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It asked with this number.
    Asking(u64),
    /// It reads the state with this number.
    Reading { number: u64, asked: bool },
    /// It has it.
    Settled,
}

/// Something to tell `sandboxd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Hello(u64),
    Synced(u64),
    /// What is new about this connection.
    About(u64),
}

/// What a descriptor is.
#[derive(Clone, Debug)]
enum Role {
    Listener(Rc<Key>),
    Serve(Rc<Key>),
    Server(Rc<Key>),
    Connection(u64),
}

/// What a listening socket gives, without the grant itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Undecided,
    Refused(Rc<str>),
    Granted,
}

/// A grant, and the number that stands for it in [`bus::control::Connection`].
#[derive(Clone, Debug)]
struct Granted {
    grant: Rc<Grant>,
    number: u64,
}

/// A box's `/run/bus/INTERFACE`.
#[derive(Debug)]
struct Listener {
    token: Token,
    socket: u64,
    app: String,
    system: bool,
    standing: Standing,
    /// The grant that every open connection from here has. While undecided: the last one.
    granted: Option<Granted>,
    /// Since when somebody waits there; only meaningful while it is among the turns.
    waits_since: u64,
    /// Named since the last `Sync`.
    named: bool,
}

/// A box's `/run/serve/INTERFACE`.
#[derive(Debug)]
struct Serve {
    token: Token,
    socket: u64,
    server: Option<Server>,
    /// Since when there is no server.
    absent_since: u64,
    named: bool,
}

/// A server that is there.
#[derive(Debug)]
struct Server {
    token: Token,
    /// Since when its socket has had no room.
    full_since: Option<u64>,
    /// Its other end is closed; what it reported before can still be read.
    hung: bool,
    monitored: bool,
    reports: Bucket,
    /// Its connections that ended last, about which a report may still be under way.
    recent: VecDeque<(u64, Rc<Key>)>,
}

/// What `sandboxd` was told of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Stored,
    Handed,
}

/// A connection. It stays here until `sandboxd` was told to forget it.
#[derive(Debug)]
struct Live {
    token: Token,
    key: Rc<Key>,
    server: u32,
    grant: u64,
    handed: bool,
    /// The server that has it. None if it is to be handed over, or was by a former router.
    via: Option<Token>,
    told: Told,
    /// Some `sandboxd` may have it.
    known: bool,
    /// It is among the notes.
    noted: bool,
    ended: bool,
}

/// What a box is charged for.
#[derive(Debug)]
struct Account {
    /// Connections that it made.
    open: u32,
    limits: Limits,
    bucket: Bucket,
}

/// The router.
#[derive(Debug)]
pub struct Core {
    phase: Phase,
    /// It has been settled before.
    complete: bool,
    settled_at: u64,
    /// The last number given to a connection or a `Hello`.
    number: u64,
    monitor: bool,
    listeners: BTreeMap<Rc<Key>, Listener>,
    serves: BTreeMap<Rc<Key>, Serve>,
    live: BTreeMap<u64, Live>,
    roles: BTreeMap<Token, Role>,
    accounts: BTreeMap<u32, Account>,
    turns: Turns,
    accepting: Option<Accepting>,
    notes: VecDeque<Note>,
    records: Records,
    /// Stored connections that no server has, and until when they wait for one.
    unplaced: Vec<(u64, u64)>,
    /// Until when servers may come back for connections of a former router.
    adopt_by: Option<u64>,
    actions: VecDeque<Action>,
    control_full: bool,
    busy_until: u64,
    flush_at: u64,
    /// When the next source that rests can be gone on with.
    wake: Option<u64>,
    capacity: usize,
}

impl Core {
    /// A router that knows nothing and asks. `number` is larger than any that a router before it gave, and not 0;
    /// `capacity` is how many descriptors it may hold.
    pub fn new(number: u64, capacity: usize, now: u64) -> Self {
        Self {
            phase: Phase::Asking(number),
            complete: false,
            settled_at: now,
            number,
            monitor: false,
            listeners: BTreeMap::new(),
            serves: BTreeMap::new(),
            live: BTreeMap::new(),
            roles: BTreeMap::new(),
            accounts: BTreeMap::new(),
            turns: Turns::default(),
            accepting: None,
            notes: VecDeque::from([Note::Hello(number)]),
            records: Records::default(),
            unplaced: Vec::new(),
            adopt_by: None,
            actions: VecDeque::new(),
            control_full: false,
            busy_until: 0,
            flush_at: now + FLUSH_MS,
            wake: None,
            capacity,
        }
    }

    /// What to do next. None: wait for something, at most until [`Core::deadline`].
    pub fn next(&mut self, now: u64) -> Option<Action> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        self.actions.shrink_to(64);
        if now >= self.busy_until {
            if !self.control_full
                && let Some((message, descriptor)) = self.message()
            {
                return Some(Action::Tell(message, descriptor));
            }
            if let Some(action) = self.saying() {
                return Some(action);
            }
        }
        self.turn(now)
    }

    /// When [`Core::tick`] has something to do, if nothing happens before.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let unplaced = self.unplaced.iter().map(|(_, until)| *until);
        let stalled = self.serves.values().filter_map(|serve| serve.server.as_ref()?.full_since);
        let busy = (self.busy_until > now).then_some(self.busy_until);
        let flush = (!self.control_full && self.records.owes()).then_some(self.flush_at);
        let others = [self.wake, self.adopt_by, busy, flush];
        unplaced.chain(stalled.map(|since| since + PATIENCE_MS)).chain(others.into_iter().flatten()).min()
    }

    /// Time went on.
    pub fn tick(&mut self, now: u64) {
        if self.adopt_by.is_some_and(|by| now >= by) {
            self.adopt_by = None;
            self.end_all(now, "its server did not come back", |live| live.handed && live.via.is_none());
        }
        let late: Vec<u64> =
            self.unplaced.iter().filter(|(_, until)| now >= *until).map(|(serial, _)| *serial).collect();
        for serial in late {
            self.end(serial, bus::control::EventKind::Refused, NOBODY, now);
        }
        self.drop_stalled(now);
        if now >= self.flush_at {
            self.flush_at = now + FLUSH_MS;
            if !self.control_full {
                self.records.flush(now);
            }
        }
    }

    /// A socket that was full has room.
    pub fn writable(&mut self, token: Token) {
        if token == CONTROL {
            self.control_full = false;
        } else if let Some(server) = self.server_mut(token) {
            server.full_since = None;
        }
    }

    /// A socket that turned out to be full.
    fn full(&mut self, token: Token, now: u64) {
        if token == CONTROL {
            self.control_full = true;
        } else if let Some(server) = self.server_mut(token) {
            server.full_since.get_or_insert(now);
        }
        self.actions.push_back(Action::AwaitRoom(token));
    }

    fn busy(&mut self, now: u64) {
        self.busy_until = now + BUSY_MS;
    }

    fn server_mut(&mut self, token: Token) -> Option<&mut Server> {
        let Some(Role::Server(key)) = self.roles.get(&token) else { return None };
        self.serves.get_mut(key)?.server.as_mut()
    }

    /// A number that was not there before.
    fn fresh(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn watch(&mut self, token: Token, role: Role) {
        let watch = match role {
            Role::Listener(_) | Role::Serve(_) => Watch::Listener,
            Role::Server(_) => Watch::Server,
            Role::Connection(_) => Watch::Connection,
        };
        self.roles.insert(token, role);
        self.actions.push_back(Action::Watch(token, watch));
    }

    fn close(&mut self, token: Token) {
        self.roles.remove(&token);
        self.actions.push_back(Action::Close(token));
    }
}

/// Why a caller that waited was refused in the end.
const NOBODY: &str = "nobody serves it";
