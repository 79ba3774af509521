//! Our side of the bus: what the router is told, what it has us keep, what it reports.
//!
//! Invariants: the router never knows a wider verdict than the plans give; every connection it has handed over is in
//! the store, or the boxes that may hold it have been ended (both of us died at once).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use bus::control::{Connection, Event, EventKind, FromRouter, Key, ToRouter, Verdict};
use nix::sys::socket::{Shutdown, shutdown};
use policy::Plan;
use sys::bundle::Request;

use super::Daemon;
use crate::audit_log::{AuditLog, Entry, word};
use crate::endpoint::Side;
use crate::grants::{Grants, Party};
use crate::poller::Ready;
use crate::router_link::{RouterLink, With};
use crate::{clock, console, system};

/// Messages of the router read before others have their turn.
const AT_ONCE: usize = 64;
/// Connections kept for the router; it bounds each box, this bounds a router that does not.
const STORE_MAX: usize = 8192;
/// How soon what did not fit into the router's socket is tried again, milliseconds.
const RETRY_MS: u64 = 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Bus {
    pub(super) grants: Grants,
    pub(super) audit: AuditLog,
    link: Option<RouterLink>,
    /// What the router knows.
    told: BTreeMap<Key, Verdict>,
    served: BTreeSet<Key>,
    store: BTreeMap<u64, (Connection, OwnedFd)>,
    /// The store has every connection that is open.
    accounted: bool,
    /// Number of the state that the router gets from us unasked.
    own: u64,
    /// The router waits for the state under this number; it gets it once every manifest is read, because what a state
    /// does not name is revoked.
    asked: Option<u64>,
    retry_at_ms: Option<u64>,
    /// Somebody monitors.
    monitor: bool,
}

impl Bus {
    pub(super) fn new(audit: AuditLog) -> Self {
        Self {
            grants: Grants::default(),
            audit,
            link: None,
            told: BTreeMap::new(),
            served: BTreeSet::new(),
            store: BTreeMap::new(),
            accounted: true,
            own: 0,
            asked: None,
            retry_at_ms: None,
            monitor: false,
        }
    }

    /// When to try again to send.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.retry_at_ms
    }

    /// Open connections at a socket.
    pub(super) fn open(&self, key: &Key) -> usize {
        self.store.values().filter(|(connection, _)| connection.key == *key).count()
    }
}

impl Daemon {
    /// A box's plan is known: it takes part in the bus.
    pub(super) fn bus_party(&mut self, uid: u32, plan: &Plan) {
        if let Some(app) = self.apps.get_mut(&uid) {
            app.version = Some(plan.version.to_string());
            app.jit = plan.jit;
        }
        for (interface, holder) in self.bus.grants.add(uid, Party::of(plan)) {
            let help = format!(
                "an interface has one server on a device: remove {interface} from one of the two manifests"
            );
            console::problem(
                plan.id.as_str(),
                &format!("{interface} is provided by {holder} already"),
                &help,
            );
        }
    }

    /// Every manifest was read. Starts what somebody needs, and decides what was undecided.
    pub(super) fn bus_complete(&mut self) {
        self.bus.grants.complete();
        self.bus_start_used();
        match self.bus.asked {
            Some(n) => self.bus_state(n),
            None => self.bus_refresh(),
        }
    }

    /// Starts those of the system's boxes that wait for somebody to use what they serve, and are used.
    pub(super) fn bus_start_used(&mut self) {
        // What updated uses is there on the boards where it is of any use; it talks over the bus where it was started.
        let updated = system::uid(system::UPDATED);
        let waits = self.on_demand.iter().any(|id| id == system::UPDATED);
        let updates = !waits && updated.is_some_and(|uid| self.bus.grants.party(uid).is_some());
        let users = self.bus.grants.parties().filter(|(uid, _)| Some(*uid) != updated);
        let used: BTreeSet<String> = users.flat_map(|(_, party)| party.uses.keys().cloned()).collect();
        for id in std::mem::take(&mut self.on_demand) {
            let party = system::uid(&id).and_then(|uid| self.bus.grants.party(uid));
            let serves =
                party.is_some_and(|party| party.provides.keys().any(|interface| used.contains(interface)));
            if serves || id == system::ROUTER && (updates || !used.is_empty()) {
                self.install_system(&id);
            } else {
                // Until an app comes that uses it.
                self.on_demand.push(id);
            }
        }
    }

    /// A box is gone.
    pub(super) fn bus_gone(&mut self, uid: u32) {
        self.bus_forget(uid);
        self.bus.grants.remove(uid);
        self.bus_refresh();
    }

    /// Takes the socket to the router. `fresh`: we started it; else it may have connections that we know nothing of.
    pub(super) fn bus_router(&mut self, socket: OwnedFd, fresh: bool) -> io::Result<()> {
        self.poller.watch(&socket, Ready::Router)?;
        self.bus.link = Some(RouterLink::new(socket));
        self.bus.accounted = fresh;
        // The time: no sandboxd before us started at the same. A router's numbers never get that high.
        self.bus.own = 1 << 63 | sys::process::now_ms();
        self.bus.asked = (!fresh).then_some(self.bus.own);
        Ok(())
    }

    /// Tells the router what has changed.
    pub(super) fn bus_refresh(&mut self) {
        if !self.bus.grants.is_complete() {
            return;
        }
        let Some(link) = &mut self.bus.link else { return };
        let verdicts = self.bus.grants.verdicts();
        for (key, verdict) in verdicts {
            let app = self.apps.get(&key.uid);
            if app.is_none_or(|app| app.endpoint(Side::Uses, &key.interface).is_none()) {
                continue;
            }
            if self.bus.told.get(&key) != Some(&verdict) {
                link.push(listen(&self.bus.grants, &key, &verdict), With::Caller(key.clone()));
                self.bus.told.insert(key, verdict);
            }
        }
        for (uid, app) in &self.apps {
            for interface in app.interfaces(Side::Provides) {
                let key = Key { uid: *uid, interface: interface.to_owned() };
                let serves = self.bus.grants.server(interface).is_some_and(|(server, _)| server == *uid);
                if serves && self.bus.served.insert(key.clone()) {
                    link.push(ToRouter::Serve { key: key.clone(), app: app.id.clone() }, With::Server(key));
                }
            }
        }
        self.bus_flush();
    }

    /// A box got new sockets: the former ones, with all that came over them, are gone.
    pub(super) fn bus_forget(&mut self, uid: u32) {
        let told = self.bus.told.keys().chain(&self.bus.served).filter(|key| key.uid == uid);
        let gone: BTreeSet<Key> = told.cloned().collect();
        self.bus.told.retain(|key, _| key.uid != uid);
        self.bus.served.retain(|key| key.uid != uid);
        if let Some(link) = &mut self.bus.link {
            gone.into_iter().for_each(|key| link.push(ToRouter::Revoke(key), With::Nothing));
        }
    }

    /// Queues the whole state under number `n`, now or when it is known.
    fn bus_state(&mut self, n: u64) {
        self.bus.asked = Some(n).filter(|_| !self.bus.grants.is_complete());
        let Some(link) = self.bus.link.as_mut().filter(|_| self.bus.asked.is_none()) else { return };
        link.clear();
        link.push(ToRouter::Sync { number: n, asked: n != self.bus.own }, With::Nothing);
        self.bus.told.clear();
        self.bus.served.clear();
        self.bus_refresh();
        let Some(link) = &mut self.bus.link else { return };
        for (serial, (connection, _)) in &self.bus.store {
            link.push(ToRouter::Stored(connection.clone()), With::Connection(*serial));
        }
        link.push(ToRouter::Monitor(self.bus.monitor), With::Nothing);
        link.push(ToRouter::SyncEnd(n), With::Nothing);
        self.bus_flush();
    }

    /// Sends what can be sent.
    pub(super) fn bus_flush(&mut self) {
        let Some(link) = &mut self.bus.link else { return };
        let (apps, store) = (&self.apps, &self.bus.store);
        let endpoint = |side, key: &Key| apps.get(&key.uid)?.endpoint(side, &key.interface);
        let flushed = link.flush(|with| match with {
            With::Nothing => None,
            With::Caller(key) => endpoint(Side::Uses, key),
            With::Server(key) => endpoint(Side::Provides, key),
            With::Connection(serial) => store.get(serial).map(|(_, fd)| fd.as_fd()),
        });
        self.bus.retry_at_ms = match flushed {
            Ok(true) => None,
            // No room, or no memory for a moment; init keeps the other end, so somebody will read.
            Ok(false) | Err(_) => Some(sys::process::now_ms() + RETRY_MS),
        };
    }

    /// Reads what the router says.
    pub(super) fn bus_messages(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let Some((message, fd)) = self.bus.link.as_ref().and_then(RouterLink::receive) else {
                return Ok(());
            };
            match (message, fd) {
                (FromRouter::Hello(n), _) => {
                    if !self.bus.accounted {
                        self.bus_unaccounted()?;
                    }
                    self.bus_state(n);
                }
                (FromRouter::Synced(n), _) => self.bus.accounted |= n == self.bus.own,
                (FromRouter::Store(connection), Some(fd)) if self.bus.store.len() < STORE_MAX => {
                    self.bus.store.insert(connection.serial, (connection, fd));
                }
                (FromRouter::Store(connection), _) => self.bus_refuse_store(connection.key),
                (FromRouter::Handed(serial), _) => {
                    if let Some((connection, _)) = self.bus.store.get_mut(&serial) {
                        connection.handed = true;
                    }
                }
                (FromRouter::Forget(serial), _) => {
                    self.bus.store.remove(&serial);
                }
                (FromRouter::Event(event), _) => self.bus_event(event),
            }
        }
        Ok(())
    }

    /// Has servers tell of every call, or no longer.
    pub(super) fn bus_monitor(&mut self, on: bool) {
        self.bus.monitor = on;
        if let Some(link) = &mut self.bus.link {
            link.push(ToRouter::Monitor(on), With::Nothing);
        }
        self.bus_flush();
    }

    /// A box that serves ended. Its callers must see the end of what was handed to it also while there is no router,
    /// whose duplicates keep them open.
    pub(super) fn bus_server_ended(&mut self, uid: u32) {
        let handed =
            self.bus.store.values().filter(|(connection, _)| connection.server == uid && connection.handed);
        for (_, socket) in handed {
            // Ended by the caller already: no news.
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
        }
    }

    /// A connection that we cannot keep is one that could not be revoked.
    fn bus_refuse_store(&mut self, key: Key) {
        self.bus.told.remove(&key);
        if let Some(link) = &mut self.bus.link {
            link.push(ToRouter::Revoke(key), With::Nothing);
        }
        self.bus_refresh();
    }

    /// The router and the sandboxd before us died at the same time: connections may be open that nobody can end. They
    /// end with the boxes that may hold them.
    fn bus_unaccounted(&mut self) -> io::Result<()> {
        console::say(
            "event bus-unaccounted: the router died together with sandboxd; boxes on the bus start again",
        );
        let holders: Vec<u32> = self
            .apps
            .values()
            .filter(|app| app.pid().is_some() && app.id != system::ROUTER && app.has_endpoints())
            .map(|app| app.uid)
            .collect();
        for uid in holders {
            self.init.ask(&Request::Kill(uid))?;
        }
        self.bus.accounted = true;
        Ok(())
    }

    /// Adds an event to the audit log, and tells who follows it.
    pub(super) fn record(&mut self, app: &str, event: Event) -> Entry {
        let entry = self.bus.audit.add(clock::stamp(), app, event);
        self.desk_audit(&entry);
        entry
    }

    fn bus_event(&mut self, event: Event) {
        let app = self.apps.get(&event.uid).map_or("unknown", |app| app.id.as_str());
        let app = app.to_owned();
        let entry = self.record(&app, event);
        let event = &entry.event;
        if !matches!(event.kind, EventKind::Opened | EventKind::Closed | EventKind::Called) {
            console::say(format_args!(
                "event bus-{} id={} interface={} detail=\"{}\" suppressed={}",
                word(event.kind),
                entry.app,
                crate::line::escape(event.interface.as_bytes()),
                crate::line::escape(event.detail.as_bytes()),
                event.suppressed
            ));
        }
    }
}

fn listen(grants: &Grants, key: &Key, verdict: &Verdict) -> ToRouter {
    let party = grants.party(key.uid);
    ToRouter::Listen {
        key: key.clone(),
        app: party.map(|party| party.app.clone()).unwrap_or_default(),
        system: party.is_some_and(|party| party.system),
        verdict: verdict.clone(),
    }
}
