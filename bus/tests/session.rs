//! One connection without a socket: what its grant lets through, in which order, and when it is ended.

#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

mod rig;

use bus::interfaces::{self, apps};
use bus::output::OUTPUT_MAX;
use bus::server::{Incoming, Place};
use bus::session::{Dropped, Granted, HALF_SENT_MS, Note, Session, Surroundings, UNREAD_MS, manifest_line};
use proptest::prelude::*;
use rig::{ABOUT, Core, all, handover};

const LIMIT: u32 = 4096;

fn call(method: &str, parameters: &str) -> Vec<u8> {
    format!("{{\"method\":\"os.gabion.Apps.{method}\",\"parameters\":{parameters}}}\0").into_bytes()
}

fn replies(methods: &[&str], bytes: &[u8]) -> Vec<String> {
    let mut core = Core::new(methods, LIMIT);
    core.receive(bytes).unwrap();
    core.replies()
}

#[test]
fn every_method_of_every_interface_is_refused_without_a_grant() {
    let mut seen = 0;
    for interface in interfaces::ALL {
        for method in interface.methods {
            let others: Vec<&str> =
                interface.methods.iter().map(|m| m.name).filter(|name| *name != method.name).collect();
            let granted = Granted::new(handover(1, interface.name, &others, LIMIT), interface);
            let mut session = Session::new(granted);
            let mut dispatch = |_: Incoming<'_>| panic!("{} came through", method.name);
            let mut notes = Vec::new();
            let mut with = Surroundings {
                about: &ABOUT,
                place: Place::default(),
                dispatch: &mut dispatch,
                notes: &mut notes,
            };
            // The parameters are of no use to anybody: the method is refused before they are read.
            let message = format!(
                "{{\"method\":\"{}.{}\",\"more\":true,\"parameters\":[1]}}\0",
                interface.name, method.name
            );
            session.receive(message.as_bytes(), Vec::new(), &mut with).unwrap();
            let reply = String::from_utf8(session.output().next().0.to_vec()).unwrap();
            if interface.name == "org.varlink.service" {
                assert!(reply.contains("InvalidParameter"), "{reply}");
                continue;
            }
            let line = serde_json::to_string(&manifest_line(interface.name, method.name)).unwrap();
            assert!(
                reply.contains("org.varlink.service.PermissionDenied") && reply.contains(&line),
                "{reply}"
            );
            assert_eq!(notes, [Note::Refused(method.name)]);
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen}");
}

#[test]
fn call_is_answered() {
    assert_eq!(replies(&["List"], &call("List", "{}")), [r#"{"parameters":{"apps":[]}}"#]);
    assert_eq!(
        replies(&["List"], b"{\"method\":\"os.gabion.Apps.List\"}\0"),
        [r#"{"parameters":{"apps":[]}}"#]
    );
    let error = r#"{"error":"os.gabion.Apps.AppNotFound","parameters":{"app":"a\"b"}}"#;
    assert_eq!(replies(&all(), &call("GetStatus", r#"{"app":"a\"b"}"#)), [error]);
}

#[test]
fn call_outside_the_grant_is_refused_by_its_manifest_line() {
    let line = r#"[uses] \"os.gabion.Apps\" = [\"Start\"]"#;
    let refused = format!(
        r#"{{"error":"org.varlink.service.PermissionDenied","parameters":{{"method":"os.gabion.Apps.Start","manifest_line":"{line}"}}}}"#
    );
    assert_eq!(replies(&["List"], &call("Start", r#"{"app":"a"}"#)), [refused]);
}

#[test]
fn call_that_nobody_has_is_not_found() {
    let mut core = Core::new(&all(), LIMIT);
    core.receive(&call("Nothing", "{}")).unwrap();
    core.receive(b"{\"method\":\"os.gabion.Time.GetStatus\"}\0{\"method\":\"x\"}\0").unwrap();
    core.receive(b"{\"method\":\"org.varlink.service.Nothing\"}\0").unwrap();
    assert_eq!(
        core.replies(),
        [
            r#"{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"os.gabion.Apps.Nothing"}}"#,
            r#"{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":"os.gabion.Time"}}"#,
            r#"{"error":"org.varlink.service.InterfaceNotFound","parameters":{"interface":""}}"#,
            r#"{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"org.varlink.service.Nothing"}}"#,
        ]
    );
    assert_eq!(core.daemon.calls, [""; 0]);
}

#[test]
fn parameters_that_are_wrong_are_named() {
    for (parameters, wrong) in [
        ("{}", "app"),
        (r#"{"app":1}"#, "app"),
        (r#"{"app":"a","app":"b"}"#, "app"),
        (r#"{"app":"a","extra":1}"#, "extra"),
        (r#"["a"]"#, ""),
    ] {
        let error = format!(
            r#"{{"error":"org.varlink.service.InvalidParameter","parameters":{{"parameter":"{wrong}"}}}}"#
        );
        assert_eq!(replies(&all(), &call("GetStatus", parameters)), [error], "{parameters}");
    }
    let deep = format!(r#"{{"app":{}1{}}}"#, "[".repeat(1500), "]".repeat(1500));
    assert!(replies(&all(), &call("GetStatus", &deep))[0].contains("InvalidParameter"));
    assert!(replies(&all(), &call("Restart", r#"{"app":"a"}"#))[0].contains("InvalidParameter"));
    assert!(replies(&all(), &call("Stop", r#"{"app":"a"}"#))[0].contains("MethodNotImplemented"));
}

#[test]
fn service_interface_shows_the_granted_interface_alone() {
    let info = replies(&[], b"{\"method\":\"org.varlink.service.GetInfo\"}\0");
    assert!(info[0].contains(r#""interfaces":["org.varlink.service","os.gabion.Apps"]"#), "{info:?}");
    let ask = |name: &str| {
        let message = format!(
            "{{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{{\"interface\":\"{name}\"}}}}\0"
        );
        replies(&[], message.as_bytes()).remove(0)
    };
    let read: serde_json::Value = serde_json::from_str(&ask("os.gabion.Apps")).unwrap();
    assert_eq!(read["parameters"]["description"], apps::DESCRIPTION);
    assert!(ask("org.varlink.service").contains("interface org.varlink.service"));
    assert!(ask("os.gabion.Power").contains("InterfaceNotFound"));
}

#[test]
fn more_is_asked_for_where_it_is_needed_and_upgrade_is_refused() {
    let follow = call("FollowLog", r#"{"app":"a","lines":2}"#);
    assert_eq!(replies(&all(), &follow), [r#"{"error":"org.varlink.service.ExpectedMore","parameters":{}}"#]);
    let upgrade = b"{\"method\":\"os.gabion.Apps.List\",\"upgrade\":true}\0";
    assert!(
        replies(&all(), upgrade)[0].contains(r#"InvalidParameter","parameters":{"parameter":"upgrade"}"#)
    );
}

#[test]
fn oneway_call_is_made_and_gets_no_reply() {
    let mut core = Core::new(&["Start"], LIMIT);
    for app in ["a", "slow"] {
        let message = format!(
            "{{\"method\":\"os.gabion.Apps.Start\",\"oneway\":true,\"parameters\":{{\"app\":\"{app}\"}}}}\0"
        );
        core.receive(message.as_bytes()).unwrap();
    }
    core.receive(b"{\"method\":\"os.gabion.Apps.Stop\",\"oneway\":true,\"parameters\":{\"app\":\"a\"}}\0")
        .unwrap();
    core.receive(b"{\"method\":\"os.gabion.Apps.None\",\"oneway\":true}\0").unwrap();
    core.receive(b"{\"method\":\"org.varlink.service.GetInfo\",\"oneway\":true}\0").unwrap();
    assert_eq!((core.replies().len(), core.session.waiting()), (0, None));
    assert_eq!(core.daemon.calls, ["Start a", "Start slow"]);
}

#[test]
fn calls_wait_for_the_one_before_them() {
    let mut core = Core::new(&all(), LIMIT);
    let bytes = [call("Start", r#"{"app":"slow"}"#), call("List", "{}"), call("List", "{}")].concat();
    core.receive(&bytes).unwrap();
    assert_eq!((core.daemon.calls.len(), core.session.room()), (1, 0));
    assert!(core.session.waits(core.session.waiting().unwrap()));
    core.session.finish::<apps::Start>(&bus::interface::Empty {}, Vec::new()).unwrap();
    core.drain().unwrap();
    let list = r#"{"parameters":{"apps":[]}}"#;
    assert_eq!(core.replies(), [r#"{"parameters":{}}"#, list, list]);
}

#[test]
fn stream_goes_on_until_it_is_finished() {
    let mut core = Core::new(&["FollowLog"], LIMIT);
    core.receive(b"{\"method\":\"os.gabion.Apps.FollowLog\",\"more\":true,\"parameters\":{\"app\":\"a\",\"lines\":2}}\0")
        .unwrap();
    let reply = apps::FollowLogReply { lines: Vec::new(), skipped: 1 };
    core.session.push::<apps::FollowLog>(&reply).unwrap();
    core.session.finish::<apps::FollowLog>(&reply, Vec::new()).unwrap();
    core.drain().unwrap();
    let replies = core.replies();
    assert_eq!(replies.len(), 4);
    assert!(replies[..3].iter().all(|reply| reply.ends_with(r#","continues":true}"#)), "{replies:?}");
    assert_eq!(replies[3], r#"{"parameters":{"lines":[],"skipped":1}}"#);
}

#[test]
fn stream_that_is_not_read_ends_the_connection() {
    let mut core = Core::new(&["FollowLog"], LIMIT);
    let ask = b"{\"method\":\"os.gabion.Apps.FollowLog\",\"more\":true,\"parameters\":{\"app\":\"a\",\"lines\":0}}\0";
    core.receive_with(ask, Vec::new()).unwrap();
    let text = "x".repeat(1000);
    let reply = apps::FollowLogReply { lines: vec![rig::line(&text)], skipped: 0 };
    let pushed = (0..1000).map_while(|_| core.session.push::<apps::FollowLog>(&reply).ok()).count();
    assert!(pushed * 1000 < OUTPUT_MAX && pushed > 50, "{pushed}");
    assert_eq!(core.session.push::<apps::FollowLog>(&reply), Err(Dropped::SlowReader));
}

#[test]
fn reply_beyond_the_bound_is_the_daemons_fault() {
    let mut core = Core::new(&["GetLog"], LIMIT);
    let ask = call("GetLog", &format!(r#"{{"app":"a","lines":{OUTPUT_MAX}}}"#));
    assert_eq!(core.receive(&ask), Err(Dropped::BadReply));
}

#[test]
fn message_that_is_no_call_ends_the_connection() {
    let wrong: [&[u8]; 4] = [b"\0", b"x\0", b"{\"method\":\"a.b\",\"method\":\"a.c\"}\0", b"\xff\xfe\0"];
    for message in wrong {
        assert_eq!(Core::new(&all(), LIMIT).receive(message), Err(Dropped::Malformed));
    }
}

#[test]
fn message_of_the_longest_length_is_taken_and_one_longer_is_not() {
    let message = |length: usize| {
        let padding = length - call("GetStatus", r#"{"app":""}"#).len();
        call("GetStatus", &format!(r#"{{"app":"{}"}}"#, "a".repeat(padding)))
    };
    let limit = usize::try_from(LIMIT).unwrap();
    let mut core = Core::new(&all(), LIMIT);
    assert_eq!(core.receive(&message(limit)), Ok(limit));
    assert_eq!(core.replies().len(), 1);
    assert_eq!(core.receive(&message(limit + 1)), Err(Dropped::TooLong));
    // However long it is, no more than the limit is ever taken.
    let mut core = Core::new(&all(), LIMIT);
    assert_eq!(core.receive(&vec![b'{'; 64 << 20]), Err(Dropped::TooLong));
}

#[test]
fn descriptors_with_a_call_that_takes_none_end_the_connection() {
    let fds = || vec![std::fs::File::open("/dev/null").unwrap().into()];
    for message in
        [call("List", "{}"), call("None", "{}"), b"{\"method\":\"org.varlink.service.GetInfo\"}\0".to_vec()]
    {
        assert_eq!(Core::new(&all(), LIMIT).receive_with(&message, fds()), Err(Dropped::Descriptors));
    }
    // They belong to the message that ends there, not to the one before.
    let mut core = Core::new(&all(), LIMIT);
    let two = [call("List", "{}"), call("List", "{}")].concat();
    assert_eq!(core.receive_with(&two, fds()), Err(Dropped::Descriptors));
    assert_eq!(core.daemon.calls, ["List"]);
}

#[test]
fn descriptors_with_half_a_message_are_bounded() {
    let fds = |count| (0..count).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
    let mut core = Core::new(&all(), LIMIT);
    assert_eq!(core.receive_with(b"{", fds(8)), Ok(()));
    assert_eq!(core.receive_with(b"\"", fds(1)), Err(Dropped::Descriptors));
}

#[test]
fn half_a_message_may_take_its_time_but_no_longer() {
    let mut core = Core::new(&all(), LIMIT);
    let message = call("List", "{}");
    core.receive(&message[..9]).unwrap();
    assert_eq!(core.session.settle(1000), Ok(Some(1000 + HALF_SENT_MS)));
    // One byte more does not help.
    core.receive(&message[9..10]).unwrap();
    assert_eq!(core.session.settle(1000 + HALF_SENT_MS - 1), Ok(Some(1000 + HALF_SENT_MS)));
    assert_eq!(core.session.settle(1000 + HALF_SENT_MS), Err(Dropped::HalfSent));
    // Another message does.
    core.receive(&[&message[10..], &message[..3]].concat()).unwrap();
    assert_eq!(core.session.settle(50_000), Ok(Some(50_000 + HALF_SENT_MS)));
    core.receive(&message[3..]).unwrap();
    assert_eq!(core.session.settle(50_000), Ok(None));
}

#[test]
fn replies_may_stay_unread_for_a_while_but_no_longer() {
    let mut core = Core::new(&all(), LIMIT);
    core.receive_with(&call("List", "{}"), Vec::new()).unwrap();
    assert_eq!(core.session.room(), 0);
    assert_eq!(core.session.settle(0), Ok(Some(UNREAD_MS)));
    core.session.sent(1);
    assert_eq!(core.session.settle(UNREAD_MS), Ok(Some(2 * UNREAD_MS)));
    assert_eq!(core.session.settle(2 * UNREAD_MS), Err(Dropped::Unread));
}

fn any_call() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(call("List", "{}")),
        2 => "[a-z\"\\\\ ]{0,8}".prop_map(|app| call("GetStatus", &serde_json::json!({ "app": app }).to_string())),
        2 => (0..300).prop_map(|lines| call("GetLog", &format!(r#"{{"app":"a","lines":{lines}}}"#))),
        1 => Just(call("Start", r#"{"app":"b"}"#)),
        1 => Just(call("None", "{}")),
        1 => Just(b"{\"method\":\"org.varlink.service.GetInfo\"}\0".to_vec()),
        1 => Just(b"{\"method\":\"os.gabion.Apps.List\",\"oneway\":true}\0".to_vec()),
    ]
}

proptest! {
    #[test]
    fn calls_however_cut_up_are_answered_alike(
        calls in prop::collection::vec(any_call(), 0..20), cuts in prop::collection::vec(1usize..200, 1..60)
    ) {
        let bytes = calls.concat();
        let mut whole = Core::new(&all(), LIMIT);
        whole.receive(&bytes).unwrap();
        let mut cut = Core::new(&all(), LIMIT);
        let mut rest = bytes.as_slice();
        for length in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let part = rest.len().min(*length);
            prop_assert_eq!(cut.receive(&rest[..part]), Ok(part));
            rest = &rest[part..];
        }
        prop_assert_eq!(cut.replies(), whole.replies());
        prop_assert_eq!(cut.daemon.calls, whole.daemon.calls);
        prop_assert_eq!(cut.notes, whole.notes);
    }

    #[test]
    fn any_bytes_reach_nobody_but_as_granted_calls(
        bytes in prop::collection::vec(prop_oneof![3 => prop::sample::select(&b"{}[]\":,\0 "[..]), 1 => any::<u8>()], 0..600),
        before in any_call(), cut in 1usize..40
    ) {
        let mut core = Core::new(&["List"], 256);
        let all = [before, bytes].concat();
        for part in all.chunks(cut) {
            if core.receive(part).is_err() {
                break;
            }
        }
        prop_assert!(core.daemon.calls.iter().all(|call| call == "List"));
        prop_assert!(core.replies().iter().all(|reply| serde_json::from_str::<serde_json::Value>(reply).is_ok()));
    }

    #[test]
    fn call_with_one_byte_changed_does_not_come_through_as_another(
        message in any_call(), place in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut message = message;
        let place = place.index(message.len());
        message[place] = byte;
        let mut core = Core::new(&["List"], LIMIT);
        let _ = core.receive(&message);
        prop_assert!(core.daemon.calls.iter().all(|call| call == "List"));
    }
}
