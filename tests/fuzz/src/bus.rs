//! The bus: what apps, servers, the router, `appsd` and a developer's host say.

use std::os::fd::OwnedFd;

use bus::control::{FromRouter, ToRouter};
use bus::desk::{Asked, Told};
use bus::devport::{Frame, Frames, PAYLOAD_MAX};
use bus::handover::Report;
use bus::interface::Empty;
use bus::interfaces::{apps, power, time};
use bus::server::{Answer, Call, Handover, Incoming, Place};
use bus::session::{About, Granted, Session, Surroundings};
use serde_json::Value;

use crate::encodes_to_itself;

/// One message to a server.
pub fn call(bytes: &[u8]) {
    let Some(call) = bus::envelope::call(bytes) else { return };
    assert!(!(call.oneway && call.more));
    // What plain reading takes, the general reader takes too, unless the parameters are wrong inside.
    let general = serde_json::from_slice::<Value>(bytes);
    let parameters = call.parameters.map(serde_json::from_str::<Value>);
    match (general, parameters) {
        (Ok(all), Some(Ok(parameters))) => assert_eq!(all["parameters"], parameters),
        (Ok(all), None) => assert!(all.get("parameters").is_none_or(Value::is_null)),
        (Ok(_), Some(Err(error))) => panic!("read as a whole, and not by itself: {error}"),
        (Err(_), Some(Err(_))) => {}
        // Too deep for one more level around it.
        (Err(error), Some(Ok(_))) => assert!(error.to_string().contains("recursion limit"), "{error}"),
        (Err(error), None) => panic!("{error}"),
    }
}

/// One message to a client.
pub fn reply(bytes: &[u8]) {
    let typed = bus::envelope::typed_reply::<apps::ListReply<'_>>(bytes);
    let general = bus::envelope::reply(bytes);
    if let (Some((_, continues)), Some(general)) = (typed, general) {
        assert!(general.error.is_none());
        assert_eq!(general.continues.unwrap_or(false), continues);
    }
}

/// What a server is handed.
pub fn handover(bytes: &[u8]) {
    if let Ok(bus::server::FromRouter::Handover(handover)) = bus::server::read_handover(bytes) {
        let most = handover.message_bytes;
        let session = Session::new(Granted::new(handover, &time::INTERFACE));
        assert_eq!(session.room(), usize::try_from(most).unwrap_or(usize::MAX));
    }
}

/// What a server reports.
pub fn report(bytes: &[u8]) {
    if let Some(report) = Report::parse(bytes) {
        let again = report.encode();
        assert_eq!(Report::parse(again.as_bytes()), Some(report));
    }
}

/// Messages between `sandboxd` and the router: one encoding of each.
pub fn control(bytes: &[u8]) {
    if let Some(message) = ToRouter::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
    if let Some(message) = FromRouter::decode(bytes) {
        assert_eq!(message.encode(), bytes);
    }
}

/// Questions to the desk and its answers: none is longer than what it was read from, and each is read as it was meant.
pub fn desk(bytes: &[u8]) {
    encodes_to_itself(bytes, Asked::decode, Asked::encode);
    encodes_to_itself(bytes, Told::decode, Told::encode);
}

/// Frames of a developer's port: the same ones however they are cut up, none too long, each what its encoding gives.
pub fn devport(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    Frames::default().take(bytes, |frame| whole.push(encoded(&frame)));
    let mut frames = Frames::default();
    for piece in bytes.chunks(usize::from(*cut) + 1) {
        frames.take(piece, |frame| pieces.push(encoded(&frame)));
    }
    assert_eq!(whole, pieces);
    for one in whole {
        let mut again = Vec::new();
        Frames::default().take(&one, |frame| again.push(encoded(&frame)));
        assert_eq!(again, [one]);
    }
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    if let Frame::Data(bytes) | Frame::File(bytes) = frame {
        // As long as a frame that has a token.
        assert!(bytes.len() <= PAYLOAD_MAX + 8);
    }
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

/// Grants `Reboot` alone; a call of the other one is a hole in the allow-list.
struct OnlyReboot {
    waiting: bool,
}

impl power::Handler for OnlyReboot {
    fn reboot(&mut self, call: Call<'_, power::Reboot>, parameters: power::RebootParameters<'_>) -> Answer {
        if parameters.reason == "later" && !call.oneway() {
            self.waiting = true;
            return call.later().1;
        }
        call.reply(&Empty {})
    }

    fn power_off(&mut self, _: Call<'_, power::PowerOff>, _: power::PowerOffParameters<'_>) -> Answer {
        panic!("a method came through that was not granted")
    }
}

const ABOUT: About = About { vendor: "a", product: "b", version: "c", url: "d" };
/// Small, so that a fuzzer gets to the limits.
const MESSAGE_BYTES: u32 = 512;

/// A connection to a server: the first byte says how the others are cut up.
pub fn session(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let mut session = Session::new(Granted::new(granted(), &power::INTERFACE));
    let mut daemon = OnlyReboot { waiting: false };
    let mut sent = Vec::new();
    let mut now_ms = 0;
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = session.room();
        assert!(room <= MESSAGE_BYTES as usize);
        let part = rest.len().min(usize::from(*cut) + 1).min(room);
        let (now, later) = rest.split_at(part);
        rest = later;
        if !step(&mut session, &mut daemon, now, &mut sent) {
            break;
        }
        if daemon.waiting {
            daemon.waiting = false;
            assert_eq!(session.room(), 0);
            assert!(session.finish::<power::Reboot>(&Empty {}, Vec::new()).is_ok());
        } else if part == 0 && session.room() == 0 {
            panic!("nothing is under way, and yet nothing is taken");
        }
        now_ms += 1;
        if session.settle(now_ms).is_err() {
            break;
        }
    }
    let text = String::from_utf8(sent).unwrap_or_else(|error| panic!("{error}"));
    assert!(text.is_empty() || text.ends_with('\0'));
    for reply in text.split_terminator('\0') {
        assert!(bus::envelope::reply(reply.as_bytes()).is_some(), "{reply}");
    }
}

/// One reading, and everything sent that came of it. Whether the connection goes on.
fn step(session: &mut Session, daemon: &mut OnlyReboot, bytes: &[u8], sent: &mut Vec<u8>) -> bool {
    let mut dispatch = |incoming: Incoming<'_>| power::dispatch(daemon, incoming);
    let mut notes = Vec::new();
    let place = Place::default();
    let mut with = Surroundings { about: &ABOUT, place, dispatch: &mut dispatch, notes: &mut notes };
    let mut going = if bytes.is_empty() { Ok(()) } else { session.receive(bytes, no_fds(), &mut with) };
    while going.is_ok() {
        while session.has_output() {
            let part = session.output().next().0.to_vec();
            session.sent(part.len());
            sent.extend(part);
        }
        if !session.is_ready() {
            return true;
        }
        going = session.resume(&mut with);
    }
    false
}

fn no_fds() -> Vec<OwnedFd> {
    Vec::new()
}

fn granted() -> Handover {
    Handover {
        serial: 1,
        app: "a.b.c".to_owned(),
        uid: 10_001,
        system: false,
        interface: power::INTERFACE.name.to_owned(),
        methods: vec!["Reboot".to_owned()],
        message_bytes: MESSAGE_BYTES,
    }
}
