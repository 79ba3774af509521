//! Apps that come as images which were not made for good; apps that are removed, and others that come after them.

use crate::heart;
use device_test::{App, Bench, Device};
use std::collections::BTreeSet;
use std::process::Output;

/// As many as a store may have, but for the two neighbours.
const MUTANTS: u64 = 190;

#[test]
fn store_of_damaged_images_boots_and_neighbours_run() {
    // To try others: GABION_MUTANTS=FIRST.
    let first = std::env::var("GABION_MUTANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let mut bench = Bench::new("mutants").app(heart()).app(App::small("org.test.whole").image());
    let ids: Vec<String> = (first..first + MUTANTS).map(|n| format!("org.test.m{n}")).collect();
    for (id, number) in ids.iter().zip(first..) {
        bench = bench.app(App::small(id).lifecycle("restart = \"never\"\n").mutant(number));
    }
    let device = bench.boot().unwrap();
    // One after the other, as they are read: all of them may take longer than one may.
    for id in ids.iter().collect::<BTreeSet<_>>() {
        device.wait_for(&format!("id={id} "));
    }
    device.wait_for("[org.test.whole] I run");
    device.wait_for("gabion: ready");
    let mark = device.console().mark();
    device.wait_after(mark, "[org.test.heart] beat");
    let lines = |pattern: &str| device.console().lines(0, pattern);
    let refused = ids.iter().filter(|id| !lines(&format!("gabion: problem id={id} ")).is_empty()).count();
    let ran = ids.iter().filter(|id| !lines(&format!("event started id={id} ")).is_empty()).count();
    println!("of {MUTANTS} from {first}: {refused} refused, {ran} ran");
    assert!(refused > ids.len() / 2 && refused + ran >= ids.len(), "{refused} refused, {ran} ran");
    // What the kernel says when its file-system code met something that it does not like, or worse.
    for bad in ["erofs (device", "Oops", "BUG", "WARNING:", "general protection", "worker failed over"] {
        assert_eq!(lines(bad), [""; 0], "{bad}");
    }
    device.power_button().check_data().unwrap();
}

const STORAGE: &str = "memory = \"8MiB\"\nstorage = \"4MiB\"\n";

/// It leaves files, directories in directories, and a link to the other's data; and says what it found.
const LEAVES: &str = "/bin/busybox ln -s ../org.test.b /data/up; i=0; d=/data; while [ $i -lt 40 ]; do i=$((i+1)); d=$d/d; \
    /bin/busybox mkdir -p $d; echo secret > $d/f; done; sync; echo left $(id -u); exec sleep 1000";

/// It says who it is, what it finds, and how much it may store.
const COMES: &str = "echo kept > /data/kept; echo uid $(id -u) finds $(ls -A /data); sync; exec sleep 1000";

fn wipe(device: &Device, id: &str) -> Output {
    let parameters = format!("{{\"app\": \"{id}\"}}");
    device.gabion(&["bus", "call", "os.gabion.Apps.Wipe", &parameters]).unwrap().output().unwrap()
}

#[test]
fn app_that_is_removed_leaves_nothing_to_the_next_and_is_wiped() {
    let a = || App::shell("org.test.a", LEAVES).resources(STORAGE);
    let b = || App::shell("org.test.b", COMES).resources(STORAGE);
    let device = Bench::new("wipe").developer().app(a()).boot().unwrap();
    device.wait_for("[org.test.a] left 10000");
    let off = device.power_button();
    // A is gone, B comes: another uid, and nothing there.
    let mut device = off.store(vec![b()]).unwrap().boot().unwrap();
    device.wait_for("gabion: event left id=org.test.a uid=10000");
    device.wait_for("[org.test.b] uid 10001 finds kept");
    device.wait_for("gabion: ready");
    let other = wipe(&device, "org.test.never");
    assert!(String::from_utf8_lossy(&other.stderr).contains("AppNotFound"), "{other:?}");
    let done = wipe(&device, "org.test.a");
    assert!(done.status.success(), "{done:?}");
    device.wait_for("gabion: event wiped id=org.test.a uid=10000");
    assert!(!device.agent("ls /data/apps").contains(&"org.test.a".to_owned()));
    assert!(!device.agent("ls /data/logs").contains(&"org.test.a".to_owned()));
    while !device.agent("ls /data/wiped").is_empty() {}
    // B is there and runs: it is ended, emptied, and begins anew under its uid.
    let mark = device.console().mark();
    let done = wipe(&device, "org.test.b");
    assert!(done.status.success(), "{done:?}");
    device.wait_after(mark, "gabion: event wiped id=org.test.b uid=10001");
    assert!(device.agent("ls /data/apps/org.test.b").is_empty());
    let start = ["bus", "call", "os.gabion.Apps.Start", "{\"app\": \"org.test.b\"}"];
    assert!(device.gabion(&start).unwrap().status().unwrap().success());
    device.wait_after(mark, "[org.test.b] uid 10001 finds kept");
    let off = device.power_button();
    off.check_data().unwrap();
    // A comes back: its uid is its own for ever, its data is gone.
    let device = off.store(vec![a(), b()]).unwrap().boot().unwrap();
    device.wait_for("[org.test.a] left 10000");
    assert!(device.console().lines(0, "gabion: event left").is_empty());
    device.power_button().check_data().unwrap();
}
