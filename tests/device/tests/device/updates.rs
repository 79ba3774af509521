//! Apps that are updated, as the stand-in for the update daemon asks: all new or all old, whatever happens.

use device_test::{App, Bench, Device};

const PLACE: &str = "/data/apps/os.gabion.update";
/// It says what the one before has written.
const SCRIPT: &str = "cat /data/mark; echo VERSION > /data/mark; sync; \
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

#[test]
fn app_updated_keeps_its_data_survives_boots_and_goes_back_when_it_crashes() {
    let bench = Bench::new("updates")
        .stand_in()
        .app(app("org.test.a", "1.0.0", "org.test.a", SCRIPT))
        .app(app("org.test.b", "1.0.0", "org.test.b", "echo b 1.0.0; exec sleep 1000"))
        // Not apps of this store: what is installed from.
        .app(app("org.test.a", "1.1.0", "org.test.next", SCRIPT))
        .app(app("org.test.a", "1.2.0", "org.test.last", SCRIPT))
        .app(app("org.test.b", "1.1.0", "org.test.crashes", "echo b 1.1.0; sleep 1; exit 7"))
        .app(app("org.test.c", "1.0.0", "org.test.new", "echo c 1.0.0; exec sleep 1000"));
    let mut device = bench.boot().unwrap();
    device.wait_for("[org.test.a] runs 1.0.0 10000");
    device.wait_for("gabion: ready");
    for name in ["next", "last", "crashes", "new"] {
        fetch(&mut device, name);
    }
    say(&mut device, "apps:2:org.test.a@1.1.0@next");
    device.wait_for("[org.test.a] 1.0.0");
    device.wait_for("[org.test.a] runs 1.1.0 10000");
    device.wait_for("updater: heard Settled(None)");
    assert_eq!(device.agent("ls /data/gabion/packages/incoming"), [""; 0]);
    // What came with an app that crashes goes back with it: one that was the image's own, and one that was not there.
    let mark = device.console().mark();
    say(&mut device, "apps:600:org.test.a@1.2.0@last:org.test.b@1.1.0@crashes:org.test.c@1.0.0@new");
    device.wait_after(mark, "[org.test.c] c 1.0.0");
    device.wait_after(mark, "updater: heard Settled(Some(\"org.test.b: it ended: exit 7\"))");
    device.wait_after(mark, "[org.test.a] runs 1.1.0 10000");
    device.wait_after(mark, "[org.test.b] b 1.0.0");
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
