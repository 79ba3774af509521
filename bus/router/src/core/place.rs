//! One connection's way: accepted, told to `sandboxd`, handed to its server, told again.

use std::rc::Rc;

use bus::control::{Connection, EventKind, FromRouter, Key};
use bus::handover::{Handover, monitor};

use super::turns::{Fate, Source};
use super::{
    Accepted, Action, CONTROL, Core, Listener, Live, Note, PATIENCE_MS, Role, Sent, Server, Standing, Token,
    Told,
};

impl Core {
    /// Something waits on a listening socket or a server's; or, when `hung`, the other end of this one is closed.
    pub fn ready(&mut self, token: Token, hung: bool, now: u64) {
        match self.roles.get(&token).cloned() {
            Some(Role::Listener(key)) => {
                if self.turns.add(Source::Callers(Rc::clone(&key)))
                    && let Some(listener) = self.listeners.get_mut(&key)
                {
                    listener.waits_since = now;
                }
            }
            Some(Role::Serve(key)) => {
                self.turns.add(Source::Servers(key));
            }
            Some(Role::Server(key)) => self.server_ready(&key, token, hung, now),
            Some(Role::Connection(serial)) if hung => self.hung_up(serial, now),
            Some(Role::Connection(_)) | None => {}
        }
    }

    /// How an accept ended.
    pub fn accepted(&mut self, accepted: Accepted, now: u64) {
        let Some(accepting) = self.accepting.take() else {
            if let Accepted::One(token) = accepted {
                self.close(token);
            }
            return;
        };
        match (accepted, accepting.source) {
            (Accepted::One(token), Source::Callers(key)) => {
                self.charge(&key, now);
                self.caller(&key, token, accepting.fate, now);
            }
            (Accepted::One(token), Source::Servers(key)) => {
                self.charge(&key, now);
                self.server_came(&key, token, now);
            }
            (Accepted::One(token), Source::Reports(_)) => self.close(token),
            (Accepted::Nobody, source) => self.turns.remove(&source),
            (Accepted::NoRoom(token), _) => self.full(token, now),
            (Accepted::Busy, _) => self.busy(now),
        }
    }

    fn charge(&mut self, key: &Key, now: u64) {
        self.account(key.uid, now).bucket.take(now);
    }

    fn caller(&mut self, key: &Rc<Key>, token: Token, fate: Fate, now: u64) {
        let granted = self.listeners.get(key).and_then(|listener| listener.granted.clone());
        match (fate, granted) {
            (Fate::Give(_), Some(granted)) => {
                let serial = self.fresh();
                let live = Live {
                    token,
                    key: Rc::clone(key),
                    server: granted.grant.server,
                    grant: granted.number,
                    handed: false,
                    via: None,
                    told: Told::Nothing,
                    known: false,
                    noted: false,
                    ended: false,
                };
                self.live.insert(serial, live);
                self.account(key.uid, now).open += 1;
                self.roles.insert(token, Role::Connection(serial));
                self.note(serial);
            }
            (Fate::Refuse(reason), _) => {
                self.close(token);
                self.records.note(key, EventKind::Refused, 0, &reason, now);
            }
            _ => self.close(token),
        }
    }

    /// Puts a connection among the notes to `sandboxd`.
    pub(super) fn note(&mut self, serial: u64) {
        if let Some(live) = self.live.get_mut(&serial)
            && !std::mem::replace(&mut live.noted, true)
        {
            self.notes.push_back(Note::About(serial));
        }
    }

    /// The next message to `sandboxd`.
    pub(super) fn message(&mut self) -> Option<(FromRouter, Option<Token>)> {
        while let Some(note) = self.notes.front().copied() {
            let news = match note {
                Note::Hello(number) => Some((FromRouter::Hello(number), None)),
                Note::Synced(number) => Some((FromRouter::Synced(number), None)),
                Note::About(serial) => self.news(serial),
            };
            if news.is_some() {
                return news;
            }
            self.pop_note();
        }
        self.notes.shrink_to(64);
        self.records.first().map(|event| (FromRouter::Event(event.clone()), None))
    }

    /// What `sandboxd` does not know about a connection yet.
    fn news(&self, serial: u64) -> Option<(FromRouter, Option<Token>)> {
        let live = self.live.get(&serial)?;
        match live.told {
            _ if live.ended => Some((FromRouter::Forget(serial), None)),
            Told::Nothing => {
                let Live { server, grant, handed, .. } = *live;
                let key = Key::clone(&live.key);
                let connection = Connection { serial, key, server, grant, handed };
                Some((FromRouter::Store(connection), Some(live.token)))
            }
            Told::Stored if live.handed => Some((FromRouter::Handed(serial), None)),
            Told::Stored | Told::Handed => None,
        }
    }

    fn pop_note(&mut self) -> Option<Note> {
        let note = self.notes.pop_front()?;
        if let Note::About(serial) = note
            && let Some(live) = self.live.get_mut(&serial)
        {
            live.noted = false;
        }
        Some(note)
    }

    /// How sending to `sandboxd` ended.
    pub fn told(&mut self, sent: Sent, now: u64) {
        match sent {
            Sent::Full => return self.full(CONTROL, now),
            Sent::Busy => return self.busy(now),
            // Without sandboxd's end there is nothing more to route: the shell ends.
            Sent::Gone => return,
            Sent::Done => {}
        }
        match self.pop_note() {
            Some(Note::About(serial)) => self.told_about(serial, now),
            Some(Note::Hello(_) | Note::Synced(_)) => {}
            None => self.records.told(),
        }
    }

    fn told_about(&mut self, serial: u64, now: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        if live.ended {
            self.forget(serial, now);
            return;
        }
        // Only now: a router that dies before takes the connection with it, so nothing else comes before.
        let first = !std::mem::replace(&mut live.known, true);
        let token = live.token;
        live.told = if live.handed { Told::Handed } else { Told::Stored };
        if !live.handed && self.unplaced.iter().all(|(other, _)| *other != serial) {
            self.unplaced.push((serial, now + PATIENCE_MS));
        }
        if first {
            self.watch(token, Role::Connection(serial));
        }
    }

    /// A connection for which its server has room, or a word about monitoring.
    pub(super) fn saying(&mut self) -> Option<Action> {
        self.unplaced.iter().find_map(|(serial, _)| self.placement(*serial)).or_else(|| {
            let (server, on) =
                (self.servers().find(|server| server.monitored != self.monitor)?, self.monitor);
            Some(Action::Say { server: server.token, message: monitor(on), connection: None })
        })
    }

    /// Servers that take something.
    fn servers(&self) -> impl Iterator<Item = &Server> {
        let all = self.serves.values().filter_map(|serve| serve.server.as_ref());
        all.filter(|server| server.full_since.is_none() && !server.hung)
    }

    fn placement(&self, serial: u64) -> Option<Action> {
        let live = self.live.get(&serial).filter(|live| live.told == Told::Stored)?;
        let listener = self.listeners.get(&live.key)?;
        let granted = listener.granted.as_ref().filter(|granted| granted.number == live.grant)?;
        let serve = self.serves.get(&Key { uid: live.server, interface: live.key.interface.clone() })?;
        let server = serve.server.as_ref().filter(|server| server.full_since.is_none() && !server.hung)?;
        if listener.standing != Standing::Granted || granted.grant.server != live.server {
            return None;
        }
        let Listener { app, system, .. } = listener;
        let handover = Handover { serial, app, key: &live.key, system: *system, grant: &granted.grant };
        let connection = Some((serial, live.token));
        Some(Action::Say { server: server.token, message: handover.encode(), connection })
    }

    /// How sending to a server ended.
    pub fn said(&mut self, server: Token, connection: Option<u64>, sent: Sent, now: u64) {
        let monitor = self.monitor;
        match (sent, connection) {
            (Sent::Full, _) => self.full(server, now),
            (Sent::Busy, _) => self.busy(now),
            (Sent::Gone, _) => self.server_gone(server, now),
            (Sent::Done, Some(serial)) => self.handed(server, serial, now),
            (Sent::Done, None) => {
                if let Some(server) = self.server_mut(server) {
                    server.monitored = monitor;
                }
            }
        }
    }

    fn handed(&mut self, server: Token, serial: u64, now: u64) {
        self.unplaced.retain(|(other, _)| *other != serial);
        let Some(live) = self.live.get_mut(&serial) else { return };
        (live.handed, live.via) = (true, Some(server));
        let key = Rc::clone(&live.key);
        self.note(serial);
        self.records.note(&key, EventKind::Opened, serial, "", now);
    }

    /// A server connected. It replaces the one before it, and has the connections of a former router.
    fn server_came(&mut self, key: &Rc<Key>, token: Token, now: u64) {
        if let Some(before) = self.serves.get(key).and_then(|serve| serve.server.as_ref()).map(|s| s.token) {
            self.end_server(before, "its server connected anew", now);
        }
        let Some(serve) = self.serves.get_mut(key) else { return self.close(token) };
        serve.server = Some(Server::new(token, now));
        self.watch(token, Role::Server(Rc::clone(key)));
        for live in self.live.values_mut() {
            let of_server = live.server == key.uid && live.key.interface == key.interface;
            if of_server && live.handed && !live.ended && live.via.is_none() {
                live.via = Some(token);
            }
        }
    }
}
