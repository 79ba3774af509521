//! What servers report: one line each, from somebody who may be hostile. A server can speak of its own connections
//! only, no more often than its rate, and what it says becomes a record and nothing else.

use std::collections::VecDeque;
use std::rc::Rc;

use bus::control::{EventKind, Key};
use bus::handover::{Report, ReportKind};

use super::turns::Source;
use super::{Core, Role, Server, Token};
use crate::bucket::Bucket;

/// Reports read from one server: at once, and per second after that. Above it they wait in its socket, which it may
/// not wait for.
const BURST: u32 = 400;
const PER_S: u32 = 200;

impl Server {
    pub(super) fn new(token: Token, now: u64) -> Self {
        Self {
            token,
            full_since: None,
            hung: false,
            monitored: false,
            reports: Bucket::new(PER_S, BURST, now),
            recent: VecDeque::new(),
        }
    }
}

impl Core {
    pub(super) fn server_ready(&mut self, key: &Rc<Key>, token: Token, hung: bool, now: u64) {
        let Some(server) = self.server_mut(token) else { return };
        server.hung |= hung;
        self.turns.add(Source::Reports(Rc::clone(key)));
        self.end_if_read_out(token, now);
    }

    /// One report of a server: its bytes (as many as fit, and one more if it was longer), none at its end.
    pub fn report(&mut self, token: Token, message: Option<&[u8]>, now: u64) {
        let Some(Role::Server(key)) = self.roles.get(&token).cloned() else { return };
        match message {
            Some([]) => self.server_gone(token, now),
            Some(bytes) => {
                if let Some(server) = self.server_mut(token) {
                    server.reports.take(now);
                }
                self.record_report(&key, token, bytes, now);
                self.end_if_read_out(token, now);
            }
            None => {
                self.turns.remove(&Source::Reports(Rc::clone(&key)));
                if self.server_mut(token).is_some_and(|server| server.hung) {
                    self.server_gone(token, now);
                }
            }
        }
    }

    /// A server that is gone is not waited for until its reports may be read.
    fn end_if_read_out(&mut self, token: Token, now: u64) {
        if self.server_mut(token).is_some_and(|server| server.hung && server.reports.ready_at(now) > now) {
            self.server_gone(token, now);
        }
    }

    fn record_report(&mut self, key: &Rc<Key>, token: Token, bytes: &[u8], now: u64) {
        let Some(report) = Report::parse(bytes) else {
            return self.records.note(key, EventKind::Refused, 0, "a report that is none", now);
        };
        let Some(about) = self.reported(token, report.serial) else {
            let detail = "a report about a connection that the server does not have";
            return self.records.note(key, EventKind::Refused, report.serial, detail, now);
        };
        let kind = match report.kind {
            ReportKind::Refused => EventKind::Refused,
            ReportKind::Dropped => EventKind::Dropped,
            ReportKind::Called if self.monitor => EventKind::Called,
            ReportKind::Called => return,
        };
        self.records.note(&about, kind, report.serial, report.word, now);
        if report.kind == ReportKind::Dropped {
            // A server that got no descriptor, or closed it without a word, could not end it itself.
            self.end(report.serial, EventKind::Closed, "its server dropped it", now);
        }
    }

    /// Whose connection this server speaks of, if it has or just had it.
    fn reported(&mut self, token: Token, serial: u64) -> Option<Rc<Key>> {
        if let Some(live) = self.live.get(&serial).filter(|live| live.via == Some(token)) {
            return Some(Rc::clone(&live.key));
        }
        let recent = &self.server_mut(token)?.recent;
        recent.iter().find(|(other, _)| *other == serial).map(|(_, key)| Rc::clone(key))
    }
}
