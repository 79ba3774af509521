//! A varlink client that nobody here wrote, in boxes: python-varlink, which introspects, calls, follows and is refused.

use bus::interface::Interface;
use bus::interfaces::{apps, audit, bus as bus_itself, crashes, device as about, power, time};
use device_test::{App, Bench, Device};

/// What is checked of every granted interface, whatever it is for.
const INTROSPECTION: [&str; 3] = ["GetInfo", "GetInterfaceDescription", "NotFound"];

type Checks = (&'static Interface, &'static [&'static str]);

/// In either box.
const ANYBODY: [Checks; 3] = [
    (&about::INTERFACE, &["GetInfo-called", "InvalidParameter"]),
    (&time::INTERFACE, &["GetStatus", "InvalidParameter"]),
    (&power::INTERFACE, &["InvalidParameter"]),
];

/// In the box of the image.
const SYSTEM: [Checks; 4] = [
    (
        &apps::INTERFACE,
        &["List", "Restart-Stop-Start", "FollowLog", "GetLog-ExportLog", "errors", "InvalidParameter"],
    ),
    (&crashes::INTERFACE, &["Follow-List", "InvalidParameter"]),
    (&audit::INTERFACE, &["Follow-List", "InvalidParameter"]),
    (&bus_itself::INTERFACE, &["List-Why", "connections-closed", "Monitor", "InvalidParameter"]),
];

fn bench(name: &str) -> Bench {
    let faulty = App::shell("org.test.faulty", "exit 3").lifecycle("restart = \"never\"\n");
    // Two interpreters, and their library from an image that is interpreted too.
    Bench::new(name).foreign_system_box().app(App::foreign()).app(faulty).app(crate::heart()).memory_mib(128)
}

/// The box `id` has said what it found of each of these, and what it read is what is in the file.
#[track_caller]
fn checked(device: &Device, id: &str, all: &[Checks]) {
    for (interface, checks) in all {
        for check in INTROSPECTION.iter().chain(*checks) {
            device.wait_for(&format!("[{id}] foreign: {} {check} ok", interface.name));
        }
        let methods: Vec<&str> = interface.methods.iter().map(|method| method.name).collect();
        let read = device.wait_for(&format!("[{id}] foreign: {} GetInterfaceDescription ok", interface.name));
        let expected = format!("ok bytes={} methods={}", interface.description.len(), methods.join(","));
        assert!(read.ends_with(&expected), "{read} instead of {expected}");
    }
}

#[track_caller]
fn none_failed(device: &Device) {
    let failed = device.console().lines(0, "foreign: FAILED");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn foreign_client_in_a_box_introspects_calls_follows_and_is_refused_on_every_interface() {
    let device = bench("foreign").boot().unwrap();
    let (app, system) = ("org.test.foreign", "os.gabion.testagent");
    // It comes to an end whatever it finds.
    device.wait_for(&format!("[{app}] foreign: done"));
    device.wait_for(&format!("[{system}] foreign: done"));
    none_failed(&device);

    checked(&device, app, &ANYBODY);
    device.wait_for(&format!(
        "[{app}] foreign: os.gabion.Power PermissionDenied ok [uses] \"os.gabion.Power\" = [\"PowerOff\"]"
    ));
    for check in ["Power PermissionDenied-first", "Update GetStatus", "Apps absent"] {
        device.wait_for(&format!("[{app}] foreign: os.gabion.{check} ok"));
    }
    device.wait_for(&format!("event bus-refused id={app} interface=os.gabion.Power detail=*PowerOff"));

    checked(&device, system, &ANYBODY);
    checked(&device, system, &SYSTEM);
    device.wait_for(&format!("[{system}] foreign: os.gabion.Bus Monitor ok production"));
    device.wait_for(&format!("[{system}] foreign: os.gabion.Power Reboot-Busy ok"));
    device.wait_for(&format!("event reboot reason=\"{system}: all is said\""));
    // Nobody broke a rule of the wire.
    assert!(device.console().lines(0, "event bus-dropped").is_empty());
    device.ended().check_data().unwrap();
}

#[test]
fn foreign_client_monitors_the_bus_of_a_developers_device() {
    let device = bench("foreign-developer").words("GABION_DEVELOPER=1").boot().unwrap();
    device.wait_for("[os.gabion.testagent] foreign: done");
    none_failed(&device);
    device.wait_for("[os.gabion.testagent] foreign: os.gabion.Bus Monitor ok developer");
    device.ended().check_data().unwrap();
}
