//! How connections and servers end. Ending never waits for anybody: the descriptor is shut down and closed at once, and
//! what is left is a note to `sandboxd`.

use std::rc::Rc;

use bus::control::{EventKind, Key};

use super::turns::Source;
use super::{Action, Core, Live, PATIENCE_MS, Role, Token};

/// How many ended connections a server may still report about.
const RECENT_MAX: usize = 32;

impl Core {
    /// Connections that are open.
    pub(super) fn open(&self) -> impl Iterator<Item = (u64, &Live)> {
        self.live.iter().filter(|(_, live)| !live.ended).map(|(serial, live)| (*serial, live))
    }

    /// Ends a connection.
    pub(super) fn end(&mut self, serial: u64, kind: EventKind, why: &str, now: u64) {
        if let Some(live) = self.live.get(&serial).filter(|live| !live.ended) {
            self.actions.push_back(Action::Shutdown(live.token));
            self.ended(serial, kind, why, now);
        }
    }

    /// Its two ends did it, so that nothing is left to shut down.
    pub(super) fn hung_up(&mut self, serial: u64, now: u64) {
        self.ended(serial, EventKind::Closed, "", now);
    }

    /// Ends those open connections that `which` names, because something at a server's end happened.
    pub(super) fn end_all(&mut self, now: u64, why: &str, which: impl Fn(&Live) -> bool) {
        let all: Vec<u64> = self.open().filter(|(_, live)| which(live)).map(|(serial, _)| serial).collect();
        for serial in all {
            self.end(serial, EventKind::Closed, why, now);
        }
    }

    fn ended(&mut self, serial: u64, kind: EventKind, why: &str, now: u64) {
        let Some(live) = self.live.get_mut(&serial).filter(|live| !live.ended) else { return };
        live.ended = true;
        let (token, known, via, key) = (live.token, live.known, live.via.take(), Rc::clone(&live.key));
        self.unplaced.retain(|(other, _)| *other != serial);
        self.close(token);
        self.records.note(&key, kind, serial, why, now);
        if let Some(server) = via.and_then(|via| self.server_mut(via)) {
            if server.recent.len() == RECENT_MAX {
                server.recent.pop_front();
            }
            server.recent.push_back((serial, key));
        }
        if known {
            self.note(serial);
        } else {
            self.forget(serial, now);
        }
    }

    /// Nobody has it any more: its box gets its place back.
    pub(super) fn forget(&mut self, serial: u64, now: u64) {
        let Some(live) = self.live.remove(&serial) else { return };
        let account = self.account(live.key.uid, now);
        account.open = account.open.saturating_sub(1);
        self.review_account(live.key.uid, now);
    }

    /// A server closed its socket, or ended.
    pub(super) fn server_gone(&mut self, token: Token, now: u64) {
        self.end_server(token, "its server ended", now);
    }

    /// Ends a server, and every connection that was handed to it.
    pub(super) fn end_server(&mut self, token: Token, why: &str, now: u64) {
        let Some(Role::Server(key)) = self.roles.get(&token).cloned() else { return };
        self.turns.remove(&Source::Reports(Rc::clone(&key)));
        if let Some(serve) = self.serves.get_mut(&key) {
            serve.server = None;
            serve.absent_since = now;
        }
        self.close(token);
        self.end_all(now, why, |live| live.via == Some(token));
    }

    /// Ends servers that have long not taken what they were sent.
    pub(super) fn drop_stalled(&mut self, now: u64) {
        let stalled: Vec<(Rc<Key>, Token)> = self
            .serves
            .iter()
            .filter_map(|(key, serve)| Some((key, serve.server.as_ref()?)))
            .filter(|(_, server)| server.full_since.is_some_and(|since| now >= since + PATIENCE_MS))
            .map(|(key, server)| (Rc::clone(key), server.token))
            .collect();
        for (key, token) in stalled {
            self.records.note(&key, EventKind::Dropped, 0, "the server took no connection", now);
            self.end_server(token, "its server stalled", now);
        }
    }
}
