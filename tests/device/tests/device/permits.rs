//! Developer mode on a device in production: its owner lets one developer in, and another after him; others, and what is no permit of
//! theirs, are refused in words; leaving shuts the door.

use crate::heart;
use crate::identity::{claimed, publish};
use device_test::site::{self, servers, service::Security};
use device_test::{App, Bench, Device, PATIENCE, Site};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A person with a key, and the tool.
struct Developer<'a> {
    security: &'a Security,
    folder: PathBuf,
    door: String,
}

impl Developer<'_> {
    /// The tool, towards the device's door, as this developer.
    #[track_caller]
    fn gabion(&self, words: &[&str]) -> Output {
        self.security.gabion_of(&self.folder, words).unwrap()
    }

    /// What it says when it does what it is told.
    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.gabion(words);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{words:?}: {}", said.concat());
        said[0].clone()
    }

    /// What it says when it does not.
    #[track_caller]
    fn refused(&self, words: &[&str]) -> String {
        let output = self.gabion(words);
        assert!(!output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The same at the door.
    #[track_caller]
    fn at_door(&self, words: &[&str]) -> String {
        self.done(&[words, &["--device", &self.door]].concat())
    }

    #[track_caller]
    fn shut_out(&self, words: &[&str]) -> String {
        self.refused(&[words, &["--device", &self.door]].concat())
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Whether somebody takes connections at the door.
fn is_open(site: &Site) -> bool {
    let at: SocketAddr = format!("{}:{}", site::device(0), bus::devport::DOOR_PORT).parse().unwrap();
    site.inside(|| Ok(TcpStream::connect_timeout(&at, PATIENCE).is_ok())).unwrap()
}

/// Waits until somebody does: its box has been started.
#[track_caller]
fn opened(site: &Site) {
    let until = Instant::now() + PATIENCE;
    while !is_open(site) {
        assert!(Instant::now() < until, "nobody listens at the door");
        sleep(Duration::from_millis(100));
    }
}

/// What somebody hears there who has no key: OpenSSL's word on the handshake.
fn stranger(site: &Site, options: &[&str]) -> String {
    let at = format!("{}:{}", site::device(0), bus::devport::DOOR_PORT);
    let heard = site.inside(|| {
        let mut openssl = Command::new("timeout");
        openssl.args(["120", "openssl", "s_client", "-connect", &at, "-ign_eof"]).args(options);
        Ok(openssl.stdin(Stdio::null()).output()?)
    });
    let Output { stdout, stderr, .. } = heard.unwrap();
    [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// A file with one character of the permit's signature changed: the tool does not know, and the device does.
fn altered(permit: &str, to: &Path) {
    let text = std::fs::read_to_string(permit).unwrap();
    let at = text.rfind('.').unwrap() + 40;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    std::fs::write(to, format!("{}{other}{}", &text[..at], &text[at + 1..])).unwrap();
}

#[test]
fn developer_with_a_permit_is_let_in_and_nobody_else_until_it_ends() {
    let site = Site::new().unwrap();
    site.serve(servers::dnsmasq(&site).unwrap());
    site.serve(servers::chronyd(&site).unwrap());
    let security = Security::start(&site, &[]).unwrap();
    for words in [&["catalog", "add", "acme"][..], &["product", "add", "acme", "meter"]] {
        security.done(words).unwrap();
    }
    security.done(&["group", "add", "acme", "meter", "field"]).unwrap();
    let bench = Bench::new("permits").mostly_idle().board().memory_mib(192).beside(&site).app(heart());
    let device = bench.service(&security.settings().unwrap()).boot().unwrap();
    device.wait_for("event attest: no certificate: the service refuses: nobody has claimed the device");
    publish(&security, "acme", "v1", &device, |_| {});
    assert!(!is_open(&site));

    let id = claimed(&security, &device);
    let place = tempfile::tempdir().unwrap();
    let developer = |name: &str| {
        let door = format!("tls://{}:{}", site::device(0), bus::devport::DOOR_PORT);
        let folder = place.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let one = Developer { security: &security, folder, door };
        assert!(one.done(&["developer", "key", "--name", name]).contains("you are "));
        one
    };
    let (ada, bob) = (developer("ada"), developer("bob"));
    let permit = |of: &Developer<'_>| {
        let (key, to) = (of.file("gabion/developer.pub"), of.file("permit.jwt"));
        security.done(&["device", "permit", "acme", &id, "--key", &key, "--for", "1h", "-o", &to]).unwrap();
        to
    };
    let first = permit(&ada);
    device.wait_for("event attest: developer mode is on permit=");
    device.wait_for("event door open port=4226");
    device.wait_for("event started id=os.gabion.door");
    opened(&site);
    let_in(&device, &ada, &first);
    strangers(&site, &id);
    deployed(&device, &ada, place.path());

    // Another's permit takes its place; whoever is in may hand it over.
    let mark = device.console().mark();
    assert!(bob.refused(&["developer", "add", &first]).contains("another key than yours"));
    let second = permit(&bob);
    ada.gabion(&["developer", "enter", "--permit", &second, "--device", &ada.door]);
    device.wait_after(mark, "event attest: developer mode is on permit=");
    device.wait_after(mark, "event door closed");
    device.wait_after(mark, "event leaving id=org.test.brought");
    device.wait_after(mark, "event started id=os.gabion.door");
    opened(&site);
    bob.done(&["developer", "add", &second]);
    assert!(bob.at_door(&["ps"]).contains("org.test.heart"));
    let said = ada.shut_out(&["ps"]);
    assert!(said.contains("its permit is for another key"), "{said}");
    let said = bob.shut_out(&["developer", "enter", "--permit", &first]);
    assert!(said.contains("it was used before"), "{said}");

    // He brings it, too, and finds nothing of what it had stored; then he leaves, by himself.
    device.wait_after(mark, "event exited id=org.test.brought ");
    bob.at_door(&["deploy", &brought(&bob, place.path()), "--wait", "60"]);
    device.wait_after(mark, "[org.test.brought] kept nothing");
    let mark = device.console().mark();
    bob.at_door(&["developer", "leave"]);
    device.wait_after(mark, "event attest: developer mode has ended: it was left");
    device.wait_after(mark, "event door closed");
    device.wait_after(mark, "event leaving id=org.test.brought");
    assert!(!is_open(&site));
    assert!(bob.shut_out(&["ps"]).contains("nobody answers"));
    security.done(&["device", "permit-end", "acme", &id]).unwrap();
    let listed = security.done(&["device", "permits", "acme", &id]).unwrap();
    assert_eq!(listed.lines().filter(|line| line.contains(" ended developer=")).count(), 2, "{listed}");
    device.power_button();
}

/// The developer is there: what he may, what he may not, and what is no permit.
#[track_caller]
fn let_in(device: &Device, ada: &Developer<'_>, permit: &str) {
    let said = ada.shut_out(&["ps"]);
    assert!(said.contains("you have no permit"), "{said}");
    ada.done(&["developer", "add", permit]);
    assert!(ada.at_door(&["ps"]).contains("org.test.heart"));
    assert!(ada.at_door(&["logs", "org.test.heart"]).contains("beat "));
    assert!(ada.at_door(&["developer", "status"]).starts_with("on for "));
    let listed = ada.at_door(&["bus", "interfaces"]);
    assert!(listed.contains("os.gabion.Apps") && !listed.contains("Wipe"), "{listed}");
    let mark = device.console().mark();
    ada.at_door(&["restart", "org.test.heart"]);
    device.wait_after(mark, "event started id=org.test.heart");
    for refused in [
        &["wipe", "org.test.heart", "--yes"][..],
        &["bus", "call", "os.gabion.Certificate.GetChain"],
        &["bus", "call", "os.gabion.Power.Reboot"],
        &["bus", "monitor"],
    ] {
        ada.shut_out(refused);
    }
    let said = ada.shut_out(&["debug", "org.test.heart"]);
    assert!(said.contains("this device's kernel lets nobody trace a process"), "{said}");
    let bad = ada.folder.join("bad.jwt");
    altered(permit, &bad);
    let mark = device.console().mark();
    let said = ada.shut_out(&["developer", "enter", "--permit", &bad.display().to_string()]);
    assert!(said.contains("or it was altered"), "{said}");
    device.wait_after(mark, "event attest: a permit is refused: it is not signed");
    // The one in force is no other.
    assert!(ada.at_door(&["developer", "enter"]).contains("developer mode is on"));
}

/// The directory of an app, as a developer has it: it says what it finds in its storage, and keeps something there.
fn brought(of: &Developer<'_>, place: &Path) -> String {
    let script =
        "echo kept $(cat /data/mark || echo nothing); echo something > /data/mark; sync; exec sleep 1000";
    let storage = "memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n";
    let place = place.join(of.folder.file_name().unwrap()).join("app");
    std::fs::create_dir_all(&place).unwrap();
    let app = App::shell("org.test.brought", script).resources(storage).packed(&place).unwrap();
    app.display().to_string()
}

/// What the permit's key has signed is taken, and nothing else.
#[track_caller]
fn deployed(device: &Device, ada: &Developer<'_>, place: &Path) {
    let app = brought(ada, place);
    let package = ada.file("unsigned.gab");
    ada.done(&["build", &app, "-o", &package]);
    ada.shut_out(&["deploy", &package]);
    let mark = device.console().mark();
    ada.at_door(&["deploy", &app, "--wait", "60"]);
    device.wait_after(mark, "[org.test.brought] kept nothing");
    let mark = device.console().mark();
    ada.at_door(&["restart", "org.test.brought"]);
    device.wait_after(mark, "[org.test.brought] kept something");
}

/// Whoever has no key sees the device's certificate, and the end.
#[track_caller]
fn strangers(site: &Site, id: &str) {
    let heard = stranger(site, &["-tls1_3"]);
    assert!(heard.contains(id) && heard.contains("certificate required"), "{heard}");
    let heard = stranger(site, &["-tls1_2"]);
    assert!(!heard.contains(id), "{heard}");
}
