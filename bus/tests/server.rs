//! The server and the client on real sockets: the router's hand-over, epoll, descriptors, peers that behave badly.

#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod rig;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use bus::bulk::Sealed;
use bus::client::{CallError, Connection};
use bus::control::{Grant, Key, Limits};
use bus::handover;
use bus::interface::Empty;
use bus::interfaces::apps::{self, Client};
use bus::interfaces::service;
use bus::server::{Event, Server};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use rig::{Rig, all};
use sys::stream::{self, Wait};

const NO_FDS: &[OwnedFd] = &[];

fn client(rig: &mut Rig, methods: &[&str]) -> Client {
    Client(Connection::over(rig.connect(1, methods, 65_536)))
}

#[test]
fn client_calls_server() {
    let mut rig = Rig::new();
    let mut client = client(&mut rig, &all());
    let (stop, thread) = rig.in_thread();
    assert_eq!(client.list().unwrap().apps, []);
    client.start("a").unwrap();
    client.start("slow").unwrap();
    let log = client.get_log("a", 3).unwrap();
    assert_eq!((log.lines[0].text.as_ref(), log.dropped), ("xxx", 0));
    let error = client.get_status("b").unwrap_err();
    assert!(
        matches!(error, CallError::Interface(apps::Error::AppNotFound { ref app }) if app == "b"),
        "{error}"
    );
    let error = client.stop("b").unwrap_err();
    assert!(matches!(error, CallError::Service(service::Error::MethodNotImplemented { .. })), "{error}");
    let parameters = apps::StartParameters { app: "oneway".into() };
    client.0.oneway::<apps::Start>(&parameters).unwrap();
    client.list().unwrap();
    drop(stop);
    assert!(thread.join().unwrap().daemon.calls.contains(&"Start oneway".to_owned()));
}

#[test]
fn replies_that_nobody_reads_cost_the_server_a_bounded_amount() {
    let mut rig = Rig::new();
    let mut peer = rig.connect(1, &all(), 8192);
    peer.set_nonblocking(true).unwrap();
    let call = b"{\"method\":\"os.gabion.Apps.List\"}\0";
    let mut turns_without_room = 0;
    while turns_without_room < 3 {
        turns_without_room = if peer.write(call).is_ok() { 0 } else { turns_without_room + 1 };
        rig.settle();
    }
    let mut waiting = 0;
    let mut buffer = [0; 4096];
    while let Ok(count) = peer.read(&mut buffer) {
        waiting += count;
    }
    assert!((1..=16 * 1024).contains(&waiting), "{waiting}");
}

#[test]
fn client_is_refused_by_the_line_that_would_grant_it() {
    let mut rig = Rig::new();
    let mut client = client(&mut rig, &["List"]);
    let (stop, thread) = rig.in_thread();
    let error = client.start("a").unwrap_err();
    let CallError::Service(service::Error::PermissionDenied { method, manifest_line }) = error else {
        panic!("{error}")
    };
    assert_eq!(method, "os.gabion.Apps.Start");
    assert_eq!(manifest_line, "[uses] \"os.gabion.Apps\" = [\"Start\"]");
    drop(stop);
    assert_eq!(thread.join().unwrap().daemon.calls, [""; 0]);
}

#[test]
fn descriptor_comes_with_its_reply() {
    let mut rig = Rig::new();
    let mut client = client(&mut rig, &all());
    let (stop, thread) = rig.in_thread();
    for text in ["one", "another"] {
        let (reply, fds) = client.export_log(text).unwrap();
        assert_eq!((reply.log, reply.size_bytes, fds.len()), (0, i64::try_from(text.len()).unwrap(), 1));
        let sealed = Sealed::open(fds.into_iter().next().unwrap(), 64).unwrap();
        assert_eq!(sealed.read().unwrap(), text.as_bytes());
    }
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn stream_is_followed_and_a_caller_that_leaves_is_told() {
    let mut rig = Rig::new();
    let mut client = client(&mut rig, &["FollowLog"]);
    let parameters = apps::FollowLogParameters { app: "a".into(), lines: 1 };
    let mut replies = client.0.more::<apps::FollowLog>(&parameters).unwrap();
    rig.settle();
    assert_eq!(replies.next_reply().unwrap().unwrap().lines[0].text, "0");
    let pending = rig.daemon.following.pop().unwrap();
    let reply = apps::FollowLogReply { lines: vec![rig::line("pushed")], skipped: 4 };
    rig.server.push(&pending, &reply);
    assert_eq!(replies.next_reply().unwrap().unwrap(), reply);
    drop(replies);
    let error = client.0.more::<apps::FollowLog>(&parameters).err();
    assert!(matches!(error, Some(CallError::OutOfStep)), "the next reply would be one of these");
    drop(client);
    rig.settle();
    assert_eq!(rig.events, [Event::Ended(pending.id())]);
    assert_eq!(rig.server.connections(), 0);
    // To nobody, and nothing breaks.
    rig.server.push(&pending, &reply);
    rig.server.fail(pending, &apps::Error::NoStorage {});
}

#[test]
fn stream_ends_by_its_last_reply_or_an_error() {
    let mut rig = Rig::new();
    let mut client = client(&mut rig, &["FollowLog"]);
    for end_by_error in [false, true] {
        let mut replies = client.follow_log("a", 0).unwrap();
        rig.settle();
        let pending = rig.daemon.following.pop().unwrap();
        if end_by_error {
            rig.server.fail(pending, &apps::Error::NoStorage {});
            let error = replies.next_reply().unwrap().unwrap_err();
            assert!(matches!(error, CallError::Interface(apps::Error::NoStorage {})), "{error}");
        } else {
            rig.server.finish(pending, &apps::FollowLogReply { lines: Vec::new(), skipped: 0 });
            assert!(replies.next_reply().unwrap().is_ok());
        }
        assert!(replies.next_reply().is_none());
    }
}

#[test]
fn answer_that_came_later_lets_the_next_call_through() {
    let mut rig = Rig::new();
    let mut peer = rig.connect(1, &all(), 4096);
    let start = b"{\"method\":\"os.gabion.Apps.Start\",\"parameters\":{\"app\":\"slow\"}}\0";
    let list = b"{\"method\":\"os.gabion.Apps.List\"}\0";
    peer.write_all(&[start.as_slice(), list].concat()).unwrap();
    rig.settle();
    peer.write_all(list).unwrap();
    rig.settle();
    assert_eq!(rig.daemon.calls, ["Start slow"]);
    rig.server.finish(rig.daemon.started.pop().unwrap(), &Empty {});
    rig.settle();
    assert_eq!(rig.daemon.calls, ["Start slow", "List", "List"]);
    let mut buffer = [0; 4096];
    let got = peer.read(&mut buffer).unwrap();
    let answers = r#"{"parameters":{}}N{"parameters":{"apps":[]}}N{"parameters":{"apps":[]}}N"#;
    let got = String::from_utf8_lossy(&buffer[..got]).replace('\0', "N");
    assert!(answers.starts_with(&got), "{got}");
}

#[test]
fn peer_that_breaks_the_rules_is_shut_down_for_every_duplicate() {
    let broken: [&[u8]; 3] =
        [b"nonsense\0", &[b'['; 4096], b"{\"method\":\"a\",\"more\":true,\"oneway\":true}\0"];
    for bytes in broken {
        let mut rig = Rig::new();
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let duplicate = ours.try_clone().unwrap();
        let handover = rig::handover(1, apps::INTERFACE.name, &all(), 4096);
        rig.server.adopt(handover, ours.into()).unwrap();
        peer.write_all(bytes).unwrap();
        rig.settle();
        assert_eq!(rig.server.connections(), 0);
        assert_eq!(peer.read(&mut [0; 64]).unwrap_or(0), 0, "{}", bytes.escape_ascii());
        drop(duplicate);
    }
}

#[test]
fn descriptor_with_a_call_that_takes_none_is_closed_and_ends_the_connection() {
    let mut rig = Rig::new();
    let mut peer = rig.connect(1, &all(), 4096);
    let (pipe, mut end) = UnixStream::pair().unwrap();
    stream::send(&peer, b"{\"method\":\"os.gabion.Apps.List\"}\0", &[pipe], Wait::No).unwrap();
    rig.settle();
    assert_eq!((rig.server.connections(), peer.read(&mut [0; 8]).unwrap_or(0)), (0, 0));
    assert_eq!(end.read(&mut [0; 8]).unwrap(), 0, "somebody still has the descriptor");
    assert_eq!(rig.daemon.calls, [""; 0]);
}

#[test]
fn reader_that_is_slow_gets_everything_and_holds_up_nobody() {
    let mut rig = Rig::new();
    let slow = rig.connect(1, &all(), 65_536);
    let mut other = rig.connect(2, &all(), 65_536);
    let ask = b"{\"method\":\"os.gabion.Apps.GetLog\",\"parameters\":{\"app\":\"a\",\"lines\":60000}}\0";
    slow.set_nonblocking(true).unwrap();
    let mut asked = 0;
    // Until the server takes no more: what it keeps for one peer is bounded.
    for _ in 0..10_000 {
        match (&slow).write(ask) {
            Ok(n) if n == ask.len() => asked += 1,
            Ok(n) => panic!("cut after {n}"),
            Err(_) => break,
        }
        rig.settle();
    }
    assert!((2..100).contains(&rig.daemon.calls.len()), "{}", rig.daemon.calls.len());
    other.write_all(b"{\"method\":\"os.gabion.Apps.List\"}\0").unwrap();
    rig.settle();
    assert!(other.read(&mut [0; 64]).unwrap() > 0);
    let (mut buffer, mut replies) = (vec![0; 1 << 20], 0);
    for _ in 0..100_000 {
        rig.settle();
        match (&slow).read(&mut buffer) {
            Ok(n) => replies += buffer[..n].iter().filter(|b| **b == 0).count(),
            Err(_) if replies == asked => break,
            Err(_) => {}
        }
    }
    assert_eq!(replies, asked);
}

/// A router for one interface, at its place.
struct Router {
    path: PathBuf,
    listener: UnixListener,
    _dir: tempfile::TempDir,
}

impl Router {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(apps::INTERFACE.name);
        let listener =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(8).unwrap()).unwrap();
        Self { path, listener: listener.into(), _dir: dir }
    }

    /// The server's socket. What std calls a stream is of the listener's own type.
    fn accept(&self) -> UnixStream {
        self.listener.accept().unwrap().0
    }

    fn hand_over(&self, server: &UnixStream, serial: u64, methods: &[&str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let key = Key { uid: 10_001, interface: apps::INTERFACE.name.into() };
        let methods = methods.iter().map(|m| (*m).to_owned()).collect();
        let grant = Grant { server: 5, methods, limits: Limits::default() };
        let message = handover::Handover { serial, app: "a.b.c", key: &key, system: false, grant: &grant };
        stream::send(server, message.encode().as_bytes(), &[ours], Wait::No).unwrap();
        theirs
    }
}

fn reports(server: &UnixStream) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(got) = stream::receive(server, &mut buffer, Wait::No) {
        lines.push(String::from_utf8(buffer[..got.bytes].to_vec()).unwrap());
    }
    lines
}

const LIST: &[u8] = b"{\"method\":\"os.gabion.Apps.List\"}\0";
const START: &[u8] = b"{\"method\":\"os.gabion.Apps.Start\",\"parameters\":{\"app\":\"a\"}}\0";

#[test]
fn router_hands_over_and_hears_what_it_has_to() {
    let router = Router::new();
    let mut rig = Rig::new();
    rig.server = Server::new(rig::ABOUT).unwrap();
    rig.server.serve_at(&apps::INTERFACE, apps::dispatch, &router.path);
    let link = router.accept();
    let mut peer = router.hand_over(&link, 17, &["List"]);
    peer.write_all(&[LIST, START].concat()).unwrap();
    rig.settle();
    assert_eq!(reports(&link), ["refused 17 Start"]);
    stream::send(&link, handover::monitor(true).as_bytes(), NO_FDS, Wait::No).unwrap();
    rig.settle();
    peer.write_all(LIST).unwrap();
    rig.settle();
    peer.write_all(b"?\0").unwrap();
    rig.settle();
    assert_eq!(reports(&link), ["called 17 List", "dropped 17 malformed"]);
    assert_eq!(rig.events, []);
}

#[test]
fn router_that_comes_again_finds_the_connections_it_left() {
    let router = Router::new();
    let mut rig = Rig::new();
    rig.server = Server::new(rig::ABOUT).unwrap();
    rig.server.serve_at(&apps::INTERFACE, apps::dispatch, &router.path);
    let link = router.accept();
    let mut peer = router.hand_over(&link, 1, &all());
    rig.settle();
    drop(link);
    rig.settle();
    // Nobody accepted yet, and calls go through.
    peer.write_all(LIST).unwrap();
    rig.settle();
    assert!(peer.read(&mut [0; 64]).unwrap() > 0);
    let link = router.accept();
    // It does not know whether the server got this one: the second descriptor is nobody's.
    let mut again = router.hand_over(&link, 1, &all());
    let mut new = router.hand_over(&link, 2, &all());
    rig.settle();
    assert_eq!((rig.server.connections(), again.read(&mut [0; 8]).unwrap()), (2, 0));
    for peer in [&mut peer, &mut new] {
        peer.write_all(LIST).unwrap();
        rig.settle();
        assert!(peer.read(&mut [0; 64]).unwrap() > 0);
    }
}

#[test]
fn router_that_is_not_there_yet_is_tried_again() {
    let router = Router::new();
    let mut rig = Rig::new();
    rig.server = Server::new(rig::ABOUT).unwrap();
    let late = router.path.with_extension("late");
    rig.server.serve_at(&apps::INTERFACE, apps::dispatch, &late);
    rig.settle();
    std::fs::rename(&router.path, &late).unwrap();
    router.listener.set_nonblocking(true).unwrap();
    let link = loop {
        rig.server.turn(&mut rig.daemon, Some(1000), &mut rig.events).unwrap();
        if let Ok((link, _)) = router.listener.accept() {
            break link;
        }
    };
    router.hand_over(&link, 1, &all());
    rig.settle();
}

#[test]
fn client_that_gave_up_waiting_does_not_take_the_reply_for_another() {
    let mut rig = Rig::new();
    let mut client = client(&mut rig, &all());
    client.0.set_timeout(Some(std::time::Duration::from_millis(1))).unwrap();
    assert!(matches!(client.list().unwrap_err(), CallError::Io(_)));
    rig.settle();
    assert!(matches!(client.start("a").unwrap_err(), CallError::OutOfStep));
}

#[test]
fn hand_over_that_is_none_is_told_and_closed() {
    let router = Router::new();
    let mut rig = Rig::new();
    rig.server = Server::new(rig::ABOUT).unwrap();
    rig.server.serve_at(&apps::INTERFACE, apps::dispatch, &router.path);
    let link = router.accept();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    stream::send(&link, b"{\"serial\":1}", &[ours], Wait::No).unwrap();
    stream::send(&link, &[b'x'; 10_000], NO_FDS, Wait::No).unwrap();
    // One that lost its descriptor, because we have too many: the router has to end it, or its caller waits for ever.
    let key = Key { uid: 10_001, interface: apps::INTERFACE.name.into() };
    let grant = Grant { server: 5, methods: vec!["List".into()], limits: Limits::default() };
    let lost = handover::Handover { serial: 9, app: "a.b.c", key: &key, system: false, grant: &grant };
    stream::send(&link, lost.encode().as_bytes(), NO_FDS, Wait::No).unwrap();
    rig.settle();
    assert_eq!(reports(&link), ["dropped 9 no-descriptor"]);
    assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(rig.events.len(), 3, "{:?}", rig.events);
    assert_eq!(rig.server.connections(), 0);
}
