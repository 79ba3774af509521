//! Apps that are updated, as the stand-in for the update daemon asks: all new or all old, whatever happens.

use crate::powercuts::{Fault, Packages};
use device_test::bench::DATA_BYTES;
use device_test::writes::{Event, after};
use device_test::{App, Bench, Device};

const PLACE: &str = "/data/apps/os.gabion.update";
const A: &str = "org.test.a";
/// How many disks that a cut may leave are looked at, of each update.
const CUTS: usize = 16;
/// It says what the one before has written, and keeps what the first of all has.
const SCRIPT: &str = "[ -e /data/kept ] || seq 500 > /data/kept; cat /data/mark; echo VERSION > /data/mark; sync; \
    trap 'exit 0' TERM; echo runs VERSION $(id -u); sleep 1000 & wait";

/// The app `id` in this version, as an image in the store's directory `directory`: as the app itself, or to be installed.
fn app(id: &str, version: &str, directory: &str, script: &str) -> App {
    let manifest = format!(
        "[app]\nid = \"{id}\"\nversion = \"{version}\"\nexec = [\"/bin/sh\", \"/bin/run\"]\n\
         [resources]\nmemory = \"16MiB\"\ncpu = \"100%\"\ntasks = 8\nstorage = \"4MiB\"\n[lifecycle]\nrestart = \"always\"\n"
    );
    App::shell(id, &script.replace("VERSION", version)).manifest(&manifest).directory(directory).image()
}

/// Gives the stand-in what is in the store's directory `org.test.NAME`.
fn fetch(device: &mut Device, name: &str) {
    for (file, kind) in [("root.img", "img"), ("root.verity", "verity"), ("manifest.toml", "toml")] {
        device.agent(&format!("copy /apps/org.test.{name}/{file} {PLACE}/{name}.{kind}"));
    }
}

fn say(device: &mut Device, word: &str) {
    device.agent(&format!("write {PLACE}/word {word}"));
}

/// Versions of apps of which a package counts: at first, after an update that is good, and during one that is not.
const STATES: [&str; 3] = ["", "org.test.a 1.1.0", "org.test.a 1.2.0, org.test.b 1.1.0, org.test.c 1.0.0"];

/// Two apps, what they are updated to, and one that is new.
pub(crate) fn bench(name: &str) -> Bench {
    let b = |version| format!("echo b {version}; exec sleep 1000");
    Bench::new(name)
        .stand_in()
        .data_logged()
        .app(app(A, "1.0.0", A, SCRIPT))
        .app(app("org.test.b", "1.0.0", "org.test.b", &b("1.0.0")))
        // Not apps of this store: what is installed from.
        .app(app(A, "1.1.0", "org.test.next", SCRIPT))
        .app(app(A, "1.2.0", "org.test.last", SCRIPT))
        .app(app("org.test.b", "1.1.0", "org.test.crashes", "echo b 1.1.0; sleep 1; exit 7"))
        .app(app("org.test.c", "1.0.0", "org.test.new", "echo c 1.0.0; exec sleep 1000"))
}

/// Two updates, the second of which goes back, with each write of theirs to the disk with the data.
pub(crate) struct Updates {
    events: Vec<Event>,
    /// How many of them were before the first, and before the second.
    begun: [usize; 2],
    packages: Packages,
}

impl Updates {
    /// Has them done.
    #[track_caller]
    pub(crate) fn done(device: &mut Device) -> Self {
        device.wait_for("[org.test.a] runs 1.0.0 10000");
        device.wait_for("gabion: ready");
        for name in ["next", "last", "crashes", "new"] {
            fetch(device, name);
        }
        let first = device.writes().unwrap().len();
        say(device, "apps:2:org.test.a@1.1.0@next");
        device.wait_for("[org.test.a] 1.0.0");
        device.wait_for("[org.test.a] runs 1.1.0 10000");
        device.wait_for("updater: heard Settled(None)");
        assert_eq!(device.agent("ls /data/gabion/packages/incoming"), [""; 0]);
        let second = device.writes().unwrap().len();
        // What came with an app that crashes goes back with it: one that was the image's own, and one that was not there.
        let mark = device.console().mark();
        say(device, "apps:600:org.test.a@1.2.0@last:org.test.b@1.1.0@crashes:org.test.c@1.0.0@new");
        device.wait_after(mark, "[org.test.c] c 1.0.0");
        device.wait_after(mark, "updater: heard Settled(Some(\"org.test.b: it ended: exit 7\"))");
        device.wait_after(mark, "[org.test.a] runs 1.1.0 10000");
        device.wait_after(mark, "[org.test.b] b 1.0.0");
        let packed = [
            (A, "1.1.0", "org.test.next"),
            (A, "1.2.0", "org.test.last"),
            ("org.test.b", "1.1.0", "org.test.crashes"),
            ("org.test.c", "1.0.0", "org.test.new"),
        ];
        let kept = (1..=500).map(|line| format!("{line}\n")).collect();
        let packed = packed.map(|(id, version, directory)| (id, version, device.packed(directory)));
        let packages = Packages::of(packed, ("/apps/org.test.a/kept", kept));
        Self { events: device.writes().unwrap(), begun: [first, second], packages }
    }

    /// The disk before an update, what was written in it, and what may count at any time of it.
    pub(crate) fn parts(&self) -> [(Vec<u8>, &[Event], &[&'static str]); 2] {
        let blank = vec![0; DATA_BYTES as usize];
        let [first, second] = self.begun;
        [
            (after(&blank, &self.events[..first]), &self.events[first..second], &STATES[..2]),
            (after(&blank, &self.events[..second]), &self.events[second..], &STATES[1..]),
        ]
    }

    /// Which packages count on a disk.
    pub(crate) fn judge(&self, disk: &[u8], allowed: &[&str]) -> Result<String, Fault> {
        self.packages.judge(disk, allowed)
    }
}

#[test]
fn app_updated_keeps_its_data_survives_boots_and_goes_back_when_it_crashes() {
    let mut device = bench("updates").boot().unwrap();
    let updates = Updates::done(&mut device);
    let tally = updates.packages.cut_anywhere(&updates.parts(), CUTS);
    // How long the second update counts is a matter of the machine's pace; of so few disks it may be on none.
    assert!(STATES[..2].iter().all(|state| tally.left(state) > 0), "{tally}");
    let mark = device.console().mark();
    let mut left = device.agent("ls /data/gabion/packages");
    left.sort();
    assert_eq!(left, ["incoming", "org.test.a", "uploads"]);
    // Below what is installed; and an image that is not what its hash says, of which no more than that is believed.
    say(&mut device, "apps:600:org.test.a@1.0.9@next");
    device.wait_after(mark, "updater: heard Refused(\"org.test.a: its version 1.0.9 is below 1.1.0");
    device.agent(&format!("copy /apps/org.test.next/root.img {PLACE}/last.img"));
    say(&mut device, "apps:600:org.test.a@1.2.0@last");
    device.wait_after(mark, "updater: heard Refused(\"org.test.a: its image is damaged");
    fetch(&mut device, "last");
    // The owner changes his mind while it is on trial, and too late.
    let mark = device.console().mark();
    say(&mut device, "apps:600:org.test.a@1.2.0@last");
    device.wait_after(mark, "[org.test.a] runs 1.2.0 10000");
    say(&mut device, "back:org.test.a");
    device.wait_after(mark, "updater: heard Settled(Some(\"org.test.a: it was told to go back\"))");
    device.wait_after(mark, "[org.test.a] runs 1.1.0 10000");
    say(&mut device, "back:org.test.a");
    device.wait_after(mark, "updater: heard Refused(\"it is not on trial");
    // On trial when the power goes: again on trial at the next boot.
    let mark = device.console().mark();
    say(&mut device, "apps:600:org.test.a@1.2.0@last");
    device.wait_after(mark, "[org.test.a] runs 1.2.0 10000");
    let mut device = device.cut_power().boot().unwrap();
    device.wait_for("gabion: event trial-again tries=2");
    device.wait_for("[org.test.a] runs 1.2.0 10000");
    device.wait_for("gabion: ready");
    say(&mut device, "apps:2:org.test.c@1.0.0@new");
    device.wait_for("updater: heard Refused(\"another installation is under way or on trial\")");
    device.power_button().check_data().unwrap();
}
