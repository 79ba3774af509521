//! What `sandboxd` says: who may reach what, and which connections there are.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use bus::control::{Connection, EventKind, Grant, Key, ToRouter, Verdict};

use super::turns::Source;
use super::{
    Core, Descriptor, Granted, Listener, Live, Note, PATIENCE_MS, Phase, Role, Serve, Standing, Told,
};

impl Core {
    /// A message from `sandboxd`, with its descriptor if it has one.
    pub fn control(&mut self, message: ToRouter, descriptor: Option<Descriptor>, now: u64) {
        let heard = !matches!(self.phase, Phase::Asking(_));
        match (message, descriptor) {
            (ToRouter::Sync { number, asked }, None) => self.sync(number, asked),
            (ToRouter::SyncEnd(number), None) => self.settle(number, now),
            (ToRouter::Monitor(on), None) if heard => self.monitor = on,
            (ToRouter::Revoke(key), None) if heard => {
                self.revoke_listener(&key, "its box gave it up", now);
                self.revoke_serve(&key, "its server's box is gone", now);
            }
            (ToRouter::Listen { key, app, system, verdict }, Some(descriptor)) if heard => {
                self.listen(key, app, system, verdict, descriptor, now);
            }
            (ToRouter::Serve { key, .. }, Some(descriptor)) if heard => self.serve(key, descriptor, now),
            (ToRouter::Stored(connection), Some(descriptor)) if heard => {
                self.take_back(connection, descriptor, now);
            }
            (_, Some(descriptor)) => self.close(descriptor.token),
            (_, None) => {}
        }
    }

    fn sync(&mut self, number: u64, asked: bool) {
        if asked && self.phase == Phase::Asking(number) || !asked && self.complete {
            self.phase = Phase::Reading { number, asked };
            self.monitor = false;
            self.listeners.values_mut().for_each(|listener| listener.named = false);
            self.serves.values_mut().for_each(|serve| serve.named = false);
        } else if !asked {
            // Whoever was asked may have died before it answered, or while it did.
            let number = self.fresh();
            self.phase = Phase::Asking(number);
            self.notes.push_back(Note::Hello(number));
        }
    }

    fn settle(&mut self, number: u64, now: u64) {
        let Phase::Reading { number: reading, asked } = self.phase else { return };
        if reading != number {
            return;
        }
        let unnamed: Vec<_> =
            self.listeners.iter().filter(|(_, l)| !l.named).map(|(key, _)| Rc::clone(key)).collect();
        unnamed.iter().for_each(|key| self.revoke_listener(key, "its box gave it up", now));
        let unnamed: Vec<_> =
            self.serves.iter().filter(|(_, s)| !s.named).map(|(key, _)| Rc::clone(key)).collect();
        unnamed.iter().for_each(|key| self.revoke_serve(key, "its server's box is gone", now));
        let lawless: Vec<u64> =
            self.live.iter().filter(|(_, live)| !self.is_lawful(live)).map(|(serial, _)| *serial).collect();
        for serial in lawless {
            self.end(serial, EventKind::Revoked, "its grant changed", now);
        }
        if !asked {
            let all: Vec<u64> = self.live.keys().copied().collect();
            all.into_iter().for_each(|serial| self.retell(serial));
        }
        self.notes.push_back(Note::Synced(number));
        self.phase = Phase::Settled;
        self.complete = true;
        self.settled_at = now;
        if self.live.values().any(|live| live.handed && live.via.is_none()) {
            self.adopt_by.get_or_insert(now + PATIENCE_MS);
        }
    }

    /// Whether an open connection is one that its listening socket still stands for.
    fn is_lawful(&self, live: &Live) -> bool {
        let Some(listener) = self.listeners.get(&live.key) else { return false };
        let served = Key { uid: live.server, interface: live.key.interface.clone() };
        let granted = match &listener.granted {
            None => listener.standing == Standing::Undecided,
            Some(granted) => granted.number == live.grant && granted.grant.server == live.server,
        };
        granted && self.serves.contains_key(&served)
    }

    fn listen(
        &mut self,
        key: Key,
        app: String,
        system: bool,
        verdict: Verdict,
        descriptor: Descriptor,
        now: u64,
    ) {
        if self.listeners.get(&key).is_some_and(|listener| listener.socket != descriptor.socket) {
            self.revoke_listener(&key, "its box was made anew", now);
        }
        let key = Rc::new(key);
        if let Some(listener) = self.listeners.get_mut(&key) {
            (listener.app, listener.system, listener.named) = (app, system, true);
            self.close(descriptor.token);
        } else {
            let Descriptor { token, socket } = descriptor;
            let standing = Standing::Undecided;
            let listener = Listener {
                token,
                socket,
                app,
                system,
                standing,
                granted: None,
                waits_since: now,
                named: true,
            };
            self.listeners.insert(Rc::clone(&key), listener);
            self.watch(token, Role::Listener(Rc::clone(&key)));
        }
        self.judge(&key, verdict, now);
        self.review_account(key.uid, now);
    }

    /// A new verdict, and what it does to the connections under it.
    fn judge(&mut self, key: &Rc<Key>, verdict: Verdict, now: u64) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        let (standing, granted) = match verdict {
            Verdict::Undecided => (Standing::Undecided, listener.granted.clone()),
            Verdict::Refused(reason) => (Standing::Refused(reason.into()), None),
            Verdict::Granted(grant) => {
                let number = number(&grant);
                (Standing::Granted, Some(Granted { grant: Rc::new(grant), number }))
            }
        };
        listener.standing = standing.clone();
        let before = std::mem::replace(&mut listener.granted, granted.clone());
        let wider = match (&before, &granted) {
            (Some(before), Some(after)) => covers(&after.grant, &before.grant),
            _ => false,
        };
        let under: Vec<u64> =
            self.open().filter(|(_, live)| live.key == *key).map(|(serial, _)| serial).collect();
        for serial in under {
            let Some(live) = self.live.get_mut(&serial) else { continue };
            match (&standing, &granted) {
                (Standing::Undecided, _) => {}
                (Standing::Granted, Some(granted)) if live.grant == granted.number => {}
                (Standing::Granted, Some(granted)) if wider => {
                    live.grant = granted.number;
                    self.retell(serial);
                }
                (Standing::Refused(reason), _) => self.end(serial, EventKind::Revoked, reason, now),
                _ => self.end(serial, EventKind::Revoked, "its grant changed", now),
            }
        }
    }

    fn serve(&mut self, key: Key, descriptor: Descriptor, now: u64) {
        if self.serves.get(&key).is_some_and(|serve| serve.socket != descriptor.socket) {
            self.revoke_serve(&key, "its server's box was made anew", now);
        }
        if let Some(serve) = self.serves.get_mut(&key) {
            serve.named = true;
            self.close(descriptor.token);
            return;
        }
        let key = Rc::new(key);
        let Descriptor { token, socket } = descriptor;
        let serve = Serve { token, socket, server: None, absent_since: now, named: true };
        self.serves.insert(Rc::clone(&key), serve);
        self.watch(token, Role::Serve(Rc::clone(&key)));
        self.review_account(key.uid, now);
    }

    /// A connection of a router before this one.
    fn take_back(&mut self, connection: Connection, descriptor: Descriptor, now: u64) {
        let Connection { serial, key, server, grant, handed } = connection;
        if self.live.contains_key(&serial) {
            self.close(descriptor.token);
            return;
        }
        self.number = self.number.max(serial);
        let key =
            self.listeners.get_key_value(&key).map_or_else(|| Rc::new(key), |(known, _)| Rc::clone(known));
        self.account(key.uid, now).open += 1;
        let token = descriptor.token;
        let told = if handed { Told::Handed } else { Told::Stored };
        let (via, known, noted, ended) = (None, true, false, false);
        self.live.insert(serial, Live { token, key, server, grant, handed, via, told, known, noted, ended });
        self.watch(token, Role::Connection(serial));
        if !handed {
            self.unplaced.push((serial, now + PATIENCE_MS));
        }
    }

    fn revoke_listener(&mut self, key: &Key, reason: &str, now: u64) {
        let Some((key, listener)) = self.listeners.remove_entry(key) else { return };
        self.turns.remove(&Source::Callers(Rc::clone(&key)));
        self.close(listener.token);
        let under: Vec<u64> =
            self.open().filter(|(_, live)| live.key == key).map(|(serial, _)| serial).collect();
        for serial in under {
            self.end(serial, EventKind::Revoked, reason, now);
        }
        self.review_account(key.uid, now);
    }

    fn revoke_serve(&mut self, key: &Key, reason: &str, now: u64) {
        let Some((key, serve)) = self.serves.remove_entry(key) else { return };
        self.turns.remove(&Source::Servers(Rc::clone(&key)));
        self.turns.remove(&Source::Reports(Rc::clone(&key)));
        self.close(serve.token);
        if let Some(server) = serve.server {
            self.close(server.token);
        }
        let of_server = |live: &Live| live.server == key.uid && live.key.interface == key.interface;
        let under: Vec<u64> =
            self.open().filter(|(_, live)| of_server(live)).map(|(serial, _)| serial).collect();
        for serial in under {
            self.end(serial, EventKind::Revoked, reason, now);
        }
        self.review_account(key.uid, now);
    }

    /// `sandboxd` is told of this connection as if it had never been.
    fn retell(&mut self, serial: u64) {
        if let Some(live) = self.live.get_mut(&serial) {
            live.told = Told::Nothing;
            self.note(serial);
        }
    }
}

/// The number that stands for what a grant gives; the same in the router that comes next, which is the same program
/// until the next boot (with another, connections end). An author who made two grants collide would gain that his own
/// app keeps a connection which a router that died could not narrow.
fn number(grant: &Grant) -> u64 {
    let mut hasher = DefaultHasher::new();
    (grant.server, &grant.methods, grant.limits.message_bytes).hash(&mut hasher);
    hasher.finish()
}

/// Whether `wide` gives all that `narrow` gives.
fn covers(wide: &Grant, narrow: &Grant) -> bool {
    wide.server == narrow.server
        && wide.limits.message_bytes >= narrow.limits.message_bytes
        && narrow.methods.iter().all(|method| wide.methods.binary_search(method).is_ok())
}
