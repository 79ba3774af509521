//! A device's system disk while something is in charge of it that believes nothing: what stands in for the update daemon
//! writes the other slot, and sandboxd decides what comes of it. Each write is recorded, and each cut of the power between them
//! is looked at: what would start then is one whole system, the old one or the new.

use crate::heart;
use crate::powercuts::system::in_the_tables;
use crate::powercuts::{Effort, Systems, Tally};
use device_test::chain::KERNEL;
use device_test::writes::{Event, after};
use device_test::{Bench, Device, PATIENCE};
use std::time::Duration;

/// Longest wait for the firmware to come so far again.
pub(crate) const PASS: Duration = Duration::from_secs(3 * PATIENCE.as_secs());
pub(crate) const PLACE: &str = "/data/apps/os.gabion.update";

/// Has the stand-in do something.
pub(crate) fn say(device: &mut Device, word: &str) {
    device.agent(&format!("write {PLACE}/word {word}"));
}

/// Waits until the device has started again, for the so-manyth time, and gives what the stand-in hears of the system.
pub(crate) fn next_boot(device: &Device, boots: usize) -> String {
    device.wait_count(0, KERNEL, boots, PASS);
    device.wait_count(0, "updater: heard System(", boots, PASS)
}

#[test]
fn slot_is_armed_only_when_it_reads_back_and_a_system_that_fails_goes_back_with_its_reason() {
    let bench = Bench::new("slots").mostly_idle().app(heart()).resets().board().logged().updater("0.2.0", 0);
    let mut device = bench.boot().unwrap();
    let systems = Systems::of(&device, "0.2.0");
    let said = next_boot(&device, 1);
    assert!(said.contains("version: \"0.1.0\"") && said.contains("trial: false"), "{said}");
    device.agent(&format!("copy /dev/vdd {PLACE}/payload"));

    say(&mut device, "reboot");
    device.wait_for("updater: heard Refused(\"the next boot would start what runs now\")");
    say(&mut device, "spoil");
    device.wait_for("updater: writing what runs: true");
    device.wait_for("updater: heard Refused(\"can not read the slot back: ");
    say(&mut device, "install");
    device.wait_for("event update-armed version=0.2.0");
    let before = device.disk_before().unwrap();
    let armed = device.writes().unwrap();
    let started = cut_anywhere(&before, &armed, &systems);
    assert!(started.left("0.1.0") > 20 && started.left("0.2.0") > 0, "{started}");
    let careless: Vec<Event> = armed.into_iter().filter(|event| !matches!(event, Event::Flush)).collect();
    let mut broken = Tally::default();
    let effort = Effort { rounds: 1, most: usize::MAX };
    broken.judge((&before, &careless), effort, in_the_tables(&before), |disk| systems.judge(disk));
    assert!(broken.has_faults(), "the same writes without a flush are found out");
    say(&mut device, "reboot");

    let said = next_boot(&device, 2);
    assert!(said.contains("version: \"0.2.0\"") && said.contains("trial: true"), "{said}");
    say(&mut device, "fail");
    let said = next_boot(&device, 3);
    assert!(said.contains("version: \"0.1.0\"") && said.contains("trial: false"), "{said}");
    assert!(said.contains("failed: Some((\"0.2.0\", \"the test says so\"))"), "{said}");

    say(&mut device, "install");
    device.wait_count(0, "event update-armed version=0.2.0", 2, PASS);
    say(&mut device, "reboot");
    let said = next_boot(&device, 4);
    assert!(said.contains("version: \"0.2.0\"") && said.contains("failed: None"), "{said}");
    let tried = device.writes().unwrap();
    say(&mut device, "bless");
    device.wait_for("event update-good version=0.2.0");
    let good = device.writes().unwrap();
    let started = cut_anywhere(&after(&before, &tried), &good[tried.len()..], &systems);
    assert!(started.left("0.1.0") == 0 && started.left("0.2.0") > 5, "{started}");
    let off = device.power_button();
    assert_eq!(off.kernels().unwrap(), ["gabion_0.1.0.efi", "gabion_0.2.0.efi"]);
}

/// The disks are in another order, the partitions have other numbers and types that say nothing: without the file nobody finds them.
#[test]
fn board_that_is_laid_out_as_its_file_says_starts_and_is_renewed() {
    let bench = Bench::new("layout").mostly_idle().app(heart()).resets().layout("mixed.layout");
    let bench = bench.tampered(|board| board.untyped(&[3, 7, 5, 6, 12])).updater("0.2.0", 0);
    let mut device = bench.boot().unwrap();
    let said = next_boot(&device, 1);
    assert!(said.contains("version: \"0.1.0\"") && said.contains("trial: false"), "{said}");
    device.agent(&format!("copy /dev/vdd {PLACE}/payload"));
    say(&mut device, "install");
    device.wait_for("event update-armed version=0.2.0");
    say(&mut device, "reboot");
    let said = next_boot(&device, 2);
    assert!(said.contains("version: \"0.2.0\"") && said.contains("trial: true"), "{said}");
    say(&mut device, "bless");
    device.wait_for("event update-good version=0.2.0");
    assert_eq!(device.power_button().kernels().unwrap(), ["gabion_0.1.0.efi", "gabion_0.2.0.efi"]);
}

/// What the cuts leave.
fn cut_anywhere(before: &[u8], events: &[Event], systems: &Systems) -> Tally {
    let mut tally = Tally::default();
    let effort = Effort { rounds: 3, most: usize::MAX };
    tally.judge((before, events), effort, in_the_tables(before), |disk| systems.judge(disk));
    tally.all_whole();
    tally
}
