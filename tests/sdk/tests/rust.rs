//! The Rust crate against the router: every call, errors, connections that end, streams, serving.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::interfaces::update::Happening as Tell;
use bus::server::{Answer, Call, Pending};
use gabion::call::{CallError, Connection, Nothing};
use gabion::certificate::Identity;
use gabion::device::{Device, Mode};
use gabion::network::{HOST_NOT_LISTED, Kind, Network, Reach, Stage};
use gabion::power::Power;
use gabion::time::{Source, Time};
use gabion::update::{Happening, NOTHING_PENDING, State, TOO_LONG, Target, Update};
use sdk_test::temperature::{self, Error, Get, GetParameters, GetReply, Handler, Watch, WatchReply};
use sdk_test::world::{PATIENCE, TEMPERATURE, World};
use sdk_test::{grantable, tree};
use serde_json::{Value, json};
use tokio::time::timeout;

fn to(world: &World, interface: &str) -> Connection {
    Connection::at(interface, &world.folder("bus").join(interface))
}

fn updates(world: &World) -> Update {
    Update::over(to(world, "os.gabion.Update"))
}

/// Waits until so many watch.
async fn watched(world: &World, count: usize) {
    let begin = Instant::now();
    while world.system.watching() != count {
        assert!(begin.elapsed() < PATIENCE, "{} watch and not {count}", world.system.watching());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn crate_makes_every_call_that_an_app_may_be_granted() {
    let world = World::new().unwrap();
    let info = Device::over(to(&world, "os.gabion.Device")).info().await.unwrap();
    assert_eq!((info.board.as_str(), info.mode, info.uptime_us), ("a \"desk\"", Mode::Normal, 5_000_000));
    certificate(&world);
    let clock = Time::over(to(&world, "os.gabion.Time")).status().await.unwrap();
    assert_eq!((clock.source, clock.error_us), (Source::Network, Some(1500)));
    let mut network = Network::over(to(&world, "os.gabion.Network"));
    let status = network.status().await.unwrap();
    assert_eq!((status.reach, status.missing), (Reach::Local, Some(Stage::Names)));
    assert_eq!(network.resolve("mqtt.example.com").await.unwrap().addresses, ["192.0.2.7"]);
    assert!(network.resolve("other.example.com").await.unwrap_err().is(HOST_NOT_LISTED));
    assert_eq!(network.list_interfaces().await.unwrap()[0].kind, Kind::Ethernet);
    assert_eq!(network.list_own_rules().await.unwrap()[0].port, 8883);
    update(&world).await;
    let mut power = Power::over(to(&world, "os.gabion.Power"));
    power.reboot("a reason").await.unwrap();
    power.power_off("another").await.unwrap();
    assert_eq!(world.system.words(), ["defer App 30", "resume App", "reboot a reason", "power-off another"]);
    assert_eq!(world.system.called(), grantable());
}

#[test]
fn documentation_of_the_crate_names_every_method_with_its_line_of_the_manifest() {
    let folder = tree("sdk/rust/src");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // As it is read: without the marks, in one line.
    let text: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let text = text.replace("///", " ").replace("//!", " ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for name in grantable() {
        let (interface, method) = name.rsplit_once('.').unwrap();
        assert!(text.contains(&format!("`{name}`")), "{name} is not named");
        let begins = format!("[uses] \"{interface}\" = [");
        let named = text
            .split(&begins)
            .skip(1)
            .filter_map(|rest| rest.split(']').next())
            .any(|line| line.contains(&format!("\"{method}\"")));
        assert!(named, "no line of the manifest for {name}");
    }
}

/// Blocking, as `rustls` wants it: the servers have a thread of their own.
fn certificate(world: &World) {
    let path = world.folder("bus").join("os.gabion.Certificate");
    let identity = Identity::over(bus::client::Connection::at(&path).unwrap());
    assert_eq!(identity.chain().unwrap()[0].as_ref(), b"bytes");
    // What the stand-in gives is no certificate.
    assert!(identity.authorities().is_err());
    assert_eq!(identity.sign_digest(&[7; 32]).unwrap(), b"bytes");
    let evidence = std::io::read_to_string(identity.attest(&[7; 16]).unwrap()).unwrap();
    assert_eq!(evidence, "{\"app\":\"com.example.caller\"}");
}

async fn update(world: &World) {
    let mut updates = updates(world);
    assert_eq!(updates.status().await.unwrap()[1].state, State::None);
    assert!(updates.defer(Target::App, 30).await.unwrap_err().is(NOTHING_PENDING));
    let mut watch = updates.watch();
    // It is watched from its first question on, and a question that is dropped loses nothing.
    timeout(Duration::from_millis(50), watch.next()).await.unwrap_err();
    watched(world, 1).await;
    world.system.tell(Tell::Pending, "1.1.0", Some(7));
    let event = watch.next().await.unwrap();
    assert_eq!(
        (event.happening, event.version.as_str(), event.at_us),
        (Happening::Pending, "1.1.0", Some(7))
    );
    let found = updates.check_now().await.unwrap();
    assert_eq!(found[1].coming_version.as_deref(), Some("1.1.0"));
    let error = updates.defer(Target::App, 10_021).await.unwrap_err();
    assert!(error.is(TOO_LONG) && error.to_string().contains("10020"), "{error}");
    assert!(updates.defer(Target::App, 30).await.unwrap() > 0);
    updates.resume(Target::App).await.unwrap();
    world.system.tell(Tell::Final, "1.1.0", None);
    world.system.tell(Tell::Complete, "1.1.0", None);
    assert_eq!(watch.next().await.unwrap().happening, Happening::Final);
    assert_eq!(watch.next().await.unwrap().happening, Happening::Complete);
}

#[tokio::test]
async fn call_that_the_manifest_does_not_name_is_answered_with_the_line() {
    let granted = [("os.gabion.Power".to_owned(), "Reboot".to_owned())];
    let world = World::granting(&granted).unwrap();
    let error = Power::over(to(&world, "os.gabion.Power")).power_off("x").await.unwrap_err();
    let CallError::Denied { manifest_line } = &error else { panic!("{error}") };
    assert_eq!(manifest_line, "[uses] \"os.gabion.Power\" = [\"PowerOff\"]");
    let error = Time::over(to(&world, "os.gabion.Time")).status().await.unwrap_err();
    assert!(error.to_string().contains("names no method of os.gabion.Time"), "{error}");
}

#[tokio::test]
async fn servers_that_are_started_anew_are_found_again() {
    let mut world = World::new().unwrap();
    let mut device = Device::over(to(&world, "os.gabion.Device"));
    let mut watch = updates(&world).watch();
    device.info().await.unwrap();
    timeout(Duration::from_millis(50), watch.next()).await.unwrap_err();
    watched(&world, 1).await;
    world.restart_system().unwrap();
    device.info().await.unwrap();
    assert!(matches!(watch.next().await, Err(CallError::Closed)));
    timeout(Duration::from_millis(50), watch.next()).await.unwrap_err();
    watched(&world, 1).await;
    world.system.tell(Tell::Pending, "1.1.0", None);
    assert_eq!(watch.next().await.unwrap().version, "1.1.0");
}

#[tokio::test]
async fn call_that_was_given_up_does_not_disturb_the_next() {
    let world = World::new().unwrap();
    let mut updates = updates(&world);
    for _ in 0..20 {
        // Dropped before its answer is read, wherever it was.
        let _ = timeout(Duration::ZERO, updates.check_now()).await;
        assert_eq!(updates.status().await.unwrap().len(), 2);
    }
}

/// The example's interface, served with what was made of its file.
#[derive(Default)]
struct Sensor {
    callers: Arc<Mutex<Vec<String>>>,
    watching: Option<Pending<Watch>>,
}

impl Handler for Sensor {
    fn get(&mut self, call: Call<'_, Get>, parameters: GetParameters<'_>) -> Answer {
        self.callers.lock().unwrap().push(call.caller().app.clone());
        if parameters.room != "kitchen" {
            return call.fail(&Error::NoSuchRoom { room: parameters.room.into_owned() });
        }
        call.reply(&GetReply { degrees: 18.5 })
    }

    fn watch(&mut self, mut call: Call<'_, Watch>) -> Answer {
        call.push(&WatchReply { degrees: 1.0 });
        call.push(&WatchReply { degrees: 2.0 });
        let (pending, answer) = call.later();
        self.watching = Some(pending);
        answer
    }
}

#[tokio::test]
async fn app_serves_another_and_knows_who_calls() {
    let world = World::new().unwrap();
    let mut server = bus::server::Server::new(gabion::serve::ABOUT).unwrap();
    let place = world.folder("serve").join(TEMPERATURE);
    server.serve_at(&temperature::INTERFACE, temperature::dispatch, &place);
    let sensor = Sensor::default();
    let callers = Arc::clone(&sensor.callers);
    let (_later, answers) = gabion::serve::answers();
    let calls = async {
        let mut sensor = to(&world, TEMPERATURE);
        let reply: Value = sensor.call("Get", &json!({"room": "kitchen"})).await.unwrap();
        assert_eq!(reply, json!({"degrees": 18.5}));
        let error = sensor.call::<Value>("Get", &json!({"room": "attic"})).await.unwrap_err();
        assert!(error.is("com.example.Temperature.NoSuchRoom"), "{error}");
        let error = sensor.call::<Value>("Get", &Nothing {}).await.unwrap_err();
        assert!(error.is("org.varlink.service.InvalidParameter"), "{error}");
        let mut replies = to(&world, TEMPERATURE).more::<_, Value>("Watch", Nothing {});
        for degrees in [1.0, 2.0] {
            assert_eq!(replies.next().await.unwrap().unwrap()["degrees"], json!(degrees));
        }
    };
    tokio::select! {
        ended = gabion::serve::run(server, sensor, answers) => panic!("{ended:?}"),
        () = calls => {}
    }
    assert_eq!(*callers.lock().unwrap(), ["com.example.caller", "com.example.caller"]);
}
