//! Whose turn it is: boxes one after the other, one piece of work each, and within a box one socket after the other.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bus::control::{Key, Limits};

use super::{Action, Core, Listener, NOBODY, PATIENCE_MS, Phase, Serve, Standing, Token};
use crate::bucket::Bucket;

/// A socket on which something waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Callers, at a box's `/run/bus/INTERFACE`.
    Callers(Rc<Key>),
    /// A server, at its `/run/serve/INTERFACE`.
    Servers(Rc<Key>),
    /// A server's reports.
    Reports(Rc<Key>),
}

impl Source {
    fn uid(&self) -> u32 {
        match self {
            Source::Callers(key) | Source::Servers(key) | Source::Reports(key) => key.uid,
        }
    }
}

/// The sockets on which something waits, by box.
#[derive(Debug, Default)]
pub(super) struct Turns {
    boxes: BTreeMap<u32, VecDeque<Source>>,
    last: u32,
}

impl Turns {
    /// Whether it was not there yet.
    pub(super) fn add(&mut self, source: Source) -> bool {
        let sources = self.boxes.entry(source.uid()).or_default();
        let new = !sources.contains(&source);
        if new {
            sources.push_back(source);
        }
        new
    }

    pub(super) fn remove(&mut self, source: &Source) {
        if let Some(sources) = self.boxes.get_mut(&source.uid()) {
            sources.retain(|other| other != source);
            if sources.is_empty() {
                self.boxes.remove(&source.uid());
            }
        }
    }

    /// Every source, that of the box after the last one first.
    fn in_order(&self) -> impl Iterator<Item = &Source> {
        let after = self.boxes.range(self.last.saturating_add(1)..);
        after.chain(self.boxes.range(..=self.last)).flat_map(|(_, sources)| sources)
    }

    /// It had its turn.
    fn served(&mut self, source: &Source) {
        self.last = source.uid();
        if let Some(sources) = self.boxes.get_mut(&source.uid())
            && let Some(place) = sources.iter().position(|other| other == source)
            && let Some(source) = sources.remove(place)
        {
            sources.push_back(source);
        }
    }
}

/// What becomes of the next connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is for this server.
    Give(Token),
    /// It is a server.
    Serve,
    /// It is closed, for this reason.
    Refuse(Rc<str>),
}

/// An accept that is under way.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) source: Source,
    pub(super) fate: Fate,
}

/// What a source's turn comes to.
enum Turn {
    /// It has to wait for something else to happen.
    Wait,
    /// It has to wait until then.
    Until(u64),
    Accept(Token, Fate),
    Read(Token),
}

impl Core {
    /// The next piece of work, of the box whose turn it is.
    pub(super) fn turn(&mut self, now: u64) -> Option<Action> {
        self.wake = None;
        let mut wake = None::<u64>;
        let mut found = None;
        for source in self.turns.in_order() {
            match self.examine(source, now) {
                Turn::Wait => {}
                Turn::Until(time) => wake = Some(wake.map_or(time, |wake| wake.min(time))),
                turn => {
                    found = Some((source.clone(), turn));
                    break;
                }
            }
        }
        let Some((source, turn)) = found else {
            self.wake = wake;
            return None;
        };
        self.turns.served(&source);
        match turn {
            Turn::Accept(listener, fate) => {
                let room = if let Fate::Give(server) = fate { Some(server) } else { None };
                self.accepting = Some(Accepting { source, fate });
                Some(Action::Accept { listener, room })
            }
            Turn::Read(server) => Some(Action::Read(server)),
            Turn::Wait | Turn::Until(_) => None,
        }
    }

    fn examine(&self, source: &Source, now: u64) -> Turn {
        match source {
            Source::Reports(key) => self.serves.get(key).map_or(Turn::Wait, |serve| reading(serve, now)),
            // Nothing is accepted that could not be told to sandboxd at once.
            _ if self.phase != Phase::Settled || self.control_full => Turn::Wait,
            _ if now < self.busy_until => Turn::Until(self.busy_until),
            Source::Servers(key) => match self.serves.get(key) {
                Some(serve) => self.at_rate(key.uid, now, || Turn::Accept(serve.token, Fate::Serve)),
                None => Turn::Wait,
            },
            Source::Callers(key) => self.listeners.get(key).map_or(Turn::Wait, |listener| {
                self.at_rate(key.uid, now, || self.examine_caller(key, listener, now))
            }),
        }
    }

    /// Whatever `turn` is, once the box has a token for it.
    fn at_rate(&self, uid: u32, now: u64, turn: impl FnOnce() -> Turn) -> Turn {
        match self.accounts.get(&uid).map_or(now, |account| account.bucket.ready_at(now)) {
            time if time > now => Turn::Until(time),
            _ => turn(),
        }
    }

    fn examine_caller(&self, key: &Rc<Key>, listener: &Listener, now: u64) -> Turn {
        let refuse = |reason: &str| Turn::Accept(listener.token, Fate::Refuse(reason.into()));
        let grant = match (&listener.standing, &listener.granted) {
            (Standing::Refused(reason), _) => return refuse(reason),
            (Standing::Granted, Some(granted)) => &granted.grant,
            _ => return Turn::Wait,
        };
        let serve = self.serves.get(&Key { uid: grant.server, interface: key.interface.clone() });
        let Some(server) = serve.and_then(|serve| serve.server.as_ref()) else {
            let absent_since = serve.map_or(0, |serve| serve.absent_since);
            let until = listener.waits_since.max(absent_since).max(self.settled_at) + PATIENCE_MS;
            return if now < until { Turn::Until(until) } else { refuse(NOBODY) };
        };
        let account = self.accounts.get(&key.uid);
        if server.full_since.is_some() || server.hung {
            Turn::Wait
        } else if account.is_none_or(|account| account.open >= u32::from(account.limits.connections)) {
            refuse("too many connections are open")
        } else if self.roles.len() >= self.capacity {
            refuse("the bus has no room")
        } else {
            Turn::Accept(listener.token, Fate::Give(server.token))
        }
    }

    /// The account of a box, made if there is none.
    pub(super) fn account(&mut self, uid: u32, now: u64) -> &mut super::Account {
        self.accounts.entry(uid).or_insert_with(|| {
            let limits = Limits::default();
            super::Account { open: 0, limits, bucket: bucket(limits, now) }
        })
    }

    /// The widest of its grants is what a box may have. Forgets the account of a box that has nothing any more.
    pub(super) fn review_account(&mut self, uid: u32, now: u64) {
        let of_box = Key { uid, interface: String::new() }..Key {
            uid: uid.saturating_add(1),
            interface: String::new(),
        };
        let listeners = self.listeners.range::<Key, _>(&of_box.start..&of_box.end);
        let limits =
            listeners.clone().filter_map(|(_, l)| Some(l.granted.as_ref()?.grant.limits)).reduce(widest);
        let in_use =
            listeners.count() > 0 || self.serves.range::<Key, _>(&of_box.start..&of_box.end).count() > 0;
        let account = self.account(uid, now);
        account.limits = limits.unwrap_or_default();
        account.bucket.change(per_s(account.limits), burst(account.limits), now);
        if !in_use && account.open == 0 {
            self.accounts.remove(&uid);
        }
    }
}

fn reading(serve: &Serve, now: u64) -> Turn {
    match serve.server.as_ref() {
        None => Turn::Wait,
        Some(server) => match server.reports.ready_at(now) {
            time if time > now => Turn::Until(time),
            _ => Turn::Read(server.token),
        },
    }
}

fn widest(one: Limits, other: Limits) -> Limits {
    Limits {
        connections: one.connections.max(other.connections),
        connections_per_s: one.connections_per_s.max(other.connections_per_s),
        message_bytes: one.message_bytes.max(other.message_bytes),
    }
}

fn per_s(limits: Limits) -> u32 {
    limits.connections_per_s.into()
}

fn burst(limits: Limits) -> u32 {
    per_s(limits) * 4
}

fn bucket(limits: Limits, now: u64) -> Bucket {
    Bucket::new(per_s(limits), burst(limits), now)
}
