//! The thermostats of `sdk/examples`, in three languages: each is held to the same.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bus::interfaces::update::Happening;
use sdk_test::broker::Broker;
use sdk_test::c;
use sdk_test::tree;
use sdk_test::world::{PATIENCE, World};

/// An app and its sensor, on a bus of their own.
struct Room {
    world: World,
    broker: Broker,
    notify: UnixDatagram,
    place: tempfile::TempDir,
    running: Vec<Child>,
}

impl Drop for Room {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Room {
    /// With the sensor, which shows `degrees`.
    fn new(degrees: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        c::program(&tree("sdk/examples/c/sensor/sensor.c"), &at("sensor")).unwrap();
        let notify = UnixDatagram::bind(at("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let (world, broker) = (World::new().unwrap(), Broker::start().unwrap());
        let mut room = Self { world, broker, notify, place, running: Vec::new() };
        room.shows(degrees);
        let mut sensor = room.world.command(room.at("sensor"));
        sensor.arg(room.at("degrees")).stdout(Stdio::null());
        room.running.push(sensor.spawn().unwrap());
        room
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The sensor shows another temperature.
    fn shows(&self, degrees: &str) {
        std::fs::write(self.at("new"), format!("{degrees}\n")).unwrap();
        std::fs::rename(self.at("new"), self.at("degrees")).unwrap();
    }

    fn run(&mut self, mut app: Command) {
        app.env("NOTIFY_SOCKET", self.at("notify")).env("WATCHDOG_USEC", "30000000");
        self.running.push(app.spawn().unwrap());
    }

    /// The next message that says this; others before it are passed over.
    fn published(&self, topic: &str, message: &str) {
        let begin = Instant::now();
        loop {
            let (to, said) = self.broker.next().unwrap();
            assert_eq!(to, topic);
            if said == message {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{said} instead of {message}");
        }
    }

    fn words(&self, expected: &[&str]) {
        let begin = Instant::now();
        while self.world.system.words() != expected {
            assert!(begin.elapsed() < PATIENCE, "{:?}", self.world.system.words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the app watches its updates.
    fn is_watched(&self) {
        let begin = Instant::now();
        while self.world.system.watching() == 0 {
            assert!(begin.elapsed() < PATIENCE, "nobody watches");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn notified(&self, expected: &str) {
        let mut message = [0; 64];
        loop {
            let length = match self.notify.recv(&mut message) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                heard => heard.unwrap(),
            };
            if message[..length] == *expected.as_bytes() {
                return;
            }
        }
    }

    fn history(&self) -> String {
        std::fs::read_to_string(self.world.folder("data").join("history")).unwrap()
    }
}

/// From a cold room to a warm one, with an update that comes in between.
fn held_to_it(topic: &str, app: impl Fn(&Room) -> Command) {
    let mut room = Room::new("18.00");
    // What is kept before is too much, in lines of twenty bytes.
    let old = "1600000000 19.00 on\n".repeat(64 * 1024 / 20 + 1);
    std::fs::write(room.world.folder("data").join("history"), &old).unwrap();
    let app = app(&room);
    room.run(app);
    room.published(topic, "{\"degrees\":18.00,\"heating\":true}");
    room.notified("STATUS=heating");
    room.notified("READY=1");
    room.notified("WATCHDOG=1");
    let history = room.history();
    assert!(history.len() < 40 * 1024 && history.ends_with(" 18.00 on\n"), "{}", history.len());
    assert!(history.lines().all(|line| line.split(' ').count() == 3), "a line was cut");

    // It is put off once, as often as it is said; and let go when it is warm.
    room.is_watched();
    room.world.system.tell(Happening::Pending, "1.1.0", Some(1));
    room.words(&["defer App 30"]);
    room.world.system.tell(Happening::Deferred, "1.1.0", Some(2));
    room.shows("20.50");
    room.published(topic, "{\"degrees\":20.50,\"heating\":true}");
    assert_eq!(room.world.system.words(), ["defer App 30"]);
    room.shows("21.50");
    room.words(&["defer App 30", "resume App"]);
    room.published(topic, "{\"degrees\":21.50,\"heating\":false}");
    room.notified("STATUS=warm enough");

    // Nothing that is started anew stops it: the servers, and what is pending then is put off again.
    room.world.restart_system().unwrap();
    room.is_watched();
    room.world.system.tell(Happening::Pending, "1.2.0", Some(3));
    room.shows("20.50");
    room.published(topic, "{\"degrees\":20.50,\"heating\":false}");
    room.shows("19.50");
    room.words(&["defer App 30", "resume App", "defer App 30"]);
    assert!(room.history().contains(" 21.50 off\n"));
}

#[test]
fn thermostat_in_c_is_held_to_it() {
    held_to_it("home/kitchen/c", |room| {
        let source = tree("sdk/examples/c/thermostat");
        // Both files as one, for the sanitizers.
        let whole = format!(
            "#include \"{0}/mqtt.c\"\n#include \"{0}/thermostat.c\"\n",
            source.canonicalize().unwrap().display()
        );
        std::fs::write(room.at("whole.c"), whole).unwrap();
        c::program(&room.at("whole.c"), &room.at("thermostat")).unwrap();
        let mut app = room.world.command(room.at("thermostat"));
        app.arg(room.broker.port.to_string());
        app
    });
}

#[test]
fn thermostat_in_python_is_held_to_it() {
    held_to_it("home/kitchen/python", |room| {
        let mut app = room.world.command("python3");
        app.arg("-B").arg(tree("sdk/examples/python/thermostat/thermostat.py"));
        app.arg(room.broker.port.to_string());
        app
    });
}

#[test]
fn thermostat_in_rust_is_held_to_it() {
    held_to_it("home/kitchen/rust", |room| {
        let mut app = room.world.command(rust());
        app.arg(format!("mqtt://127.0.0.1:{}", room.broker.port));
        app
    });
}

/// Built by whoever tests, with what it is built with.
fn rust() -> PathBuf {
    let mut cargo = packing::command::cargo();
    cargo.current_dir(tree(".")).args(["build", "--quiet", "-p", "gabion-thermostat"]);
    assert!(cargo.status().unwrap().success());
    // The test is in target/PROFILE/deps.
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).unwrap().join("debug/thermostat")
}
