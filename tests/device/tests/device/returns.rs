//! A board that comes back: after sixty days without a network, with a system that is older than the one before, and as a copy
//! of itself.

use crate::identity::{publish, site};
use device_test::site::servers;
use device_test::site::service::Security;
use device_test::{Bench, Device, Off, word};
use std::path::Path;
use std::process::Command;

/// What `date` says of the day so many days from now.
fn day(days: &str) -> String {
    let said = Command::new("date").args(["-u", "-d", days, "+%Y-%m-%dT%H:%M:%S"]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn board_comes_back_by_itself_after_sixty_days_and_neither_as_it_was_before_nor_twice() {
    let (site, security) = site();
    let bench = Bench::new("returns")
        .mostly_idle()
        .board()
        .memory_mib(128)
        .beside(&site)
        .service(&security.settings().unwrap());
    // No older system gets at what this one seals.
    let device = bench.developer().words("GABION_FLOOR=1").boot().unwrap();
    let id = enrolled(&security, &device);
    publish(&security, "acme", "v1", &device, |_| {});
    device.wait_for("event attest: attested ");
    let off = device.power_button();
    // Somebody has copied its TPM.
    let copy = off.copy_board().unwrap();

    // Sixty days on its own, as its clock has it.
    site.end("dnsmasq");
    let device = off.clock(&day("+60 days")).boot().unwrap();
    device.wait_for("event attest: no certificate: ");
    site.serve(servers::dnsmasq(&site).unwrap());
    let line = device.wait_for("event attest: attested ");
    assert_eq!(word(&line, "device"), Some(id.as_str()));
    // It knows who it is.
    assert!(device.console().lines(0, "event attest: enrolled ").is_empty());
    assert!(device.console().lines(0, "gabion: problem ").is_empty());
    let off = device.power_button();

    older(&security, off, &id, &copy);
}

/// Claims the device by what its port says. Its id.
#[track_caller]
fn enrolled(security: &Security, device: &Device) -> String {
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), "{\"secure_boot\":true,\"debug\":true}").unwrap();
    security.done(&["group", "policy", "acme", "meter", "field", policy.path().to_str().unwrap()]).unwrap();
    device.wait_for("gabion: ready ");
    let port = device.port().display().to_string();
    let words =
        ["device", "enrol", "acme", "--product", "meter", "--group", "field", "--timeout", "180", "--device"];
    let said = security.done(&[words.as_slice(), &[&port]].concat()).unwrap();
    said.lines().find_map(|line| line.strip_prefix("device ")).unwrap().to_owned()
}

/// The system of before, on the board and then on the copy of its TPM, with a clock that was set back.
#[track_caller]
fn older(security: &Security, off: Off, id: &str, copy: &Path) {
    let device = off.clock("2020-02-02T02:02:02").release("").boot().unwrap();
    device
        .wait_for("the storage stays locked: this system is too old: its floor is 0, and the device's is 1");
    // Whether it may still be somebody is its service's affair.
    publish(security, "acme", "v0", &device, |_| {});
    let line = device.wait_for("event attest: attested ");
    assert_eq!(word(&line, "device"), Some(id));
    let off = device.cut_power();

    off.put_board(copy).unwrap();
    let device = off.release("GABION_FLOOR=1").boot().unwrap();
    device.wait_for("event attest: no certificate: the service refuses: the TPM's count of resets went back");
    let listed = security.done(&["device", "list", "acme"]).unwrap();
    assert!(listed.contains(" failed"), "{listed}");
    device.cut_power();
}
