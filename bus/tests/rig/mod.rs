//! What the tests of the library share: a daemon that serves one interface, with every kind of answer.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bus::interface::Empty;
use bus::interfaces::apps::{self, *};
use bus::server::{Answer, Call, Event, Handover, Incoming, Interest, Pending, Place, Server};
use bus::session::{About, Dropped, Granted, Note, Session, Surroundings};

pub(crate) const ABOUT: About =
    About { vendor: "Gabion", product: "test", version: "1", url: "https://example.com/" };

/// Serves `os.gabion.Apps`; "slow" is answered later, "huge" by too much.
#[derive(Default)]
pub(crate) struct Daemon {
    pub(crate) started: Vec<Pending<Start>>,
    pub(crate) following: Vec<Pending<FollowLog>>,
    pub(crate) calls: Vec<String>,
}

pub(crate) fn line(text: &str) -> LogLine<'_> {
    LogLine { time: "t".into(), stream: Stream::Stdout, text: text.into() }
}

impl apps::Handler for Daemon {
    fn list(&mut self, call: Call<'_, List>) -> Answer {
        self.calls.push("List".into());
        call.reply(&ListReply { apps: Vec::new() })
    }

    fn get_status(&mut self, call: Call<'_, GetStatus>, parameters: GetStatusParameters<'_>) -> Answer {
        self.calls.push(format!("GetStatus {}", parameters.app));
        call.fail(&apps::Error::AppNotFound { app: parameters.app.into_owned() })
    }

    fn start(&mut self, call: Call<'_, Start>, parameters: StartParameters<'_>) -> Answer {
        self.calls.push(format!("Start {}", parameters.app));
        if parameters.app != "slow" {
            return call.reply(&Empty {});
        }
        let (pending, answer) = call.later();
        self.started.push(pending);
        answer
    }

    fn stop(&mut self, call: Call<'_, Stop>, _: StopParameters<'_>) -> Answer {
        call.not_implemented()
    }

    fn restart(&mut self, call: Call<'_, Restart>, _: RestartParameters<'_>) -> Answer {
        call.invalid("app")
    }

    fn wipe(&mut self, call: Call<'_, Wipe>, _: WipeParameters<'_>) -> Answer {
        call.invalid("app")
    }

    fn get_log(&mut self, call: Call<'_, GetLog>, parameters: GetLogParameters<'_>) -> Answer {
        self.calls.push(format!("GetLog {}", parameters.lines));
        let text = "x".repeat(usize::try_from(parameters.lines).unwrap_or_default());
        call.reply(&GetLogReply { lines: vec![line(&text)], dropped: 0 })
    }

    fn follow_log(&mut self, mut call: Call<'_, FollowLog>, parameters: FollowLogParameters<'_>) -> Answer {
        for n in 0..parameters.lines {
            call.push(&FollowLogReply { lines: vec![line(&n.to_string())], skipped: 0 });
        }
        let (pending, answer) = call.later();
        self.following.push(pending);
        answer
    }

    fn export_log(&mut self, call: Call<'_, ExportLog>, parameters: ExportLogParameters<'_>) -> Answer {
        let log = sys::memfd::sealed(c"log", parameters.app.as_bytes()).unwrap();
        let size_bytes = i64::try_from(parameters.app.len()).unwrap();
        call.reply_with(&ExportLogReply { log: 0, size_bytes }, vec![log])
    }
}

/// A grant of these methods of an interface.
pub(crate) fn handover(serial: u64, interface: &str, methods: &[&str], message_bytes: u32) -> Handover {
    Handover {
        serial,
        app: "com.example.caller".into(),
        uid: 10_001,
        system: false,
        interface: interface.into(),
        methods: methods.iter().map(|m| (*m).to_owned()).collect(),
        message_bytes,
    }
}

/// Every method of `os.gabion.Apps`.
pub(crate) fn all() -> Vec<&'static str> {
    apps::INTERFACE.methods.iter().map(|m| m.name).collect()
}

/// A session on `os.gabion.Apps` and what it did, without a socket.
pub(crate) struct Core {
    pub(crate) session: Session,
    pub(crate) daemon: Daemon,
    pub(crate) notes: Vec<Note>,
    pub(crate) sent: Vec<u8>,
}

impl Core {
    pub(crate) fn new(methods: &[&str], message_bytes: u32) -> Self {
        let handover = handover(1, apps::INTERFACE.name, methods, message_bytes);
        let session = Session::new(Granted::new(handover, &apps::INTERFACE));
        Self { session, daemon: Daemon::default(), notes: Vec::new(), sent: Vec::new() }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Session, &mut Surroundings<'_>) -> R) -> R {
        let daemon = &mut self.daemon;
        let mut dispatch = |incoming: Incoming<'_>| apps::dispatch(daemon, incoming);
        let place = Place::default();
        let mut with = Surroundings { about: &ABOUT, place, dispatch: &mut dispatch, notes: &mut self.notes };
        act(&mut self.session, &mut with)
    }

    /// Takes bytes as a socket would bring them: never more than there is room for.
    pub(crate) fn receive(&mut self, mut bytes: &[u8]) -> Result<usize, Dropped> {
        let all = bytes.len();
        while !bytes.is_empty() && self.session.room() > 0 {
            let part = bytes.len().min(self.session.room());
            self.with(|session, with| session.receive(&bytes[..part], Vec::new(), with))?;
            bytes = &bytes[part..];
            self.drain()?;
        }
        Ok(all - bytes.len())
    }

    /// A peer that reads.
    pub(crate) fn drain(&mut self) -> Result<(), Dropped> {
        loop {
            while self.session.has_output() {
                let bytes = self.session.output().next().0.to_vec();
                self.session.sent(bytes.len());
                self.sent.extend(bytes);
            }
            if !self.session.is_ready() {
                return Ok(());
            }
            self.resume()?;
        }
    }

    pub(crate) fn resume(&mut self) -> Result<(), Dropped> {
        self.with(|session, with| session.resume(with))
    }

    /// Takes bytes with descriptors, and does not read what comes back.
    pub(crate) fn receive_with(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<(), Dropped> {
        self.with(|session, with| session.receive(bytes, fds, with))
    }

    /// The replies so far.
    pub(crate) fn replies(&self) -> Vec<String> {
        let text = String::from_utf8(self.sent.clone()).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }
}

/// A server with one connection to it, driven by hand.
pub(crate) struct Rig {
    pub(crate) server: Server<Daemon>,
    pub(crate) daemon: Daemon,
    pub(crate) events: Vec<Event>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let mut server = Server::new(ABOUT).unwrap();
        server.offer(&apps::INTERFACE, apps::dispatch);
        Self { server, daemon: Daemon::default(), events: Vec::new() }
    }

    pub(crate) fn connect(&mut self, serial: u64, methods: &[&str], message_bytes: u32) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let handover = handover(serial, apps::INTERFACE.name, methods, message_bytes);
        self.server.adopt(handover, ours.into()).unwrap();
        theirs
    }

    /// Until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..3 {
            self.server.turn(&mut self.daemon, Some(0), &mut self.events).unwrap();
        }
    }

    /// Serves in a thread until the sender is dropped.
    pub(crate) fn in_thread(mut self) -> (UnixStream, std::thread::JoinHandle<Self>) {
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            self.server.watch(&stopped, 7, Interest { read: true, write: false }).unwrap();
            loop {
                let mut events = Vec::new();
                self.server.turn(&mut self.daemon, None, &mut events).unwrap();
                for pending in self.daemon.started.drain(..) {
                    self.server.finish(pending, &Empty {});
                }
                if events.contains(&Event::Ready(7)) {
                    return self;
                }
                self.events.extend(events);
            }
        });
        (stop, thread)
    }
}
