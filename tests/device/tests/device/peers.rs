//! Two devices on one link: an app of one asks an app of the other, each by its certificate. Who is another app, was revoked
//! or belongs to another catalog is refused before a byte reaches the program, and it is said why. So is a device of another
//! catalog by a server of the site.

use crate::identity::{USES, claimed, manifest, publish, site, through_tls};
use device_test::site::{servers, service::Security};
use device_test::{App, Bench, Device, PATIENCE, Site, site as places};

/// Busybox's web server, which knows of no certificate, for the one app of the one group.
fn meter() -> App {
    let exec = r#""/bin/gabion-tls", "--serve", "8443=8080", "--peer-app", "org.test.display", "--peer-group",
        "acme/meter/field", "--", "/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/share""#;
    let network =
        "[network]\nconnect = [\"localhost:8080/tcp\"]\nlisten = [\"8443/tcp\", \"localhost:8080/tcp\"]\n";
    App::shell("org.test.meter", "")
        .manifest(&manifest("org.test.meter", exec, &(network.to_owned() + USES)))
        .tls()
        .unwrap()
        .file("share/index.html", "measured 42\n")
}

/// Busybox's wget, by its own certificate, against the meter of the first device.
fn display(id: &str, port: u16) -> App {
    let to = format!("{}:8443", places::device(0));
    let exec = format!(
        r#""/bin/gabion-tls", "--connect", "{port}={to}", "--peer-app", "org.test.meter", "--peer-group",
        "acme/meter/field", "--", "/bin/sh", "/bin/run""#
    );
    let network = format!(
        "[network]\nconnect = [\"{to}/tcp\", \"localhost:{port}/tcp\"]\nlisten = [\"localhost:{port}/tcp\"]\n"
    );
    let ask =
        format!("while true; do busybox wget -q -O - http://127.0.0.1:{port}/index.html; sleep 1; done");
    App::shell(id, &ask).manifest(&manifest(id, &exec, &(network + USES))).tls().unwrap()
}

/// The same against a web server of the site that takes this catalog's devices.
fn visitor(site: &Site) -> App {
    let id = "org.test.visitor";
    App::shell(id, "while true; do busybox wget -q -O - http://127.0.0.1:8082/; sleep 1; done")
        .manifest(&through_tls(id, 8082, "web.example:9443", "\"/bin/sh\", \"/bin/run\""))
        .tls()
        .unwrap()
        .file("etc/ca.pem", site.authority().unwrap())
}

fn bench(name: &str, site: &Site, security: &Security) -> Bench {
    Bench::new(name).board().beside(site).service(&security.settings().unwrap())
}

#[test]
fn devices_of_a_group_talk_by_their_certificates_and_whoever_is_another_is_refused_with_the_reason() {
    let (site, security) = site();
    let authority = security.get("/device/v1/ca?catalog=acme").unwrap();
    site.serve(servers::nginx_for(&site, &authority).unwrap());
    let meter = bench("peers-meter", &site, &security).app(meter()).boot().unwrap();
    let display = bench("peers-display", &site, &security)
        // It takes no turn: the other one has it.
        .mostly_idle()
        .app(display("org.test.display", 8080))
        .app(display("org.test.intruder", 8081))
        .app(visitor(&site))
        .boot()
        .unwrap();
    for (name, device) in [("meter", &meter), ("display", &display)] {
        publish(&security, "acme", name, device, |_| {});
    }
    claimed(&security, &meter);
    let id = claimed(&security, &display);
    display.wait_for("[org.test.display] measured 42");
    display.wait_for("[org.test.visitor] hello CN=org.test.visitor");
    meter.wait_for(
        "[org.test.meter!] gabion-tls: port 8443: *it is another device, app or group than the one",
    );
    changes_hands(&security, &meter, &display, &id);
    site.said("nginx-for").wait(0, "client SSL certificate verify error: (20:", PATIENCE).unwrap();
    let asked = display.console().lines(0, "[org.test.intruder] measured 42");
    assert!(asked.is_empty(), "{asked:?}");
    for device in [meter, display] {
        device.power_button();
    }
}

/// The one that asks is revoked, and then another catalog's: either ends what it may.
#[track_caller]
fn changes_hands(security: &Security, meter: &Device, display: &Device, id: &str) {
    let refused = "[org.test.meter!] gabion-tls: port 8443: invalid peer certificate";
    security.done(&["device", "revoke", "acme", id]).unwrap();
    meter.wait_for(&format!("{refused}: Revoked"));
    display.wait_for("event attest: no certificate: the service refuses: the device is revoked");
    security.done(&["device", "reinstate", "acme", id]).unwrap();

    security.done(&["catalog", "add", "other"]).unwrap();
    security.done(&["product", "add", "other", "meter"]).unwrap();
    security.done(&["group", "add", "other", "meter", "field"]).unwrap();
    publish(security, "other", "display", display, |_| {});
    let mark = display.console().mark();
    let token = security.done(&["device", "transfer", "acme", id]).unwrap();
    let place = ["--product", "meter", "--group", "field"];
    let claim = [["device", "claim", "other", id, token.trim()].as_slice(), &place].concat();
    security.done(&claim).unwrap();
    display.wait_after(mark, "event attest: attested ");
    // Each end looks at the other's; who asks looks first.
    display.wait_for("[org.test.display!] gabion-tls: *: invalid peer certificate: UnknownIssuer");
}
