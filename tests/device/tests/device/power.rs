//! Switching off and on: data, uids and file systems survive.

use crate::heart;
use device_test::{App, Bench, word};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

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

#[test]
fn device_without_power_all_at_once_comes_back_with_what_was_synced() {
    let keeper = "n=$(cat /data/count || echo 0); n=$((n+1)); echo $n > /data/count; sync -d /data/count; echo count $n; exec sleep 1000";
    let keeper = App::shell("org.test.keeper", keeper).resources("memory = \"4MiB\"\nstorage = \"1MiB\"\n");
    let mut device = Bench::new("power-cut").app(keeper).boot().unwrap();
    for count in 1..=4 {
        device.wait_for(&format!("[org.test.keeper] count {count}"));
        let off = device.cut_power();
        if count == 2 {
            tear_superblock(&off.data());
        }
        device = off.boot().unwrap();
    }
    device.wait_for("[org.test.keeper] count 5");
    device.power_button().check_data().unwrap();
}

/// As a cut leaves it between the superblock's two sectors: the count of mounts, in the first, is new, and the checksum, in the
/// second, is not. `dumpe2fs` refuses it, as the kernel does.
fn tear_superblock(data: &Path) {
    let disk = OpenOptions::new().write(true).open(data).unwrap();
    disk.write_all_at(&[77, 0], 1024 + 0x34).unwrap();
    assert!(!Command::new("/usr/sbin/dumpe2fs").arg("-h").arg(data).output().unwrap().status.success());
}

/// Frozen by its cgroup, PID 1 feeds the hardware watchdog no more.
#[test]
fn init_standing_still_is_ended_by_the_hardware_watchdog() {
    let mut device = Bench::new("hardware-watchdog").app(heart()).boot().unwrap();
    device.wait_for("gabion: ready");
    device.agent("mkdir /sys/fs/cgroup/still");
    device.agent("write /sys/fs/cgroup/still/cgroup.procs 1");
    device.agent("write /sys/fs/cgroup/still/cgroup.freeze 1");
    // QEMU ends instead of resetting.
    let off = device.ended();
    assert!(off.console().lines(0, "gabion: shutting down").is_empty());
}
