//! A world around the core: sockets, callers, servers and a `sandboxd` that do what the real ones do, so that
//! histories of them can be played. Edge-triggered readiness is modelled, so that a wake-up that the core would miss
//! is missed here too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bus::control::{Connection, Event, FromRouter, Grant, Key, Limits, ToRouter, Verdict};

use super::super::*;

/// Most messages in the socket to `sandboxd`; [`ROOM`] of them are kept for when it is said to have room.
const CONTROL_MAX: usize = 8;
const SERVER_MAX: usize = 6;
const ROOM: usize = 4;
/// The limits of every grant here.
pub(super) const LIMITS: Limits = Limits { connections: 3, connections_per_s: 2, message_bytes: 1000 };
pub(super) const CALLERS: [u32; 3] = [1, 2, 3];
pub(super) const SERVERS: [u32; 2] = [11, 12];
pub(super) const INTERFACES: [&str; 2] = ["a.b.I", "a.b.J"];

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    /// A listening socket.
    Listening(u64),
    /// The accepted end of a caller's connection.
    Call(usize),
    /// The router's end of a server's connection.
    Server(usize),
}

/// A caller's connection.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) key: Key,
    /// Both directions are closed, or the caller has closed its end.
    pub(super) over: bool,
    /// A router accepted it for its server.
    pub(super) stored: bool,
    /// What it was handed over with.
    pub(super) granted: Option<Grant>,
    /// The server processes that have it.
    pub(super) has: BTreeSet<usize>,
}

/// A server's connection to the router.
#[derive(Debug)]
pub(super) struct Link {
    key: Key,
    pub(super) process: usize,
    /// One of the two ends is closed.
    closed: bool,
    to_server: VecDeque<(String, Option<(u64, usize)>)>,
    to_router: VecDeque<Vec<u8>>,
}

/// A process that serves.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) key: Key,
    pub(super) alive: bool,
    serials: BTreeSet<u64>,
}

#[derive(Debug)]
pub(super) struct Sandboxd {
    pub(super) store: BTreeMap<u64, (Connection, usize)>,
    /// The number of its first state, until it knows that the router has repeated all that it has.
    fresh: Option<u64>,
    pub(super) events: Vec<Event>,
}

#[derive(Debug)]
pub(super) struct Router {
    pub(super) core: Core,
    pub(super) fds: BTreeMap<Token, Object>,
    watched: BTreeSet<Token>,
    /// What epoll would say.
    pub(super) edges: VecDeque<(Token, bool)>,
    awaits: BTreeSet<Token>,
    next: u64,
    pub(super) started: u64,
    pub(super) accepts: BTreeMap<u32, u64>,
    /// What it was told, as this model understands it: the state in force, and the one that is being read.
    pub(super) view: Option<View>,
    reading: Option<(u64, View)>,
}

/// Who may reach what.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) listens: BTreeMap<Key, (u64, Verdict)>,
    pub(super) serves: BTreeMap<Key, u64>,
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) now: u64,
    counter: u64,
    pub(super) truth: View,
    pub(super) backlogs: BTreeMap<u64, VecDeque<Object>>,
    pub(super) calls: Vec<Call>,
    pub(super) links: Vec<Link>,
    pub(super) processes: Vec<Process>,
    to_router: VecDeque<(ToRouter, Option<Object>)>,
    to_sandboxd: VecDeque<(FromRouter, Option<usize>)>,
    /// How many of the last messages to the router this `sandboxd` has sent, or has yet to send when it is killed.
    from_this: usize,
    pub(super) router: Option<Router>,
    pub(super) sandboxd: Option<Sandboxd>,
    pub(super) monitor: bool,
}

pub(super) fn key(uid: u32, interface: usize) -> Key {
    Key { uid, interface: INTERFACES[interface % INTERFACES.len()].into() }
}

impl World {
    /// Everybody is up, every box has its sockets, nothing is granted.
    pub(super) fn new() -> Self {
        let sandboxd = Some(Sandboxd { store: BTreeMap::new(), fresh: None, events: Vec::new() });
        let mut world = World { sandboxd, ..World::default() };
        for interface in 0..INTERFACES.len() {
            CALLERS.iter().for_each(|uid| world.make_box(*uid, interface));
            SERVERS.iter().for_each(|uid| world.make_serve(*uid, interface));
        }
        world.start_router();
        world
    }

    fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    // What sandboxd does.

    fn send(&mut self, message: ToRouter, object: Option<Object>) {
        if self.sandboxd.is_some() {
            self.to_router.push_back((message, object));
            self.from_this += 1;
        }
    }

    /// `kill -9`: what it had, and some of what it had still to send, is gone.
    pub(super) fn kill_sandboxd(&mut self, unsent: usize) {
        if self.sandboxd.take().is_some() {
            let sent = self.to_router.len() - unsent.min(self.from_this).min(self.to_router.len());
            self.to_router.truncate(sent);
        }
    }

    /// A box comes up, anew if it was there.
    pub(super) fn make_box(&mut self, uid: u32, interface: usize) {
        let key = key(uid, interface);
        self.drop_box(&key);
        let socket = self.number();
        self.backlogs.insert(socket, VecDeque::new());
        self.truth.listens.insert(key.clone(), (socket, Verdict::Undecided));
        self.send_listen(&key);
    }

    /// Its callers end with it, and nobody can connect there any more.
    pub(super) fn drop_box(&mut self, key: &Key) {
        let Some((socket, _)) = self.truth.listens.remove(key) else { return };
        for object in self.backlogs.remove(&socket).unwrap() {
            if let Object::Call(call) = object {
                self.calls[call].over = true;
            }
        }
        self.send(ToRouter::Revoke(key.clone()), None);
    }

    pub(super) fn decide(&mut self, key: &Key, verdict: Verdict) {
        if let Some(entry) = self.truth.listens.get_mut(key) {
            entry.1 = verdict;
            self.send_listen(key);
        }
    }

    fn send_listen(&mut self, key: &Key) {
        let (socket, verdict) = self.truth.listens[key].clone();
        let message = ToRouter::Listen { key: key.clone(), app: "a.b.c".into(), system: false, verdict };
        self.send(message, Some(Object::Listening(socket)));
    }

    pub(super) fn make_serve(&mut self, uid: u32, interface: usize) {
        let key = key(uid, interface);
        self.drop_serve(&key);
        let socket = self.number();
        self.backlogs.insert(socket, VecDeque::new());
        self.truth.serves.insert(key.clone(), socket);
        self.send(ToRouter::Serve { key, app: "a.b.s".into() }, Some(Object::Listening(socket)));
    }

    /// The server's box goes, with its processes.
    pub(super) fn drop_serve(&mut self, key: &Key) {
        let Some(socket) = self.truth.serves.remove(key) else { return };
        let of_box = self.processes.iter().enumerate().filter(|(_, p)| p.key == *key).map(|(n, _)| n);
        of_box.collect::<Vec<_>>().into_iter().for_each(|process| self.end_process(process));
        self.backlogs.remove(&socket);
        self.send(ToRouter::Revoke(key.clone()), None);
    }

    fn send_state(&mut self, number: u64, asked: bool) {
        self.send(ToRouter::Sync { number, asked }, None);
        if self.monitor {
            self.send(ToRouter::Monitor(true), None);
        }
        let View { listens, serves } = self.truth.clone();
        listens.keys().for_each(|key| self.send_listen(key));
        for (key, socket) in serves {
            self.send(ToRouter::Serve { key, app: "a.b.s".into() }, Some(Object::Listening(socket)));
        }
        let stored: Vec<_> = self.sandboxd.iter().flat_map(|s| s.store.values().cloned()).collect();
        for (connection, call) in stored {
            self.send(ToRouter::Stored(connection), Some(Object::Call(call)));
        }
        self.send(ToRouter::SyncEnd(number), None);
    }

    pub(super) fn set_monitor(&mut self, on: bool) {
        self.monitor = on;
        self.send(ToRouter::Monitor(on), None);
    }

    pub(super) fn start_sandboxd(&mut self) {
        if self.sandboxd.is_none() {
            self.from_this = 0;
            let number = self.number();
            self.sandboxd =
                Some(Sandboxd { store: BTreeMap::new(), fresh: Some(number), events: Vec::new() });
            self.send_state(number, false);
        }
    }

    /// `sandboxd` reads one message, if there is one.
    pub(super) fn sandboxd_reads(&mut self) -> bool {
        if self.sandboxd.is_none() {
            return false;
        }
        let Some((message, call)) = self.to_sandboxd.pop_front() else { return false };
        self.room(CONTROL, CONTROL_MAX - self.to_sandboxd.len());
        let sandboxd = self.sandboxd.as_mut().unwrap();
        match message {
            FromRouter::Hello(number) => {
                if sandboxd.fresh.is_some() {
                    self.restart_boxes();
                }
                self.send_state(number, true);
            }
            FromRouter::Synced(number) => sandboxd.fresh = sandboxd.fresh.filter(|fresh| *fresh != number),
            FromRouter::Store(connection) => {
                sandboxd.store.insert(connection.serial, (connection, call.unwrap()));
            }
            FromRouter::Handed(serial) => {
                if let Some((connection, _)) = sandboxd.store.get_mut(&serial) {
                    connection.handed = true;
                }
            }
            FromRouter::Forget(serial) => {
                sandboxd.store.remove(&serial);
            }
            FromRouter::Event(event) => sandboxd.events.push(event),
        }
        true
    }

    /// Router and `sandboxd` died at the same time: nobody knows what is open.
    fn restart_boxes(&mut self) {
        self.sandboxd.as_mut().unwrap().fresh = None;
        // Whoever had a descriptor, passed on or not, is started again.
        (0..self.calls.len()).for_each(|call| self.end_call(call));
        let keys: Vec<Key> = self.truth.listens.keys().cloned().collect();
        for key in keys {
            let verdict = self.truth.listens[&key].1.clone();
            let interface = INTERFACES.iter().position(|i| *i == key.interface).unwrap();
            self.make_box(key.uid, interface);
            self.decide(&key, verdict);
        }
        for process in 0..self.processes.len() {
            self.end_process(process);
        }
    }

    // What callers and servers do.

    /// A caller connects; None when there is no socket.
    pub(super) fn call(&mut self, key: &Key) -> Option<usize> {
        let socket = self.truth.listens.get(key)?.0;
        let number = self.calls.len();
        let (over, stored, granted, has) = (false, false, None, BTreeSet::new());
        self.calls.push(Call { key: key.clone(), over, stored, granted, has });
        self.queue(socket, Object::Call(number));
        Some(number)
    }

    fn queue(&mut self, socket: u64, object: Object) {
        self.backlogs.get_mut(&socket).unwrap().push_back(object);
        self.edge(Object::Listening(socket), false);
    }

    /// The connection ends, by whichever of its ends.
    pub(super) fn end_call(&mut self, call: usize) {
        if !std::mem::replace(&mut self.calls[call].over, true) {
            self.edge(Object::Call(call), true);
        }
    }

    /// A server process starts and connects.
    pub(super) fn serve(&mut self, key: &Key) {
        if self.truth.serves.contains_key(key) {
            self.processes.push(Process { key: key.clone(), alive: true, serials: BTreeSet::new() });
            self.connect(self.processes.len() - 1);
        }
    }

    fn connect(&mut self, process: usize) {
        let key = self.processes[process].key.clone();
        if let Some(socket) = self.truth.serves.get(&key).copied() {
            let (to_server, to_router) = (VecDeque::new(), VecDeque::new());
            self.links.push(Link { key, process, closed: false, to_server, to_router });
            self.queue(socket, Object::Server(self.links.len() - 1));
        }
    }

    /// A process ends, or only its connections to the router.
    pub(super) fn end_process(&mut self, process: usize) {
        if !std::mem::replace(&mut self.processes[process].alive, false) {
            return;
        }
        for call in &mut self.calls {
            call.has.remove(&process);
        }
        for link in 0..self.links.len() {
            if self.links[link].process == process && !std::mem::replace(&mut self.links[link].closed, true) {
                self.edge(Object::Server(link), true);
            }
        }
        // The router may be dead just now, so it is sandboxd that ends what nobody answers any more.
        let key = self.processes[process].key.clone();
        let stored = self.sandboxd.iter().flat_map(|s| s.store.values());
        let of_box = |c: &Connection| c.server == key.uid && c.key.interface == key.interface && c.handed;
        let calls: Vec<usize> = stored.filter(|(c, _)| of_box(c)).map(|(_, call)| *call).collect();
        calls.into_iter().for_each(|call| self.end_call(call));
    }

    /// Every process reads all that it was sent, and connects again where its connection was closed.
    pub(super) fn servers_read(&mut self) {
        for link in 0..self.links.len() {
            self.server_reads(link);
        }
        for process in 0..self.processes.len() {
            let connected = self.links.iter().any(|link| link.process == process && !link.closed);
            if self.processes[process].alive && !connected {
                self.connect(process);
            }
        }
    }

    pub(super) fn server_reads(&mut self, link: usize) {
        let process = self.links[link].process;
        if !self.processes[process].alive {
            return;
        }
        while let Some((_, connection)) = self.links[link].to_server.pop_front() {
            if let Some((serial, call)) = connection
                && self.processes[process].serials.insert(serial)
            {
                self.calls[call].has.insert(process);
            }
        }
        self.object_room(Object::Server(link), SERVER_MAX);
    }

    pub(super) fn report(&mut self, link: usize, bytes: &[u8]) {
        if !self.links[link].closed && self.links[link].to_router.len() < SERVER_MAX {
            self.links[link].to_router.push_back(bytes.to_vec());
            self.edge(Object::Server(link), false);
        }
    }

    /// Messages that the router has not heard.
    pub(super) fn to_router(&self) -> usize {
        self.to_router.len()
    }

    // What the kernel and the shell do.

    fn token_of(&self, object: Object) -> Option<Token> {
        let router = self.router.as_ref()?;
        router.watched.iter().copied().find(|token| router.fds.get(token) == Some(&object))
    }

    fn edge(&mut self, object: Object, hung: bool) {
        if let Some(token) = self.token_of(object) {
            self.router.as_mut().unwrap().edges.push_back((token, hung));
        }
    }

    fn object_room(&mut self, object: Object, room: usize) {
        if let Some(token) = self.token_of(object) {
            self.room(token, room);
        }
    }

    fn room(&mut self, token: Token, room: usize) {
        if let Some(router) = &mut self.router
            && room >= ROOM
            && router.awaits.remove(&token)
        {
            router.core.writable(token);
        }
    }

    pub(super) fn start_router(&mut self) {
        if self.router.is_some() {
            return;
        }
        self.counter += 1_000_000;
        self.router = Some(Router {
            core: Core::new(self.counter, 1000, self.now),
            fds: BTreeMap::new(),
            watched: BTreeSet::new(),
            edges: VecDeque::new(),
            awaits: BTreeSet::new(),
            next: 1,
            started: self.now,
            accepts: BTreeMap::new(),
            view: None,
            reading: None,
        });
    }

    /// `kill -9`: what only the router had is closed.
    pub(super) fn kill_router(&mut self) {
        let Some(router) = self.router.take() else { return };
        for object in router.fds.into_values() {
            match object {
                Object::Server(link) => self.links[link].closed = true,
                Object::Call(call) if !self.calls[call].stored => self.calls[call].over = true,
                Object::Call(_) | Object::Listening(_) => {}
            }
        }
    }

    fn hold(&mut self, object: Object) -> Token {
        let router = self.router.as_mut().unwrap();
        router.next += 1;
        router.fds.insert(Token(router.next), object);
        Token(router.next)
    }

    /// The router takes one message of `sandboxd`.
    pub(super) fn router_hears(&mut self) -> bool {
        if self.router.is_none() {
            return false;
        }
        let Some((message, object)) = self.to_router.pop_front() else { return false };
        let descriptor = object.map(|object| Descriptor {
            token: self.hold(object),
            socket: if let Object::Listening(socket) = object { socket } else { 0 },
        });
        let now = self.now;
        let router = self.router.as_mut().unwrap();
        router.understand(&message, object);
        router.core.control(message, descriptor, now);
        true
    }

    /// The router hears of what became ready.
    pub(super) fn router_polls(&mut self) -> bool {
        let now = self.now;
        let Some(router) = &mut self.router else { return false };
        router.core.tick(now);
        let Some((token, hung)) = router.edges.pop_front() else { return false };
        if router.watched.contains(&token) {
            router.core.ready(token, hung, now);
        }
        true
    }

    /// The router does one thing.
    pub(super) fn router_acts(&mut self) -> bool {
        let now = self.now;
        let Some(router) = &mut self.router else { return false };
        let Some(action) = router.core.next(now) else { return false };
        match action {
            Action::Watch(token, _) => self.watch(token),
            Action::AwaitRoom(token) => {
                router.awaits.insert(token);
                let room = self.room_of(token);
                self.room(token, room);
            }
            Action::Tell(message, descriptor) => self.tell(message, descriptor),
            Action::Accept { listener, room } => {
                let accepted = self.accept(listener, room);
                self.router.as_mut().unwrap().core.accepted(accepted, now);
            }
            Action::Say { server, message, connection } => {
                let sent = self.say(server, message, connection);
                let serial = connection.map(|(serial, _)| serial);
                self.router.as_mut().unwrap().core.said(server, serial, sent, now);
            }
            Action::Read(token) => {
                let Object::Server(link) = router.fds[&token] else { panic!("reads {token:?}") };
                let message = match self.links[link].to_router.pop_front() {
                    None if self.links[link].closed => Some(Vec::new()),
                    message => message,
                };
                router.core.report(token, message.as_deref(), now);
            }
            Action::Shutdown(token) => {
                let Object::Call(call) = router.fds[&token] else { panic!("shuts down {token:?}") };
                self.end_call(call);
            }
            Action::Close(token) => {
                router.watched.remove(&token);
                router.awaits.remove(&token);
                let object = router.fds.remove(&token).expect("closes what it has");
                match object {
                    Object::Server(link) => self.links[link].closed = true,
                    // Only one descriptor of a connection that nobody else got: the caller sees its end.
                    Object::Call(call) if !self.calls[call].stored => self.calls[call].over = true,
                    Object::Call(_) | Object::Listening(_) => {}
                }
            }
        }
        true
    }

    fn watch(&mut self, token: Token) {
        let router = self.router.as_mut().unwrap();
        router.watched.insert(token);
        let edge = match router.fds[&token] {
            Object::Listening(socket) => {
                self.backlogs.get(&socket).is_some_and(|backlog| !backlog.is_empty()).then_some(false)
            }
            Object::Call(call) => self.calls[call].over.then_some(true),
            Object::Server(link) if self.links[link].closed => Some(true),
            Object::Server(link) => (!self.links[link].to_router.is_empty()).then_some(false),
        };
        router.edges.extend(edge.map(|hung| (token, hung)));
    }

    fn room_of(&self, token: Token) -> usize {
        if token == CONTROL {
            return CONTROL_MAX - self.to_sandboxd.len();
        }
        let Object::Server(link) = self.router.as_ref().unwrap().fds[&token] else {
            panic!("no room in {token:?}")
        };
        SERVER_MAX - self.links[link].to_server.len()
    }

    fn tell(&mut self, message: FromRouter, descriptor: Option<Token>) {
        let now = self.now;
        let router = self.router.as_mut().unwrap();
        let sent = if self.to_sandboxd.len() == CONTROL_MAX { Sent::Full } else { Sent::Done };
        if sent == Sent::Done {
            assert_eq!(FromRouter::decode(&message.encode()).as_ref(), Some(&message));
            let call = descriptor.map(|token| router.fds[&token]).map(|object| match object {
                Object::Call(call) => call,
                other => panic!("stores {other:?}"),
            });
            if let FromRouter::Store(_) = message {
                self.calls[call.unwrap()].stored = true;
            }
            self.to_sandboxd.push_back((message, call));
        }
        router.core.told(sent, now);
    }

    fn accept(&mut self, listener: Token, room: Option<Token>) -> Accepted {
        for token in [Some(CONTROL), room].into_iter().flatten() {
            if self.room_of(token) < ROOM {
                return Accepted::NoRoom(token);
            }
        }
        let router = self.router.as_ref().unwrap();
        let Object::Listening(socket) = router.fds[&listener] else { panic!("accepts on {listener:?}") };
        match self.backlogs.get_mut(&socket).and_then(VecDeque::pop_front) {
            None => Accepted::Nobody,
            Some(object) => {
                let uid = match object {
                    Object::Call(call) => self.calls[call].key.uid,
                    Object::Server(link) => self.links[link].key.uid,
                    Object::Listening(_) => panic!("a listening socket in a backlog"),
                };
                *self.router.as_mut().unwrap().accepts.entry(uid).or_default() += 1;
                Accepted::One(self.hold(object))
            }
        }
    }

    fn say(&mut self, server: Token, message: String, connection: Option<(u64, Token)>) -> Sent {
        let router = self.router.as_ref().unwrap();
        let Object::Server(link) = router.fds[&server] else { panic!("says to {server:?}") };
        if self.links[link].closed {
            return Sent::Gone;
        }
        if self.links[link].to_server.len() == SERVER_MAX {
            return Sent::Full;
        }
        let connection = connection.map(|(serial, token)| {
            let Object::Call(call) = router.fds[&token] else { panic!("hands over {token:?}") };
            let call_key = &self.calls[call].key;
            assert!(self.calls[call].stored, "handed over before it was stored");
            let view = router.view.as_ref().expect("handed over without a state");
            let Some((_, Verdict::Granted(grant))) = view.listens.get(call_key) else {
                panic!("handed over without a grant: {call_key:?}");
            };
            let to = &self.links[link].key;
            assert_eq!((grant.server, &call_key.interface), (to.uid, &to.interface), "to whom it is not for");
            for method in ["A", "B"] {
                let named = message.contains(&format!("\"{method}\""));
                assert_eq!(named, grant.methods.iter().any(|m| m == method), "{message}");
            }
            self.calls[call].granted = Some(grant.clone());
            (serial, call)
        });
        self.links[link].to_server.push_back((message, connection));
        Sent::Done
    }
}

impl Router {
    /// Keeps its own account of what the router was told.
    fn understand(&mut self, message: &ToRouter, object: Option<Object>) {
        let socket = object.map_or(0, |o| if let Object::Listening(socket) = o { socket } else { 0 });
        match message {
            ToRouter::Sync { number, asked: true } if self.core.phase == Phase::Asking(*number) => {
                self.reading = Some((*number, View::default()));
            }
            ToRouter::Sync { number, asked: false } => {
                // Without a state of its own it asks again.
                self.reading = self.view.is_some().then(|| (*number, View::default()));
            }
            ToRouter::SyncEnd(number) => {
                if let Some((_, state)) = self.reading.take_if(|(reading, _)| reading == number) {
                    self.view = Some(state);
                }
            }
            ToRouter::Listen { key, verdict, .. } => self.each_view(|view| {
                view.listens.insert(key.clone(), (socket, verdict.clone()));
            }),
            ToRouter::Serve { key, .. } => self.each_view(|view| {
                view.serves.insert(key.clone(), socket);
            }),
            ToRouter::Revoke(key) => self.each_view(|view| {
                view.listens.remove(key);
                view.serves.remove(key);
            }),
            ToRouter::Sync { .. } | ToRouter::Stored(_) | ToRouter::Monitor(_) => {}
        }
    }

    /// What is said while a state is read holds at once too.
    fn each_view(&mut self, change: impl Fn(&mut View)) {
        if self.reading.is_none() && self.view.is_none() {
            return;
        }
        if let Some((_, view)) = &mut self.reading {
            change(view);
        }
        if let Some(view) = &mut self.view {
            change(view);
        }
    }
}
