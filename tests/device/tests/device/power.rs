//! Switching off and on: data, uids and file systems survive.

use crate::heart;
use device_test::{App, Bench, word};

#[test]
fn device_switched_off_by_its_button_is_clean_and_keeps_data_and_uids() {
    let keeper = "n=$(cat /data/count || echo 0); n=$((n+1)); echo $n > /data/count; sync; echo count $n; exec sleep 1000";
    let first = Bench::new("power")
        .app(heart())
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
