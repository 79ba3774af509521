//! Whole devices, booted in QEMU. One runs at a time; a failed test leaves its console in `target/device-logs`.
#![expect(clippy::unwrap_used, reason = "tests")]

use device_test::{App, Bench, word};

/// Says that it lives, for ever.
const HEART: &str = "n=0; while true; do n=$((n+1)); echo beat $n; sleep 1; done";

#[test]
fn device_switched_off_by_its_button_is_clean_and_keeps_data_and_uids() {
    let keeper = "n=$(cat /data/count || echo 0); n=$((n+1)); echo $n > /data/count; sync; echo count $n; exec sleep 1000";
    let first = Bench::new("power")
        .app(App::shell("org.test.heart", HEART))
        .app(App::shell("org.test.keeper", keeper).resources("memory = \"4MiB\"\nstorage = \"1MiB\"\n"))
        .boot()
        .unwrap();
    first.wait_for("gabion: ready boxes=");
    first.wait_for("[org.test.keeper] count 1");
    first.wait_for("[org.test.heart] beat 2");
    let started = first.wait_for("event started id=org.test.keeper");
    let off = first.power_button();
    assert!(!off.console().lines(0, "gabion: power off").is_empty());
    off.check_data().unwrap();

    let second = off.boot().unwrap();
    second.wait_for("[org.test.keeper] count 2");
    let again = second.wait_for("event started id=org.test.keeper");
    assert_eq!(word(&started, "uid"), word(&again, "uid"));
    second.power_button().check_data().unwrap();
}
