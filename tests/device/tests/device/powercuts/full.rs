//! `make powercuts`: every flush of both kinds of update, with more halves of what was not flushed; some of the disks booted; and
//! the power of a device that recovers from a cut is cut again, several times in a row.

use super::cut::{APPS_BOOTED, Cut, IN_A_ROW, OF_A_BOOT, SYSTEM_BOOTED, boot, says};
use super::system::in_the_tables;
use super::{Effort, Fault, Systems, Tally};
use crate::heart;
use crate::slots::{PASS, PLACE, next_boot, say};
use crate::updates::{self, Updates};
use device_test::writes::{Event, after};
use device_test::{Bench, Device, Off};
use std::fs;

/// Lines in what the app has kept.
const KEPT: usize = 500;

/// What apps say when they run as in this state; in the last, how they go back from it.
fn lines_of(state: &str) -> Vec<String> {
    let (a, rest) = match state {
        "" => ("1.0.0", ["[org.test.b] b 1.0.0", "gabion: ready"]),
        "org.test.a 1.1.0" => ("1.1.0", ["[org.test.b] b 1.0.0", "gabion: ready"]),
        _ => ("1.2.0", ["updater: heard Settled(Some(", "[org.test.a] runs 1.1.0 10000"]),
    };
    [&[format!("[org.test.a] runs {a} 10000")][..], &rest.map(str::to_owned)].concat()
}

/// What runs on a device with apps: one of the states, as a whole.
fn runs(device: &mut Device, states: &[&str]) -> Result<String, Fault> {
    let first = device.console().wait(0, "[org.test.a] runs ", PASS);
    let first = first.map_err(|e| Fault::Brick(format!("the app does not run: {e:#}")))?;
    let mut states = states.iter().filter(|state| first.contains(&lines_of(state)[0]));
    let state = states.next().ok_or_else(|| Fault::Mixed(first.clone()))?;
    says(device, &lines_of(state))?;
    let kept = device.ask("cat /data/apps/org.test.a/kept").map_err(|e| Fault::Brick(e.to_string()))?;
    if kept.len() != KEPT {
        return Err(Fault::Brick(format!("of the app's data there are {} lines", kept.len())));
    }
    Ok((*state).to_owned())
}

#[test]
#[ignore = "takes long: `make powercuts`"]
fn apps_whose_update_is_cut_at_any_flush_run_in_one_version_and_after_cuts_in_a_row_too() {
    let mut device = updates::bench("powercuts-apps").boot().unwrap();
    let updates = Updates::done(&mut device);
    let mut off = device.cut_power();
    let data = off.data();
    let mut tally = Tally::default();
    for (before, events, states) in updates.parts() {
        let judge = |disk: &[u8]| updates.judge(disk, states);
        let parts = (&*before, events);
        let cut = Cut::judged(&mut tally, parts, Effort::at_most(usize::MAX), &|_| false, judge);
        for (number, has) in cut.sample(APPS_BOOTED) {
            let mut device = boot(off, &[(&data, &cut.disk(number))]);
            tally.booted(runs(&mut device, &[has]));
            off = device.cut_power();
        }
        // Whatever was on trial: each boot begins that again, and the third goes back.
        let mut disk = cut.with(states.last().copied(), 50);
        for _ in 0..IN_A_ROW {
            let mut device = boot(off, &[(&data, &disk)]);
            tally.booted(runs(&mut device, states));
            let written = device.writes().unwrap();
            off = device.cut_power();
            let cut = Cut::judged(&mut tally, (&disk, &written), OF_A_BOOT, &|_| false, judge);
            disk = cut.with(None, 50);
        }
    }
    print!("apps: ");
    tally.all_whole();
}

/// Has the other slot filled and armed; gives what was written since the device was switched on.
fn armed(device: &mut Device) -> Vec<Event> {
    device.agent(&format!("copy /dev/vdd {PLACE}/payload"));
    say(device, "install");
    device.wait_count(0, "event update-armed version=0.2.0", 1, PASS);
    device.writes().unwrap()
}

/// What a system says when it runs, with its app.
fn system_runs(device: &Device, version: &str) -> Result<String, Fault> {
    let system = format!("updater: heard System(*version: \"{version}\"");
    says(device, &[system, "[org.test.heart] beat 2".to_owned()]).map(|()| version.to_owned())
}

#[test]
#[ignore = "takes long: `make powercuts`"]
fn system_whose_update_is_cut_at_any_flush_starts_old_or_new_and_after_cuts_in_a_row_too() {
    let bench = Bench::new("powercuts-system").mostly_idle().app(heart()).resets().board().logged();
    let mut device = bench.updater("0.2.0", 0).boot().unwrap();
    next_boot(&device, 1);
    let systems = Systems::of(&device, "0.2.0");
    let judge = |disk: &[u8]| systems.judge(disk);
    let before = device.disk_before().unwrap();
    let events = armed(&mut device);
    let mut off = device.cut_power();
    let (data, system) = (off.data(), off.system());
    let data_before = fs::read(&data).unwrap();
    let on = |off: Off, disk: &[u8]| boot(off, &[(&data, &data_before), (&system, disk)]);
    let (effort, matters) = (Effort::at_most(usize::MAX), in_the_tables(&before));
    let mut tally = Tally::default();
    let cut = Cut::judged(&mut tally, (&before, &events), effort, &matters, judge);
    for (number, has) in cut.sample(SYSTEM_BOOTED) {
        let device = on(off, &cut.disk(number));
        tally.booted(system_runs(&device, has));
        off = device.cut_power();
    }

    // Cut shortly before the new one would have started, updated again from there, cut again.
    let mut disk = cut.with(Some("0.1.0"), 95);
    for _ in 0..IN_A_ROW {
        let mut device = on(off, &disk);
        tally.booted(system_runs(&device, "0.1.0"));
        let written = armed(&mut device);
        off = device.cut_power();
        let cut = Cut::judged(&mut tally, (&disk, &written), effort, &matters, judge);
        disk = cut.with(Some("0.1.0"), 95);
    }

    // Cut while the new one is on trial, and again: the boot loader counts attempts on the disk.
    disk = after(&before, &events);
    for _ in 0..IN_A_ROW {
        let has = judge(&disk);
        let device = on(off, &disk);
        tally.booted(has.and_then(|has| system_runs(&device, &has)));
        let written = device.writes().unwrap();
        off = device.cut_power();
        let cut = Cut::judged(&mut tally, (&disk, &written), effort, &matters, judge);
        disk = cut.with(None, 50);
    }
    print!("system: ");
    tally.all_whole();
}
