//! The same of what a USB disk brings, by the device's own update daemon: what it keeps is on the disk with the data, and it
//! writes the other slot. A device that was cut goes on with the disk until it is renewed. One disk at a time is as a cut left it; the
//! disk with the data is that of after the system was armed, or a blank one.

use super::cut::{APPS_BOOTED, Cut, IN_A_ROW, OF_A_BOOT, SYSTEM_BOOTED, boot, says};
use super::system::in_the_tables;
use super::{Effort, Fault, Systems, Tally};
use crate::heart;
use crate::offline::{STATES, Stick};
use crate::slots::PASS;
use device_test::bench::DATA_BYTES;
use device_test::carried::Carried;
use device_test::chain::KERNEL;
use device_test::writes::after;
use device_test::{Bench, Device, Off};
use std::fs;
use std::path::Path;

const SETTINGS: &str = "product = \"meter\"\ncatalog = \"acme\"\ndisks = true\n";
/// Devices with the old system that are followed until they run the new one: two passes of the firmware each.
const RENEWED: usize = 4;

/// A device runs what was found on its disk, if that is known, and comes to run the new version with the disk in it.
fn goes_on(device: &Device, has: Option<&str>, disk: &Path) -> Result<String, Fault> {
    if let Some(has) = has {
        let version = if has.is_empty() { "1.0.0" } else { "1.1.0" };
        says(device, &[format!("[org.test.work] work {version} with from ")])?;
    }
    device.put_in(disk).map_err(|e| Fault::Brick(e.to_string()))?;
    says(device, &["[org.test.work] work 1.1.0 with from ".to_owned()]).map(|()| STATES[1].to_owned())
}

#[test]
#[ignore = "takes long: `make powercuts`"]
fn app_that_a_disk_brings_is_updated_wherever_and_however_often_the_power_goes() {
    let stick = Stick::made();
    let device = stick.device("powercuts-stick").boot().unwrap();
    let (events, first) = stick.brought(&device);
    let mut off = device.cut_power();
    let data = off.data();
    let packages = stick.packages();
    let judge = |disk: &[u8]| packages.judge(disk, &STATES);
    let before = after(&vec![0; DATA_BYTES as usize], &events[..first]);
    let mut tally = Tally::default();
    let all = Effort::at_most(usize::MAX);
    let cut = Cut::judged(&mut tally, (&before, &events[first..]), all, &|_| false, judge);
    for (number, has) in cut.sample(APPS_BOOTED) {
        let device = boot(off, &[(&data, &cut.disk(number))]);
        tally.booted(goes_on(&device, Some(has), &stick.disk));
        off = device.cut_power();
    }
    let mut disk = cut.with(Some(STATES[0]), 90);
    for _ in 0..IN_A_ROW {
        let device = boot(off, &[(&data, &disk)]);
        tally.booted(goes_on(&device, None, &stick.disk));
        let written = device.writes().unwrap();
        off = device.cut_power();
        let cut = Cut::judged(&mut tally, (&disk, &written), OF_A_BOOT, &|_| false, judge);
        disk = cut.with(None, 50);
    }
    print!("app of a disk: ");
    tally.all_whole();
}

/// Which system runs, with its app.
fn runs(device: &mut Device) -> Result<String, Fault> {
    says(device, &["[org.test.heart] beat 2".to_owned()])?;
    let about = device.ask("cat /usr/lib/os-release").map_err(|e| Fault::Brick(e.to_string()))?;
    let version = about.iter().find_map(|line| line.strip_prefix("IMAGE_VERSION="));
    Ok(version.unwrap_or_default().trim_matches('"').to_owned())
}

/// It runs what was found on the disk that it was booted from.
fn runs_this(device: &mut Device, version: &str) -> Result<String, Fault> {
    let runs = runs(device)?;
    if runs == version { Ok(runs) } else { Err(Fault::Mixed(format!("{runs} runs, and not {version}"))) }
}

/// With the disk in it, a device that runs the old system comes to run the new one.
fn is_renewed(device: &mut Device, disk: &Path) -> Result<String, Fault> {
    let brick = |e: anyhow::Error| Fault::Brick(format!("it is not renewed: {e:#}"));
    device.put_in(disk).map_err(brick)?;
    device.console().wait_count(0, KERNEL, 2, PASS).map_err(brick)?;
    let mark = device.console().mark();
    device.console().wait(mark, "[org.test.heart] beat 2", PASS).map_err(brick)?;
    runs_this(device, "0.2.0")
}

#[test]
#[ignore = "takes long: `make powercuts`"]
fn system_that_a_disk_brings_is_renewed_wherever_and_however_often_the_power_goes() {
    let carried = Carried::begin().unwrap();
    let bench = Bench::new("powercuts-stick-system").mostly_idle().app(heart()).resets().board().logged();
    let bench = bench.usb().memory_mib(192).updates(SETTINGS, &carried.root().unwrap());
    let device = bench.boot().unwrap();
    for (bootable, system) in [device.release().unwrap(), device.next_release("0.2.0", 0).unwrap()] {
        carried.system(&bootable, &system, 0).unwrap();
    }
    let stick = carried.disk(&["os/meter/0.2.0.json"]).unwrap();
    let systems = Systems::of(&device, "0.2.0");
    let judge = |disk: &[u8]| systems.judge(disk);
    let before = device.disk_before().unwrap();
    let armed = |device: &Device| {
        device.wait_count(0, "[org.test.heart] beat 2", 1, PASS);
        device.put_in(&stick).unwrap();
        device.wait_count(0, "event update-armed version=0.2.0", 1, PASS);
        device.writes().unwrap()
    };
    let events = armed(&device);
    let mut off = device.cut_power();
    let (data, system) = (off.data(), off.system());
    let kept = fs::read(&data).unwrap();
    let on = |off: Off, disk: &[u8]| boot(off, &[(&data, &kept), (&system, disk)]);
    // A device without anything that was kept.
    let blank = vec![0; kept.len()];
    let (effort, matters) = (Effort::at_most(usize::MAX), in_the_tables(&before));
    let mut tally = Tally::default();
    let cut = Cut::judged(&mut tally, (&before, &events), effort, &matters, judge);
    let (sample, mut followed) = (cut.sample(SYSTEM_BOOTED), 0);
    for (number, has) in sample {
        // What was kept says more than this disk has, or nothing: the device finds out, and goes on.
        let kept = if followed % 2 == 0 { &kept } else { &blank };
        let mut device = boot(off, &[(&data, kept), (&system, &cut.disk(number))]);
        tally.booted(runs_this(&mut device, has));
        if has == "0.1.0" && followed < RENEWED {
            followed += 1;
            tally.booted(is_renewed(&mut device, &stick));
        }
        off = device.cut_power();
    }
    assert_eq!(followed, RENEWED);
    let mut disk = cut.with(Some("0.1.0"), 95);
    for _ in 0..IN_A_ROW {
        let mut device = on(off, &disk);
        tally.booted(runs_this(&mut device, "0.1.0"));
        let written = armed(&device);
        off = device.cut_power();
        let cut = Cut::judged(&mut tally, (&disk, &written), effort, &matters, judge);
        disk = cut.with(Some("0.1.0"), 95);
    }
    print!("system of a disk: ");
    tally.all_whole();
}
