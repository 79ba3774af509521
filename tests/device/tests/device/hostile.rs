//! Apps that take all they can get, all at once; and two neighbours that must not notice.

use crate::heart;
use device_test::{App, Bench, Device, PATIENCE, word};
use std::time::Duration;

#[test]
fn apps_that_take_all_they_can_get_meet_their_limits_and_neighbours_go_on() {
    let scribe = "while true; do n=$((n+1)); echo $n > /data/n && echo wrote $n; sleep 1; done";
    let filler = "dd if=/dev/zero of=/data/big bs=64k count=1000; echo filled; sleep 1000";
    let storage = "memory = \"8MiB\"\nstorage = \"1MiB\"\n";
    let mut device = Bench::new("hostile")
        .app(heart())
        .app(App::shell("org.test.scribe", scribe).resources(storage))
        .app(App::shell("org.test.bomb", "while true; do sleep 1000 & done"))
        .app(App::probe("org.test.hog", &["hold", "64"]))
        .app(App::shell("org.test.flood", "exec yes flood"))
        .app(App::shell("org.test.filler", filler).resources(storage))
        .app(
            App::shell("org.test.inodes", "while true; do n=$((n+1)); : > /data/$n; done").resources(storage),
        )
        .boot()
        .unwrap();

    device.wait_for("[org.test.bomb!] * can't fork");
    device.wait_for("event exited id=org.test.hog * reason=oom detail=\"oom_kills=");
    device.wait_for("[org.test.filler!] dd: error writing '/data/big'");
    device.wait_for("[org.test.filler] filled");
    device.wait_for("gabion: log id=org.test.flood dropped=");
    device.wait_for("[org.test.inodes!] * can't create /data/*: Disk quota exceeded");
    let log = device.agent("size /data/logs/org.test.flood/current");
    assert!(log[0].parse::<u64>().unwrap() <= 1 << 20, "{log:?}");

    let tasks = device.agent("cat /sys/fs/cgroup/apps/org.test.bomb/pids.max");
    assert_eq!(tasks, ["8"]);
    let refused = device.agent("cat /sys/fs/cgroup/apps/org.test.bomb/pids.events");
    assert!(refused.iter().any(|line| line.starts_with("max ") && line != "max 0"), "{refused:?}");

    let mark = device.console().mark();
    device.wait_count(mark, "[org.test.heart] beat", 5, PATIENCE);
    device.wait_count(mark, "[org.test.scribe] wrote", 5, PATIENCE);
    for id in ["org.test.heart", "org.test.scribe"] {
        assert!(device.console().lines(0, &format!("event exited id={id}")).is_empty());
    }
    // The flood is held up, not killed.
    let flood = device.wait_for("event started id=org.test.flood");
    assert_eq!(word(&flood, "starts"), Some("1"));
    assert!(device.console().lines(0, "event exited id=org.test.flood").is_empty());
    device.power_button().check_data().unwrap();
}

/// The kernel's count of bytes that went out of the first serial port.
fn sent(device: &mut Device) -> String {
    let lines = device.agent("cat /proc/tty/driver/serial");
    let console = lines.iter().find(|line| line.starts_with("0:"));
    console.and_then(|line| line.split(' ').find(|word| word.starts_with("tx:"))).unwrap().to_owned()
}

/// Waits until the app's exit records are so many.
fn wait_exits(device: &mut Device, id: &str, count: usize) {
    for _ in 0..1800 {
        if device.ask(&format!("cat /data/logs/{id}/exits")).is_ok_and(|lines| lines.len() == count) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{id} has not {count} exits on record");
}

/// Waits until the app's program runs.
fn started_again(device: &mut Device, uid: u32) -> u32 {
    for _ in 0..1800 {
        if let [pid] = device.pids(uid, "sleep")[..] {
            return pid;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the app is not started again");
}

#[test]
fn console_that_nobody_reads_stops_nobody() {
    let text = "x".repeat(900);
    let mut bench = Bench::new("console-held").app(heart()).app(App::shell("org.test.idle", "sleep 1000"));
    for n in 1..=8 {
        bench = bench.app(App::shell(&format!("org.test.flood{n}"), &format!("exec yes {n}{text}")));
    }
    let mut device = bench.boot().unwrap();
    device.wait_for("gabion: ready");
    device.console().hold(true);
    let mut before = sent(&mut device);
    loop {
        std::thread::sleep(Duration::from_secs(2));
        match sent(&mut device) {
            now if now == before => break,
            now => before = now,
        }
    }
    // Both sandboxd and PID 1 have something to say now, and nobody takes it.
    let pid = device.pid("org.test.idle");
    device.agent(&format!("kill {pid} SIGKILL"));
    wait_exits(&mut device, "org.test.idle", 1);
    let manager = device.pids(0, "sandboxd")[0];
    device.agent(&format!("kill {manager} SIGKILL"));
    let uid = device.agent("cat /data/gabion/identity");
    let uid = uid.iter().find_map(|line| line.strip_suffix(" org.test.idle")).unwrap().parse().unwrap();
    let pid = started_again(&mut device, uid);
    device.agent(&format!("kill {pid} SIGKILL"));
    wait_exits(&mut device, "org.test.idle", 2);

    // The log has what the console has not.
    let beats = |lines: Vec<String>| lines.iter().filter(|line| line.contains(" out beat ")).count();
    let kept = beats(device.agent("cat /data/logs/org.test.heart/current"));
    let mark = device.console().mark();
    device.console().hold(false);
    device.wait_after(mark, "gabion: log id=org.test.flood* not_shown=");
    device.wait_after(mark, "[org.test.heart] beat ");
    assert!(kept > 0 && beats(device.agent("cat /data/logs/org.test.heart/current")) >= kept);
    assert!(device.console().lines(0, "event exited id=org.test.heart").is_empty());
    device.power_button().check_data().unwrap();
}

#[test]
fn network_of_an_app_is_what_its_manifest_lists() {
    let may = |way: &str, place: &str| format!("[network]\n{way} = [\"{place}/tcp\"]\n");
    let call = ["call", "127.0.0.1:8080"];
    let device = Bench::new("network")
        .app(App::probe("org.test.server", &["serve", "127.0.0.1:8080"]).tables(&may("listen", "8080")))
        .app(App::probe("org.test.friend", &call).tables(&may("connect", "localhost:8080")))
        .app(App::probe("org.test.stranger", &call).tables(&may("connect", "localhost:9090")))
        .app(App::probe("org.test.hermit", &call))
        .app(
            App::probe("org.test.squatter", &["serve", "127.0.0.1:8081"])
                .tables(&may("listen", "8082"))
                .lifecycle("restart = \"never\"\n"),
        )
        .boot()
        .unwrap();
    device.wait_for("[org.test.friend] call: Ok(5) hello");
    let mark = device.console().mark();
    for id in ["org.test.stranger", "org.test.hermit"] {
        device.wait_count(mark, &format!("[{id}] call: Err(PermissionDenied)"), 2, PATIENCE);
        assert!(device.console().lines(0, &format!("[{id}] call: Ok")).is_empty());
    }
    device.wait_for("[org.test.squatter] serve: Err(*PermissionDenied");
}
