//! What apps link, include or copy, on a device with an identity: one thermostat in Rust, C and Python, side by side, and every call.

use crate::identity::{claimed, publish, site};
use device_test::examples::{CALLS, LANGUAGES, apps, thermostat};
use device_test::site::servers;
use device_test::{Bench, Device, PATIENCE};

/// What the C library's example says of each call.
const C: [&str; 14] = [
    "device: Gabion ",
    "chain: * certificates, the first of ",
    "authorities: 1 authorities, ",
    "sign: a signature of 7",
    "attest: evidence of * bytes, which begins with {",
    "updates: ",
    "defer: nothing is pending",
    "resume: goes on",
    "watch: nothing happens",
    "time: *, synchronised by ",
    "network: online, nothing is missing, ",
    "interfaces: *eth0 is ethernet, up; ",
    "rules: connect ",
    "temperatures: *; watched",
];

/// What the page's blocks print.
const PAGE: [&str; 9] = [
    "Gabion ",
    "it is * give or take ",
    "eth0 up [",
    "nothing is pending",
    " certificates, until ",
    " bytes of DER",
    " bytes, which begin with b'{",
    "com.example.Temperature.NoSuchRoom",
    "the page is done",
];

#[test]
fn apps_in_three_languages_do_all_that_an_app_may_side_by_side() {
    let (site, security) = site();
    site.serve(servers::mosquitto_for(&site, &security.root().unwrap()).unwrap());
    let bench = Bench::new("sdk").mostly_idle().board().memory_mib(256).beside(&site);
    let bench = bench.service(&security.settings().unwrap());
    let all = apps(&site, "broker.example:8884").unwrap();
    let mut device = all.into_iter().fold(bench, Bench::app).boot().unwrap();
    let id = claimed(&security, &device);
    publish(&security, "acme", "v1", &device, |_| {});
    device.wait_for(&format!("event attest: attested *device={id}"));
    let broker = site.said("mosquitto-for");
    for language in LANGUAGES {
        let app = thermostat(language);
        broker.wait(0, &format!("New client connected from *u'{app}'"), PATIENCE).unwrap();
        broker.wait(0, &format!("Received PUBLISH from *'home/kitchen/{language}'"), PATIENCE).unwrap();
        device.wait_for(&format!("[{app}] level=info event=heating on="));
        // It has said READY=1.
        device.wait_for(&format!("{app} * up "));
    }
    said(&device, CALLS[0], &C);
    said(&device, CALLS[1], &PAGE);
    // Where nobody can be asked for updates, and nobody knows the host, these fail as they say.
    let failed = device.console().lines(0, &format!("[{}] * FAILED ", CALLS[0]));
    let calls = ["check: ", "resolve: ", "chain: ", "authorities: ", "sign: ", "attest: ", "temperature"];
    let wrong: Vec<_> = failed.iter().filter(|line| !calls.iter().any(|call| line.contains(call))).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    for language in LANGUAGES {
        // The disk of a board is sealed: it is read while the device runs.
        let lines = device.agent(&format!("cat /data/apps/{}/history", thermostat(language)));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.split(' ').count() == 3), "{lines:?}");
    }
    device.power_button();
}

#[track_caller]
fn said(device: &Device, app: &str, lines: &[&str]) {
    for line in lines {
        device.wait_for(&format!("[{app}] *{line}"));
    }
}
