//! A device that has no network and belongs to no service: its updates come on a disk, or from a developer.

use crate::tool::{done, refused};
use device_test::carried::Carried;
use device_test::{App, Bench};

const SETTINGS: &str = "product = \"meter\"\ncatalog = \"acme\"\ntrial_s = 5\n";
/// Says its version and what it has kept, and goes on.
const WORK: &str = "
echo \"work $1 with $(cat /data/kept 2>/dev/null)\"
echo \"from $1\" > /data/kept
while true; do sleep 1; done
";

fn work(version: &'static str) -> App {
    App::shell("org.test.work", &format!("set -- {version}\n{WORK}"))
        .resources("memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n")
        .version(version)
        .image()
}

#[test]
fn app_is_updated_from_a_disk_by_what_was_signed() {
    let carried = Carried::begin().unwrap();
    let place = tempfile::tempdir().unwrap();
    carried.app(&work("1.1.0").packed(place.path()).unwrap()).unwrap();
    let disk = carried.disk(&["apps/acme/org.test.work/1.1.0.json"]).unwrap();
    let settings = format!("{SETTINGS}disks = true\n");
    let bench = Bench::new("offline").updates(&settings, &carried.root().unwrap()).disk(&disk);
    let device = bench.app(work("1.0.0")).boot().unwrap();
    device.wait_for("[org.test.work] work 1.0.0 with ");
    device.wait_for("gabion: event update-disk name=vdd");
    device.wait_for("gabion: event update: a disk with updates was put in");
    device.wait_for("[org.test.work] work 1.1.0 with from 1.0.0");
    device.wait_for("gabion: event update: updated app=org.test.work version=1.1.0");
    device.power_button();
}

#[test]
fn app_is_updated_over_the_developers_cable_by_what_was_signed() {
    let carried = Carried::begin().unwrap();
    let place = tempfile::tempdir().unwrap();
    carried.app(&work("1.1.0").packed(place.path()).unwrap()).unwrap();
    let releases = carried.disk(&["apps/acme/org.test.work/1.1.0.json"]).unwrap();
    let bench = Bench::new("cable").developer().updates(SETTINGS, &carried.root().unwrap());
    let device = bench.app(work("1.0.0")).boot().unwrap();
    device.wait_for("[org.test.work] work 1.0.0 with ");
    let other = place.path().join("other");
    std::fs::write(&other, [7; 2048]).unwrap();
    let send = ["update", "offline", "send"];
    refused(&device, &[&send[..], &[other.to_str().unwrap()]].concat(), &["gabion update offline make"]);
    done(&device, &[&send[..], &[releases.to_str().unwrap()]].concat());
    device.wait_for("gabion: event update: a developer has sent updates");
    device.wait_for("[org.test.work] work 1.1.0 with from 1.0.0");
    device.wait_for("gabion: event update: updated app=org.test.work version=1.1.0");
    device.wait_for("gabion: event update: nothing more is wanted of what a developer has sent");
    device.power_button();
}
