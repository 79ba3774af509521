//! Single rules of the router, each in the shortest history that shows it.

use bus::control::{Event, EventKind, Grant, Key, Verdict};

use super::super::records::Records;
use super::super::*;
use super::world::{LIMITS, Object, World, key};

fn granted(server: u32, methods: &[&str]) -> Verdict {
    Verdict::Granted(Grant { server, methods: methods.iter().map(|m| (*m).into()).collect(), limits: LIMITS })
}

/// A world in which box 1 may call server 11, which is there.
fn connected() -> (World, Key) {
    let mut world = World::new();
    let caller = key(1, 0);
    world.decide(&caller, granted(11, &["A", "B"]));
    world.serve(&key(11, 0));
    world.quiet();
    (world, caller)
}

/// A call that its server has.
fn called(world: &mut World, caller: &Key) -> usize {
    let call = world.call(caller).unwrap();
    world.quiet();
    world.servers_read();
    assert!(world.calls[call].granted.is_some(), "it did not get through");
    call
}

fn events(world: &World, kind: EventKind) -> Vec<&Event> {
    world.sandboxd.as_ref().unwrap().events.iter().filter(|event| event.kind == kind).collect()
}

#[test]
fn caller_undecided_waits_for_ever() {
    let mut world = World::new();
    let call = world.call(&key(1, 0)).unwrap();
    for _ in 0..20 {
        world.now += PATIENCE_MS;
        world.quiet();
    }
    assert!(!world.calls[call].over);
    assert!(events(&world, EventKind::Refused).is_empty());
}

#[test]
fn caller_of_nobody_is_refused_after_its_patience_and_not_before() {
    let mut world = World::new();
    world.decide(&key(1, 0), granted(11, &["A"]));
    world.quiet();
    world.now += 5 * PATIENCE_MS;
    let call = world.call(&key(1, 0)).unwrap();
    world.quiet();
    let core = &world.router.as_ref().unwrap().core;
    assert_eq!(core.deadline(world.now), Some(world.now + PATIENCE_MS));
    world.now += PATIENCE_MS - 1;
    world.quiet();
    assert!(!world.calls[call].over);
    world.now += 1;
    world.quiet();
    assert!(world.calls[call].over);
    let refused = events(&world, EventKind::Refused);
    assert_eq!((refused.len(), refused[0].detail.as_str(), refused[0].uid), (1, NOBODY, 1));
}

#[test]
fn caller_that_waits_gets_the_server_that_comes_back_in_time() {
    let (mut world, caller) = connected();
    world.end_process(0);
    world.quiet();
    let call = world.call(&caller).unwrap();
    world.now += PATIENCE_MS - 1;
    world.quiet();
    world.serve(&key(11, 0));
    world.quiet();
    assert!(world.calls[call].granted.is_some());
}

#[test]
fn box_above_its_rate_rests_until_there_are_tokens() {
    let (mut world, caller) = connected();
    let router = world.router.as_ref().unwrap();
    assert_eq!(router.accepts.get(&1), None);
    for _ in 0..40 {
        let call = world.call(&caller).unwrap();
        world.end_call(call);
    }
    world.quiet();
    let burst = 4 * u64::from(LIMITS.connections_per_s);
    assert_eq!(world.router.as_ref().unwrap().accepts[&1], burst);
    assert_eq!(world.router.as_ref().unwrap().core.deadline(world.now), Some(world.now + 500));
    world.servers_read();
    world.now += 1000;
    world.quiet();
    assert_eq!(world.router.as_ref().unwrap().accepts[&1], burst + 2);
}

#[test]
fn box_at_its_limit_is_refused_and_gets_its_place_back_when_sandboxd_has_forgotten() {
    let (mut world, caller) = connected();
    let first = called(&mut world, &caller);
    let others = [called(&mut world, &caller), called(&mut world, &caller)];
    let fourth = world.call(&caller).unwrap();
    world.quiet();
    assert!(world.calls[fourth].over && world.calls[fourth].granted.is_none());
    world.end_call(first);
    world.quiet();
    world.now += 1000;
    called(&mut world, &caller);
    assert!(others.iter().all(|call| !world.calls[*call].over));
}

#[test]
fn boxes_take_turns_one_connection_each() {
    let mut world = World::new();
    for uid in [1, 2, 3] {
        world.decide(&key(uid, 0), granted(11, &["A"]));
        world.decide(&key(uid, 1), granted(12, &["A"]));
    }
    world.serve(&key(11, 0));
    world.serve(&key(12, 1));
    world.quiet();
    // Box 1 has two full backlogs before the others come.
    for _ in 0..20 {
        world.call(&key(1, 0));
        world.call(&key(1, 1));
    }
    world.call(&key(2, 0));
    world.call(&key(3, 1));
    while world.router_polls() {}
    let mut order = Vec::new();
    for _ in 0..200 {
        let before = world.router.as_ref().unwrap().accepts.clone();
        world.router_acts();
        world.sandboxd_reads();
        world.servers_read();
        let accepts = &world.router.as_ref().unwrap().accepts;
        order.extend(accepts.iter().filter(|(uid, n)| before.get(uid) != Some(n)).map(|(uid, _)| *uid));
    }
    let of = |uid| order.iter().position(|other| *other == uid).unwrap();
    assert!(of(2) <= 2 && of(3) <= 2, "{order:?}");
}

#[test]
fn verdict_with_a_method_less_ends_the_connection_and_one_more_keeps_it() {
    let (mut world, caller) = connected();
    let call = called(&mut world, &caller);
    world.decide(&caller, granted(11, &["A", "B", "C"]));
    world.quiet();
    world.decide(&caller, Verdict::Undecided);
    world.quiet();
    assert!(!world.calls[call].over);
    world.decide(&caller, granted(11, &["A", "B"]));
    world.quiet();
    assert!(world.calls[call].over, "the grant it has by now is narrowed");
    assert_eq!(events(&world, EventKind::Revoked).len(), 1);
}

#[test]
fn grant_narrowed_while_there_was_no_router_ends_what_was_stored() {
    for (verdict, ends) in
        [(granted(11, &["A"]), true), (granted(12, &["A", "B"]), true), (granted(11, &["A", "B"]), false)]
    {
        let (mut world, caller) = connected();
        let call = called(&mut world, &caller);
        world.quiet();
        world.kill_router();
        world.decide(&caller, verdict);
        world.start_router();
        world.servers_read();
        world.quiet();
        world.servers_read();
        world.quiet();
        assert_eq!(world.calls[call].over, ends);
    }
}

#[test]
fn grant_widened_before_the_router_died_keeps_what_was_stored() {
    let (mut world, caller) = connected();
    let call = called(&mut world, &caller);
    world.decide(&caller, granted(11, &["A", "B", "C"]));
    world.quiet();
    world.kill_router();
    world.start_router();
    world.quiet();
    assert!(!world.calls[call].over);
}

#[test]
fn server_that_does_not_come_back_to_the_next_router_loses_its_connections() {
    let (mut world, caller) = connected();
    let call = called(&mut world, &caller);
    world.quiet();
    world.kill_router();
    world.start_router();
    world.quiet();
    world.now += PATIENCE_MS - 1;
    world.quiet();
    assert!(!world.calls[call].over);
    world.now += 1;
    world.quiet();
    assert!(world.calls[call].over);
}

#[test]
fn server_that_reads_nothing_is_dropped_after_its_patience() {
    let (mut world, caller) = connected();
    world.decide(&key(2, 0), granted(11, &["A"]));
    for _ in 0..3 {
        world.call(&caller);
        world.call(&key(2, 0));
        world.quiet();
    }
    let server = world.router.as_ref().unwrap().core.serves[&key(11, 0)].server.as_ref().unwrap();
    assert!(server.full_since.is_some(), "it has room for more");
    world.now += PATIENCE_MS;
    world.quiet();
    let dropped = events(&world, EventKind::Dropped);
    assert_eq!((dropped.len(), dropped[0].uid), (1, 11));
    assert!(world.calls.iter().filter(|call| call.granted.is_some()).all(|call| call.over));
}

#[test]
fn router_without_room_refuses() {
    let (mut world, caller) = connected();
    world.router.as_mut().unwrap().core.capacity = 0;
    let call = world.call(&caller).unwrap();
    world.quiet();
    assert!(world.calls[call].over);
    assert_eq!(events(&world, EventKind::Refused)[0].detail, "the bus has no room");
}

#[test]
fn report_about_a_connection_that_has_just_ended_is_heard() {
    let (mut world, caller) = connected();
    let call = called(&mut world, &caller);
    let serial = *world.router.as_ref().unwrap().core.live.keys().next().unwrap();
    world.end_call(call);
    world.report(0, format!("dropped {serial} depth").as_bytes());
    world.quiet();
    let dropped = events(&world, EventKind::Dropped);
    assert_eq!((dropped.len(), dropped[0].uid, dropped[0].serial), (1, 1, serial));
    assert!(events(&world, EventKind::Refused).is_empty());
}

#[test]
fn connection_that_its_server_dropped_is_ended() {
    let (mut world, caller) = connected();
    let (call, other) = (called(&mut world, &caller), called(&mut world, &caller));
    let serial = *world.router.as_ref().unwrap().core.live.keys().next().unwrap();
    world.report(0, format!("dropped {serial} no-descriptor").as_bytes());
    world.quiet();
    assert!(world.calls[call].over && !world.calls[other].over);
}

#[test]
fn report_flood_is_read_at_its_rate() {
    let (mut world, _) = connected();
    let mut read = 0;
    for _ in 0..10_000 {
        world.report(0, b"nonsense");
        let router = world.router.as_mut().unwrap();
        while let Some((token, hung)) = router.edges.pop_front() {
            router.core.ready(token, hung, world.now);
        }
        while let Some(action) = world.router.as_mut().unwrap().core.next(world.now) {
            match action {
                Action::Read(token) => {
                    read += 1;
                    world.router.as_mut().unwrap().core.report(token, Some(b"nonsense"), world.now);
                }
                Action::Tell(..) => world.router.as_mut().unwrap().core.told(Sent::Done, world.now),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(read, 400);
    let router = world.router.as_ref().unwrap();
    let reports = router.fds.values().filter(|object| matches!(object, Object::Server(_))).count();
    assert_eq!(reports, 1, "a server is not ended for it");
}

#[test]
fn descriptor_of_a_message_that_is_ignored_is_closed() {
    let mut core = Core::new(1, 100, 0);
    let descriptor = Some(Descriptor { token: Token(7), socket: 1 });
    let message = bus::control::ToRouter::Serve { key: key(1, 0), app: "a.b.c".into() };
    core.control(message, descriptor, 0);
    assert_eq!(core.next(0), Some(Action::Close(Token(7))));
}

#[test]
fn records_told_and_suppressed_add_up() {
    let mut records = Records::default();
    let one = Rc::new(key(1, 0));
    let (mut happened, mut told, mut lines) = (0, 0, 0);
    for now in 0..20_000 {
        if now < 10_000 {
            records.note(&one, EventKind::Opened, now, "", now);
            happened += 1;
        }
        if now % FLUSH_MS == 0 {
            records.flush(now);
        }
        // sandboxd reads now and then.
        if now % 700 == 0 {
            while let Some(event) = records.first() {
                told += u64::from(event.suppressed) + 1;
                lines += 1;
                records.told();
            }
        }
    }
    assert_eq!(told, happened);
    assert!(!records.owes());
    assert!(lines <= 20 + 2 * 20, "{lines} lines");
}

#[test]
fn router_that_waits_for_an_answer_asks_again_when_another_sandboxd_comes() {
    let mut world = World::new();
    world.decide(&key(1, 0), granted(11, &["A"]));
    while world.router_acts() {}
    // Sandboxd reads the first question and dies before it answers.
    world.sandboxd_reads();
    world.kill_sandboxd(1000);
    world.start_sandboxd();
    world.quiet();
    world.serve(&key(11, 0));
    world.quiet();
    called(&mut world, &key(1, 0));
}

#[test]
fn state_in_part_accepts_nobody() {
    let (mut world, caller) = connected();
    world.kill_router();
    world.start_router();
    while world.router_acts() {}
    world.sandboxd_reads();
    let call = world.call(&caller).unwrap();
    // All but the last message.
    let all = world.to_router();
    for _ in 1..all {
        world.router_hears();
        while world.router_polls() || world.router_acts() {}
        world.servers_read();
    }
    assert!(world.router.as_ref().unwrap().accepts.is_empty());
    world.quiet();
    world.servers_read();
    world.quiet();
    assert!(world.calls[call].granted.is_some());
}

#[test]
fn box_made_anew_while_there_was_no_sandboxd_is_accepted_from_at_its_new_socket() {
    let (mut world, caller) = connected();
    let old = called(&mut world, &caller);
    world.kill_sandboxd(0);
    world.make_box(1, 0);
    world.decide(&caller, granted(11, &["A", "B"]));
    world.start_sandboxd();
    world.quiet();
    assert!(world.calls[old].over, "a descriptor of the old box still speaks for the new one");
    called(&mut world, &caller);
}

#[test]
fn stored_connection_to_a_server_without_a_box_ends() {
    let (mut world, caller) = connected();
    let call = called(&mut world, &caller);
    world.kill_router();
    world.truth.serves.remove(&key(11, 0));
    world.start_router();
    world.quiet();
    assert!(world.calls[call].over);
}

#[test]
fn server_that_comes_back_to_the_next_router_keeps_its_connections_until_it_ends() {
    let (mut world, caller) = connected();
    let call = called(&mut world, &caller);
    world.kill_router();
    world.start_router();
    world.quiet();
    world.servers_read();
    world.quiet();
    world.now += 10 * PATIENCE_MS;
    world.quiet();
    assert!(!world.calls[call].over);
    world.kill_sandboxd(0);
    world.end_process(0);
    world.quiet();
    assert!(world.calls[call].over);
}

#[test]
fn server_that_connects_a_second_time_loses_what_came_over_the_first() {
    let (mut world, caller) = connected();
    let call = called(&mut world, &caller);
    world.serve(&key(11, 0));
    world.quiet();
    assert!(world.calls[call].over);
    called(&mut world, &caller);
}

#[test]
fn server_that_reads_again_gets_more() {
    let (mut world, caller) = connected();
    let calls: Vec<_> = (0..6).map(|n| world.call(&key(1 + n % 3, 0)).unwrap()).collect();
    for uid in 2..4 {
        world.decide(&key(uid, 0), granted(11, &["A"]));
    }
    world.quiet();
    assert!(calls.iter().any(|call| world.calls[*call].granted.is_none()), "it is never full");
    for _ in 0..3 {
        world.servers_read();
        world.now += 3000;
        world.quiet();
    }
    assert!(calls.iter().all(|call| world.calls[*call].granted.is_some() && !world.calls[*call].over));
    called(&mut world, &caller);
}

#[test]
fn connection_that_the_new_sandboxd_has_not_stored_is_not_handed_over() {
    let (mut world, caller) = connected();
    let call = world.call(&caller).unwrap();
    // Until it is stored; the server ends before it gets it.
    while world.router_polls() {}
    while !world.calls[call].stored {
        world.router_acts();
    }
    world.end_process(0);
    world.kill_sandboxd(0);
    world.start_sandboxd();
    while world.router_hears() {}
    world.serve(&key(11, 0));
    while world.calls[call].granted.is_none() {
        let told = world.router.as_ref().unwrap().core.live.values().next().unwrap().told;
        let did = world.router_polls() | world.router_acts();
        assert!(did, "it is never handed over");
        assert!(world.calls[call].granted.is_none() || told == Told::Stored, "handed over when {told:?}");
    }
}

#[test]
fn report_about_the_connection_of_another_server_is_not_believed() {
    let (mut world, caller) = connected();
    called(&mut world, &caller);
    let serial = *world.router.as_ref().unwrap().core.live.keys().next().unwrap();
    world.serve(&key(12, 0));
    world.quiet();
    world.report(1, format!("dropped {serial} lie").as_bytes());
    world.quiet();
    assert!(events(&world, EventKind::Dropped).is_empty());
    assert_eq!(events(&world, EventKind::Refused)[0].uid, 12);
}
