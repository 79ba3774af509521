//! A device that has no network and belongs to no service: its updates come on a disk, or from a developer.

use crate::powercuts::Packages;
use crate::tool::{done, refused};
use device_test::bench::DATA_BYTES;
use device_test::carried::Carried;
use device_test::writes::{Event, after};
use device_test::{App, Bench, Device};
use std::path::{Path, PathBuf};

const SETTINGS: &str = "product = \"meter\"\ncatalog = \"acme\"\ntrial_s = 5\n";
const ID: &str = "org.test.work";
const RELEASE: &str = "apps/acme/org.test.work/1.1.0.json";
/// How many disks that a cut may leave are looked at.
const CUTS: usize = 16;
/// Says its version and what it has kept, and goes on.
const WORK: &str = "
[ -e /data/first ] || { echo $1 > /data/first; sync; }
echo \"work $1 with $(cat /data/kept 2>/dev/null)\"
echo \"from $1\" > /data/kept
while true; do sleep 1; done
";
/// What is installed, before and behind.
pub(crate) const STATES: [&str; 2] = ["", "org.test.work 1.1.0"];

fn work(version: &'static str) -> App {
    App::shell(ID, &format!("set -- {version}\n{WORK}"))
        .resources("memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n")
        .version(version)
        .image()
}

/// A disk with a newer version of the app of a device, and devices that take it.
pub(crate) struct Stick {
    _place: tempfile::TempDir,
    packed: PathBuf,
    pub(crate) disk: PathBuf,
    carried: Carried,
}

impl Stick {
    pub(crate) fn made() -> Self {
        let (carried, place) = (Carried::begin().unwrap(), tempfile::tempdir().unwrap());
        let packed = work("1.1.0").packed(place.path()).unwrap();
        carried.app(&packed).unwrap();
        let disk = carried.disk(&[RELEASE]).unwrap();
        Self { _place: place, packed, disk, carried }
    }

    pub(crate) fn device(&self, name: &str) -> Bench {
        let settings = format!("{SETTINGS}disks = true\n");
        Bench::new(name)
            .usb()
            .data_logged()
            .updates(&settings, &self.carried.root().unwrap())
            .app(work("1.0.0"))
    }

    /// Puts it into a device that has just been switched on, has the app updated, and gives what was written to the data's disk, and
    /// how much of that before.
    #[track_caller]
    pub(crate) fn brought(&self, device: &Device) -> (Vec<Event>, usize) {
        // In before the device has read whether its owner takes any.
        device.put_in(&self.disk).unwrap();
        device.wait_for("[org.test.work] work 1.0.0 with ");
        let first = device.writes().unwrap().len();
        device.wait_for("gabion: event update-disk name=sda");
        device.wait_for("gabion: event update: a disk with updates was put in");
        device.wait_for("[org.test.work] work 1.1.0 with from 1.0.0");
        device.wait_for("gabion: event update: updated app=org.test.work version=1.1.0");
        (device.writes().unwrap(), first)
    }

    /// What has to be whole.
    pub(crate) fn packages(&self) -> Packages {
        Packages::of(
            [(ID, "1.1.0", self.packed.clone())],
            ("/apps/org.test.work/first", "1.0.0\n".to_owned()),
        )
    }
}

/// What it has on USB: whether each is let in, the disks that the kernel made of them.
fn on_usb(device: &mut Device) -> (Vec<String>, Vec<String>) {
    let place = "/sys/bus/usb/devices";
    let mut names = device.agent(&format!("ls {place}"));
    names.retain(|name| !name.starts_with("usb") && !name.contains(':'));
    let mut disks = device.agent("ls /sys/class/block");
    disks.retain(|name| name.starts_with("sd"));
    (names.iter().flat_map(|name| device.agent(&format!("cat {place}/{name}/authorized"))).collect(), disks)
}

#[test]
fn app_is_updated_from_a_usb_disk_by_what_was_signed_wherever_the_power_goes() {
    let stick = Stick::made();
    let mut device = stick.device("offline").boot().unwrap();
    let (events, first) = stick.brought(&device);
    assert_eq!(on_usb(&mut device), (vec!["1".to_owned()], vec!["sda".to_owned()]));
    device.pull_out().unwrap();
    device.wait_for("gabion: event update-disk-gone");
    let before = after(&vec![0; DATA_BYTES as usize], &events[..first]);
    let tally = stick.packages().cut_anywhere(&[(before, &events[first..], &STATES)], CUTS);
    assert!(STATES.iter().all(|state| tally.left(state) > 0), "{tally}");
    device.power_button();
}

#[test]
fn app_is_updated_over_the_developers_cable_by_what_was_signed() {
    let stick = Stick::made();
    let bench = Bench::new("cable").developer().usb().updates(SETTINGS, &stick.carried.root().unwrap());
    let mut device = bench.app(work("1.0.0")).boot().unwrap();
    device.wait_for("[org.test.work] work 1.0.0 with ");
    // Its owner takes no updates of disks: nothing has what is put in.
    device.put_in(&stick.disk).unwrap();
    let place = tempfile::tempdir().unwrap();
    let other = place.path().join("other");
    std::fs::write(&other, [7; 2048]).unwrap();
    let send = |file: &Path| ["update", "offline", "send", file.to_str().unwrap()].map(str::to_owned);
    refused(&device, &send(&other).each_ref().map(|word| &**word), &["gabion update offline make"]);
    done(&device, &send(&stick.disk).each_ref().map(|word| &**word));
    device.wait_for("gabion: event update: a developer has sent updates");
    device.wait_for("[org.test.work] work 1.1.0 with from 1.0.0");
    device.wait_for("gabion: event update: updated app=org.test.work version=1.1.0");
    device.wait_for("gabion: event update: nothing more is wanted of what a developer has sent");
    assert_eq!(on_usb(&mut device), (vec!["0".to_owned()], vec![]));
    device.power_button();
}
