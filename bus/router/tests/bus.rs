//! The real `busd` between a stand-in for `sandboxd`, servers and callers, good and hostile.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod rig;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bus::control::{EventKind, Limits, Verdict};
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, send};
use rig::{
    Bus, call, connect_server, echo, ends, exchange, granted, handover, is_ready, key, pass_on, serial,
};

const SERVER: u32 = 11;
const INTERFACE: &str = "com.example.Thing";
const WIDE: Limits = Limits { connections: 1000, connections_per_s: 1000, message_bytes: 65536 };

/// `kill -9` of the router in the middle of 100,000 calls on 50 connections.
#[test]
fn router_killed_loses_no_call_and_new_callers_wait() {
    const CONNECTIONS: usize = 50;
    const CALLS: u64 = 2000;
    let mut bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    let server = echo(bus.serve(&key(SERVER, INTERFACE)));
    let streams: Vec<_> = (0..CONNECTIONS).map(|_| call(&path)).collect();
    bus.until_stored(CONNECTIONS);
    let answered = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let answered = Arc::clone(&answered);
            thread::spawn(move || {
                for number in 0..CALLS {
                    assert!(exchange(&mut stream, number), "call {number} is lost");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                stream
            })
        })
        .collect();
    let until_answered = |count| {
        while answered.load(Ordering::Relaxed) < count {
            let all_ended = callers.iter().all(|caller| caller.is_finished());
            assert!(!all_ended || answered.load(Ordering::Relaxed) >= count);
            thread::yield_now();
        }
    };
    until_answered(30_000);
    bus.kill_router();
    let before = answered.load(Ordering::Relaxed);
    let new: Vec<_> = (0..10)
        .map(|number| {
            let mut stream = call(&path);
            thread::spawn(move || exchange(&mut stream, number).then_some(stream))
        })
        .collect();
    // Some are left, however late the router was killed.
    until_answered((before + 20_000).min(CONNECTIONS as u64 * CALLS - 10_000));
    assert!(new.iter().all(|caller| !caller.is_finished()), "somebody answered without a router");
    bus.start_router();
    let mut streams: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    streams.extend(new.into_iter().map(|caller| caller.join().unwrap().expect("a new caller failed")));
    assert_eq!(answered.load(Ordering::Relaxed), CONNECTIONS as u64 * CALLS);
    assert_eq!(server.lock().unwrap().serials.len(), CONNECTIONS + 10, "handed over more than once");
    // What the first router handed over, the second one revokes.
    bus.revoke(&key(1, INTERFACE));
    assert!(streams.iter_mut().all(ends));
    bus.until_stored(0);
}

#[test]
fn router_killed_again_and_again_loses_no_connection() {
    let mut bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    echo(bus.serve(&key(SERVER, INTERFACE)));
    let mut streams = Vec::new();
    for round in 0..20 {
        // Its first call waits until the router is there.
        streams.push(call(&path));
        assert!(streams.iter_mut().all(|stream| exchange(stream, round)));
        bus.until_stored(streams.len());
        bus.kill_router();
        assert!(streams.iter_mut().all(|stream| exchange(stream, round)));
        bus.start_router();
    }
    drop(streams);
    bus.until_stored(0);
}

#[test]
fn stored_connection_that_no_server_got_is_handed_over_by_the_next_router() {
    let mut bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    let serve = bus.serve(&key(SERVER, INTERFACE));
    let first = connect_server(&serve);
    let mut stream = call(&path);
    let (message, given) = handover(&first).unwrap();
    bus.until_handed(1);
    bus.kill_router();
    // As if the router had died a moment earlier.
    bus.forget_handed();
    bus.start_router();
    let second = connect_server(&serve);
    let (again, same) = handover(&second).unwrap();
    assert_eq!(message, again);
    drop(same);
    given.unwrap().write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn sandboxd_restarted_gets_every_connection_again() {
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    echo(bus.serve(&key(SERVER, INTERFACE)));
    let mut streams: Vec<_> = (0..300).map(|_| call(&path)).collect();
    bus.until_stored(300);
    bus.restart_sandboxd(77);
    bus.until("synced", |state| state.synced.contains(&77).then_some(()));
    bus.until_handed(300);
    assert!(streams.iter_mut().all(|stream| exchange(stream, 1)));
}

#[test]
fn sandboxd_that_does_not_read_keeps_callers_waiting_and_loses_none() {
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    let server = echo(bus.serve(&key(SERVER, INTERFACE)));
    let _first = call(&path);
    bus.until_stored(1);
    bus.deafen(true);
    let callers: Vec<_> = (0..400)
        .map(|number| {
            let path = path.clone();
            thread::spawn(move || exchange(&mut call(&path), number))
        })
        .collect();
    // The socket takes some, then nothing is accepted: what is stored nowhere is with no server.
    let mut before = 0;
    while before == 0 || before != server.lock().unwrap().serials.len() {
        before = server.lock().unwrap().serials.len();
        thread::sleep(std::time::Duration::from_millis(300));
    }
    assert!(before < 400, "the socket takes them all");
    bus.deafen(false);
    assert!(callers.into_iter().all(|caller| caller.join().unwrap()));
    assert_eq!(server.lock().unwrap().serials.len(), 401);
    bus.until_stored(1);
}

/// 10,000 connections in a loop from one box, which also keeps those it gets, while another box connects.
#[test]
fn flood_of_one_box_leaves_the_other_its_connections() {
    let bus = Bus::new();
    let limits = Limits::default();
    let hostile = bus.listen(&key(1, INTERFACE), granted(SERVER, limits));
    let good = bus.listen(&key(2, INTERFACE), granted(SERVER, limits));
    let server = echo(bus.serve(&key(SERVER, INTERFACE)));
    let started = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let flood = {
        let over = Arc::clone(&over);
        thread::spawn(move || {
            let (mut kept, mut tries) = (Vec::new(), 0);
            while tries < 10_000 || !over.load(Ordering::Relaxed) {
                tries += 1;
                kept.extend(rig::try_call(&hostile));
                if kept.len() > 450 {
                    kept.drain(..50);
                }
            }
        })
    };
    for number in 0..100 {
        assert!(exchange(&mut call(&good), number), "call {number} of the good box");
    }
    over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    let elapsed = started.elapsed().as_secs() + 1;
    let given = server.lock().unwrap();
    let most = 4 * 50 + 50 * elapsed;
    assert!(given.serials.len() as u64 <= most + 100, "{} in {elapsed} s", given.serials.len());
    // Of 400 that the one keeps; what the other calls; and of a burst those whose end the server has not seen yet.
    assert!(given.most <= 64 + 100 + 200, "{} at once", given.most);
    drop(given);
    // No record is lost: told ones and suppressed ones add up.
    let told = |state: &rig::State, kind| {
        state
            .events
            .iter()
            .filter(|e| e.kind == kind && e.uid == 2)
            .map(|e| u64::from(e.suppressed) + 1)
            .sum::<u64>()
    };
    bus.until("every record", |state| {
        (told(state, EventKind::Opened) == 100 && told(state, EventKind::Closed) == 100).then_some(())
    });
    let lines = bus.until("", |state| Some(state.events.iter().filter(|e| e.uid == 1).count() as u64));
    assert!(lines <= 3 * (20 + 2 * (started.elapsed().as_secs() + 1)), "{lines} records of one box");
    bus.until_stored(0);
}

#[test]
fn connection_over_the_limit_is_refused_and_counts_return() {
    let bus = Bus::new();
    let limits = Limits { connections: 3, ..WIDE };
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, limits));
    echo(bus.serve(&key(SERVER, INTERFACE)));
    let mut files = None;
    for _ in 0..3 {
        let mut streams: Vec<_> = (0..3).map(|_| call(&path)).collect();
        assert!(streams.iter_mut().all(|stream| exchange(stream, 1)));
        assert!(ends(&mut call(&path)));
        bus.until_stored(3);
        drop(streams);
        bus.until_stored(0);
        let open = bus.router_files();
        assert_eq!(*files.get_or_insert(open), open, "descriptors leak");
    }
    bus.until("a record", |state| {
        state.events.iter().find(|e| e.detail == "too many connections are open").map(|_| ())
    });
}

#[test]
fn half_closed_connection_lives_until_its_other_half_is_closed() {
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    let server = connect_server(&bus.serve(&key(SERVER, INTERFACE)));
    let mut stream = call(&path);
    let mut given = handover(&server).unwrap().1.unwrap();
    stream.write_all(b"ask").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut asked = String::new();
    given.read_to_string(&mut asked).unwrap();
    given.write_all(b"answer").unwrap();
    stream.read_exact(&mut [0; 6]).unwrap();
    bus.until_stored(1);
    given.shutdown(Shutdown::Write).unwrap();
    bus.until_stored(0);
}

#[test]
fn data_that_goes_by_does_not_wake_the_router() {
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    echo(bus.serve(&key(SERVER, INTERFACE)));
    let mut stream = call(&path);
    assert!(exchange(&mut stream, 0));
    bus.until_handed(1);
    // It still tells of the opening.
    bus.until("a record", |state| state.events.iter().find(|e| e.kind == EventKind::Opened).map(|_| ()));
    let before = bus.router_status("voluntary_ctxt_switches");
    assert!((0..10_000).all(|number| exchange(&mut stream, number)));
    let woken = bus.router_status("voluntary_ctxt_switches") - before;
    assert!(woken < 20, "woken {woken} times");
}

#[test]
fn server_that_never_reads_holds_up_only_its_own_callers() {
    let bus = Bus::new();
    let (stuck, other) = (key(1, "com.example.Stuck"), key(1, INTERFACE));
    let stuck_path = bus.listen(&stuck, granted(SERVER, WIDE));
    let path = bus.listen(&other, granted(SERVER, WIDE));
    let server = connect_server(&bus.serve(&key(SERVER, "com.example.Stuck")));
    echo(bus.serve(&key(SERVER, INTERFACE)));
    let mut waiting: Vec<_> = (0..60).map(|_| call(&stuck_path)).collect();
    assert!((0..50).all(|number| exchange(&mut call(&path), number)));
    let stored = |state: &rig::State| state.store.values().filter(|(c, _)| c.key == stuck).count();
    let stored = bus.until("some stored", |state| Some(stored(state)).filter(|n| *n > 0));
    assert!(stored < 30, "{stored} descriptors wait in the socket of a server that does not read");
    // It goes on when the server does.
    (0..60).for_each(|_| drop(handover(&server).unwrap()));
    bus.until_stored(60);
    drop(server);
    assert!(waiting.iter_mut().all(ends));
    bus.until_stored(0);
}

#[test]
fn server_that_closes_ends_its_connections_and_the_next_one_gets_new_ones() {
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    let serve = bus.serve(&key(SERVER, INTERFACE));
    let server = connect_server(&serve);
    let mut stream = call(&path);
    let given = handover(&server).unwrap();
    // Its own descriptor of the connection stays open in some other process of the server.
    drop(server);
    assert!(ends(&mut stream));
    bus.until_stored(0);
    let mut waits = call(&path);
    let newer = connect_server(&serve);
    let (_, second) = handover(&newer).unwrap();
    second.unwrap().write_all(b"x").unwrap();
    waits.read_exact(&mut [0]).unwrap();
    // One that connects while another is there replaces it.
    let _newest = connect_server(&serve);
    assert!(ends(&mut waits));
    assert!(handover(&newer).is_none());
    drop(given);
}

#[test]
fn revoked_connection_ends_in_every_process_that_has_it() {
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    let server = connect_server(&bus.serve(&key(SERVER, INTERFACE)));
    let stream = call(&path);
    let mut given = handover(&server).unwrap().1.unwrap();
    let mut other = pass_on(&stream);
    drop(stream);
    bus.until_stored(1);
    assert_eq!(other.try_wait().unwrap(), None);
    bus.revoke(&key(1, INTERFACE));
    assert!(other.wait().unwrap().success());
    assert!(ends(&mut given));
    bus.until_stored(0);
    bus.until("a record", |state| state.events.iter().find(|e| e.kind == EventKind::Revoked).map(|_| ()));
}

#[test]
fn verdict_decides_about_callers_that_wait_and_about_those_that_are_there() {
    let bus = Bus::new();
    let (caller, other) = (key(1, INTERFACE), key(2, INTERFACE));
    let path = bus.listen(&caller, Verdict::Undecided);
    let refused = bus.listen(&other, Verdict::Refused("not in its manifest".into()));
    let server = connect_server(&bus.serve(&key(SERVER, INTERFACE)));
    let mut stream = call(&path);
    assert!(ends(&mut call(&refused)));
    assert!(!is_ready(&server, PollFlags::POLLIN, 0), "an undecided caller got through");
    bus.decide(&caller, granted(SERVER, WIDE));
    let (message, _given) = handover(&server).unwrap();
    assert!(message.contains("\"app\":\"a.b.caller\",\"uid\":1,\"system\":false"), "{message}");
    // Undecided again changes nothing for it; refused does.
    bus.decide(&caller, Verdict::Undecided);
    bus.decide(&caller, granted(SERVER, WIDE));
    bus.until_stored(1);
    bus.decide(&caller, Verdict::Refused("no more".into()));
    assert!(ends(&mut stream));
    bus.until("a record", |state| state.events.iter().find(|e| e.detail == "no more").map(|_| ()));
    bus.until("a record", |state| {
        state
            .events
            .iter()
            .find(|e| e.kind == EventKind::Refused && e.detail == "not in its manifest")
            .map(|_| ())
    });
}

#[test]
fn reports_become_records_if_they_are_about_the_servers_own() {
    let bus = Bus::new();
    let path = bus.listen(&key(1, INTERFACE), granted(SERVER, WIDE));
    let server = connect_server(&bus.serve(&key(SERVER, INTERFACE)));
    let _stream = call(&path);
    let (message, _given) = handover(&server).unwrap();
    let serial = serial(&message);
    let report = |text: &str| send(server.as_raw_fd(), text.as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
    bus.monitor(true);
    assert_eq!(handover(&server).unwrap().0, "{\"monitor\":true}");
    report(&format!("called {serial} Get"));
    bus.until("called", |state| state.events.iter().find(|e| e.kind == EventKind::Called).map(|_| ()));
    bus.monitor(false);
    assert_eq!(handover(&server).unwrap().0, "{\"monitor\":false}");
    report(&format!("called {serial} Unheard"));
    report(&format!("refused {serial} Put"));
    report(&format!("refused {} Put", serial + 1));
    report(&"x".repeat(100_000));
    report(&format!("dropped {serial} depth"));
    let dropped = bus.until("dropped", |state| {
        let found = state.events.iter().position(|e| e.kind == EventKind::Dropped)?;
        Some(state.events[..=found].iter().map(|e| (e.kind, e.uid, e.detail.clone())).collect::<Vec<_>>())
    });
    let of =
        |kind| dropped.iter().filter(move |(k, ..)| *k == kind).map(|(_, uid, text)| (*uid, text.as_str()));
    assert_eq!(of(EventKind::Called).collect::<Vec<_>>(), [(1, "Get")]);
    let refused: Vec<_> = of(EventKind::Refused).collect();
    let foreign = "a report about a connection that the server does not have";
    assert_eq!(refused, [(1, "Put"), (SERVER, foreign), (SERVER, "a report that is none")]);
    assert_eq!(of(EventKind::Dropped).collect::<Vec<_>>(), [(1, "depth")]);
}

#[test]
fn router_without_sandboxd_ends() {
    let (ours, theirs) = sys::channel::pair().unwrap();
    let mut router = std::process::Command::new(env!("CARGO_BIN_EXE_busd"))
        .stdin(std::process::Stdio::from(theirs))
        .spawn()
        .unwrap();
    drop(ours);
    assert!(router.wait().unwrap().code().is_some());
}
