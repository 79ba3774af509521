//! Tests of the control messages' encoding: there and back, cut short, longer, and bytes of no origin.

use super::super::EventKind;
use super::*;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

fn key() -> impl Strategy<Value = Key> {
    (1u32.., "[a-z]{2,9}\\.[a-z-]{1,9}\\.[A-Z][a-z]{0,9}").prop_map(|(uid, interface)| Key { uid, interface })
}

fn grant() -> impl Strategy<Value = Grant> {
    let limits = (1u16.., 1u16.., 1u32..).prop_map(|(connections, connections_per_s, message_bytes)| {
        Limits { connections, connections_per_s, message_bytes }
    });
    (1u32.., btree_set("[A-Z][A-Za-z0-9]{0,63}", 1..65), limits).prop_map(|(server, methods, limits)| Grant {
        server,
        methods: methods.into_iter().collect(),
        limits,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Undecided),
        "[ -~]{0,320}".prop_map(Verdict::Refused),
        grant().prop_map(Verdict::Granted)
    ]
}

fn connection() -> impl Strategy<Value = Connection> {
    (1u64.., key(), 1u32.., any::<u64>(), any::<bool>())
        .prop_map(|(serial, key, server, grant, handed)| Connection { serial, key, server, grant, handed })
}

fn to_router() -> impl Strategy<Value = ToRouter> {
    let app = "[a-z]{1,9}\\.[a-z]{1,9}\\.[a-z-]{1,40}";
    prop_oneof![
        (any::<u64>(), any::<bool>()).prop_map(|(number, asked)| ToRouter::Sync { number, asked }),
        any::<bool>().prop_map(ToRouter::Monitor),
        (key(), app, any::<bool>(), verdict()).prop_map(|(key, app, system, verdict)| ToRouter::Listen {
            key,
            app,
            system,
            verdict
        }),
        (key(), app).prop_map(|(key, app)| ToRouter::Serve { key, app }),
        connection().prop_map(ToRouter::Stored),
        any::<u64>().prop_map(ToRouter::SyncEnd),
        key().prop_map(ToRouter::Revoke),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        Just(EventKind::Opened),
        Just(EventKind::Closed),
        Just(EventKind::Refused),
        Just(EventKind::Revoked),
        Just(EventKind::Dropped),
        Just(EventKind::Called)
    ];
    (kind, key(), option::of(any::<u64>()), "[ -~]{0,320}", any::<u32>()).prop_map(
        |(kind, key, serial, detail, suppressed)| Event {
            kind,
            uid: key.uid,
            interface: key.interface,
            serial: serial.unwrap_or(0),
            detail,
            suppressed,
        },
    )
}

fn from_router() -> impl Strategy<Value = FromRouter> {
    prop_oneof![
        (1u64..).prop_map(FromRouter::Hello),
        any::<u64>().prop_map(FromRouter::Synced),
        connection().prop_map(FromRouter::Store),
        (1u64..).prop_map(FromRouter::Handed),
        (1u64..).prop_map(FromRouter::Forget),
        event().prop_map(FromRouter::Event),
    ]
}

proptest! {
    #[test]
    fn to_router_encoded_decodes_to_itself_and_fits(message in to_router()) {
        let bytes = message.encode();
        prop_assert!(bytes.len() <= MESSAGE_MAX);
        prop_assert_eq!(ToRouter::decode(&bytes), Some(message));
    }

    #[test]
    fn from_router_encoded_decodes_to_itself_and_fits(message in from_router()) {
        let bytes = message.encode();
        prop_assert!(bytes.len() <= MESSAGE_MAX);
        prop_assert_eq!(FromRouter::decode(&bytes), Some(message));
    }

    #[test]
    fn message_cut_short_or_longer_is_refused(to in to_router(), from in from_router()) {
        for (bytes, decodes) in [
            (to.encode(), (|b| ToRouter::decode(b).is_some()) as fn(&[u8]) -> bool),
            (from.encode(), |b| FromRouter::decode(b).is_some()),
        ] {
            prop_assert!((0..bytes.len()).all(|n| !decodes(&bytes[..n])));
            prop_assert!(!decodes(&[bytes.as_slice(), &[0]].concat()));
        }
    }

    #[test]
    fn any_bytes_give_none_or_the_message_of_just_these_bytes(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(ToRouter::decode(&bytes).is_none_or(|message| message.encode() == bytes));
        prop_assert!(FromRouter::decode(&bytes).is_none_or(|message| message.encode() == bytes));
    }

    #[test]
    fn changed_byte_gives_none_or_the_message_of_just_these_bytes(
        to in to_router(), from in from_router(), place in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        for mut bytes in [to.encode(), from.encode()] {
            let place = place.index(bytes.len());
            bytes[place] = byte;
            prop_assert!(ToRouter::decode(&bytes).is_none_or(|message| message.encode() == bytes));
            prop_assert!(FromRouter::decode(&bytes).is_none_or(|message| message.encode() == bytes));
        }
    }
}

#[test]
fn number_written_longer_than_needed_is_refused() {
    let sync = ToRouter::Sync { number: 1, asked: true };
    assert_eq!(ToRouter::decode(&[0, 1, 1]), Some(sync));
    assert_eq!(ToRouter::decode(&[0, 0x81, 0, 1]), None);
}

#[test]
fn list_that_claims_to_be_huge_is_refused() {
    let huge =
        [[2, 1, 3].as_slice(), b"a.b", &[3], b"a.b", &[0, 2, 1], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert_eq!(ToRouter::decode(&huge), None);
}

#[test]
fn value_that_none_may_have_is_refused() {
    let good = Grant { server: 1, methods: vec!["A".into(), "B".into()], limits: Limits::default() };
    let listen = |interface: &str, grant: Grant| {
        let key = Key { uid: 7, interface: interface.into() };
        let message =
            ToRouter::Listen { key, app: "a.b.c".into(), system: false, verdict: Verdict::Granted(grant) };
        ToRouter::decode(&message.encode()).is_some()
    };
    assert!(listen("a.b.C", good.clone()));
    for interface in ["", ".a", "a/b", "a\"b", "a b", "\u{e9}", &"i".repeat(81)] {
        assert!(!listen(interface, good.clone()), "{interface}");
    }
    let many: Vec<String> = (0..65).map(|n| format!("M{n:02}")).collect();
    for methods in
        [vec![], vec!["B".into(), "A".into()], vec!["A".into(), "A".into()], vec!["A\n".into()], many]
    {
        assert!(!listen("a.b.C", Grant { methods: methods.clone(), ..good.clone() }), "{methods:?}");
    }
    assert!(!listen("a.b.C", Grant { server: 0, ..good.clone() }));
    let none = Limits { connections: 0, ..Limits::default() };
    assert!(!listen("a.b.C", Grant { limits: none, ..good }));
    let event = |detail: &str| {
        let (interface, detail) = ("a.b.C".into(), detail.into());
        let event = Event { kind: EventKind::Closed, uid: 7, interface, serial: 0, detail, suppressed: 0 };
        FromRouter::decode(&FromRouter::Event(event).encode()).is_some()
    };
    assert!(event("fine") && !event("two\nlines") && !event(&"x".repeat(321)));
    assert_eq!(FromRouter::decode(&FromRouter::Hello(0).encode()), None);
}
