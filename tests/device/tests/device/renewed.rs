//! A device renews itself: releases that its owner signed, deployed by its Security Service, fetched, tried, kept or given up.

use crate::identity::{claimed, site};
use device_test::chain::KERNEL;
use device_test::site::releases::Releases;
use device_test::site::service::Security;
use device_test::{App, Bench, Device, PATIENCE};
use std::time::{Duration, Instant};

/// Longest wait for what takes the firmware, or an image over an emulated link.
const PASS: Duration = Duration::from_secs(4 * PATIENCE.as_secs());
/// A system has to be well three minutes after it booted, an app has to run ten seconds.
const SETTINGS: &str =
    "product = \"meter\"\ncatalog = \"acme\"\ncheck_s = 3600\nhealth_s = 180\ntrial_s = 10\n";
/// Says its version and what it has kept, and goes on.
const WORK: &str = "
echo \"work $1 with $(cat /data/kept 2>/dev/null)\"
echo \"from $1\" > /data/kept
while true; do sleep 1; done
";

fn work(version: &'static str, script: &str) -> App {
    App::shell("org.test.work", &format!("set -- {version}\n{script}"))
        .resources("memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n")
        .version(version)
        .image()
}

/// Waits until the deployment of a device is shown so far.
#[track_caller]
fn shown(security: &Security, id: &str, what: &str) -> String {
    let begin = Instant::now();
    loop {
        let said = security.done(&["device", "updates", "acme", id]).unwrap();
        if said.contains(what) {
            return said;
        }
        assert!(begin.elapsed() < PASS, "\"{what}\" is not in:\n{said}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn device_renews_its_system_and_its_apps_and_gives_up_what_is_not_well() {
    let (site, security) = site();
    let releases = Releases::begin(&security).unwrap();
    let bench = Bench::new("renewed").mostly_idle().board().resets().memory_mib(192).beside(&site);
    let bench = bench.service(&security.settings().unwrap()).updates(SETTINGS, &releases.root().unwrap());
    let device = bench.app(work("1.0.0", WORK)).boot().unwrap();
    device.wait_for("event attest: no certificate: the service refuses: nobody has claimed the device");
    let (bootable, system) = device.release().unwrap();
    releases.system(&bootable, &system, 0).unwrap();
    let id = claimed(&security, &device);
    device.wait_for("event attest: attested ");
    device.wait_for("[org.test.work] work 1.0.0 with ");
    renewed(&security, &releases, &device, &id);
    apps(&security, &releases, &device, &id);
    gone_back(&security, &releases, &device, &id);
    ordered(&security, &device, &id);
    told_at_once(&security, &device, &id);
    let off = device.power_button();
    assert_eq!(off.kernels().unwrap(), ["gabion_0.2.0.efi", "gabion_0.3.0+0-3.efi"]);
}

/// The system: armed, tried, found well, kept.
#[track_caller]
fn renewed(security: &Security, releases: &Releases<'_>, device: &Device, id: &str) {
    let (bootable, system) = device.next_release("0.2.0", 1).unwrap();
    let target = releases.system(&bootable, &system, 1).unwrap();
    releases.deploy(&[&target]).unwrap();
    device.wait_count(0, "event update-armed version=0.2.0", 1, PASS);
    device.wait_count(0, KERNEL, 2, PASS);
    device.wait_count(0, "event update: on trial version=0.2.0", 1, PASS);
    device.wait_count(0, "event update-good version=0.2.0", 1, PASS);
    device.wait_count(0, "[org.test.work] work 1.0.0 with from 1.0.0", 1, PASS);
    device.wait_for("event floor: no system below 1 gets at the storage any more");
    shown(security, id, "complete os/meter/0.2.0.json");
}

/// An app: switched without a boot, with its data; and one that is not well, which goes back.
#[track_caller]
fn apps(security: &Security, releases: &Releases<'_>, device: &Device, id: &str) {
    let place = tempfile::tempdir().unwrap();
    let add = |app: App, name: &str| {
        let folder = place.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        releases.app(&app.packed(&folder).unwrap()).unwrap();
    };
    add(work("1.1.0", WORK), "one");
    releases.deploy(&["apps/acme/org.test.work/1.1.0.json"]).unwrap();
    device.wait_count(0, "[org.test.work] work 1.1.0 with from 1.0.0", 1, PASS);
    device.wait_count(0, "event update: updated app=org.test.work version=1.1.0", 1, PASS);
    shown(security, id, "complete apps/acme/org.test.work/1.1.0.json");
    add(work("1.2.0", "echo work $1 is not well; exit 3"), "two");
    let mark = device.console().mark();
    releases.deploy(&["apps/acme/org.test.work/1.2.0.json"]).unwrap();
    device.wait_count(mark, "[org.test.work] work 1.2.0 is not well", 1, PASS);
    device.wait_count(mark, "event update: went back app=org.test.work version=1.2.0", 1, PASS);
    device.wait_count(mark, "[org.test.work] work 1.1.0 with from 1.1.0", 1, PASS);
    shown(security, id, "rolled-back apps/acme/org.test.work/1.2.0.json");
    assert_eq!(device.console().lines(0, KERNEL).len(), 2, "an app's update needs no boot");
}

/// A system that its owner withdraws while it is on its way: it is not attested, so it is not well.
#[track_caller]
fn gone_back(security: &Security, releases: &Releases<'_>, device: &Device, id: &str) {
    let (bootable, system) = device.next_release("0.3.0", 1).unwrap();
    let target = releases.system(&bootable, &system, 1).unwrap();
    security.done(&["release", "withdraw", "acme", "meter-0.3.0"]).unwrap();
    releases.deploy(&[&target]).unwrap();
    device.wait_count(0, "event update: on trial version=0.3.0", 1, PASS);
    device.wait_count(0, KERNEL, 4, PASS);
    device.wait_count(0, "event update: the system went back from os/meter/0.3.0.json: ", 1, PASS);
    device.wait_count(0, "[org.test.work] work 1.1.0 with from 1.1.0", 2, PASS);
    let said = shown(security, id, "rolled-back os/meter/0.3.0.json");
    assert!(said.contains("does not accept it"), "{said}");
}

/// What an operator has it do, of which it says why it does not: there is no system before that is good, and the app's trial is over.
#[track_caller]
fn ordered(security: &Security, device: &Device, id: &str) {
    let mark = device.console().mark();
    security.done(&["device", "update-rollback", "acme", id]).unwrap();
    device.wait_count(mark, "event update: an operator orders rollback of the system", 1, PASS);
    shown(security, id, "rollback the system, by ");
    shown(security, id, ": refused: there is no other system that is known to be good");
    security.done(&["device", "update-rollback", "acme", id, "--app", "org.test.work"]).unwrap();
    shown(security, id, ": refused: it is not on trial");
    device.wait_count(mark, "event update: an operator's order is refused: ", 2, PASS);
}

/// What its owner lets a developer do, and that he gives the device up, it hears while it waits for updates.
#[track_caller]
fn told_at_once(security: &Security, device: &Device, id: &str) {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        security.gabion_of(folder.path(), &["developer", "key", "--name", "ada"]).unwrap().status.success()
    );
    let key = folder.path().join("gabion/developer.pub").display().to_string();
    let permit = ["device", "permit", "acme", id, "--key", &key, "--for", "1h"];
    let on = "event attest: developer mode is on permit=";
    let mark = device.console().mark();
    security.done(&permit).unwrap();
    device.wait_count(mark, on, 1, PASS);
    security.done(&["device", "permit-end", "acme", id]).unwrap();
    device.wait_count(
        mark,
        "event attest: developer mode has ended: the service has ended the permit",
        1,
        PASS,
    );
    security.done(&permit).unwrap();
    device.wait_count(mark, on, 2, PASS);
    security.done(&["device", "revoke", "acme", id]).unwrap();
    device.wait_count(
        mark,
        "event attest: developer mode has ended: the service has given this device up",
        1,
        PASS,
    );
    device.wait_count(mark, "event door closed", 2, PASS);
}
