//! A device and the Security Service that it belongs to: a real one, at the site, as an operator sets it up.

use device_test::site::servers;
use device_test::site::service::Security;
use device_test::{App, Bench, Device, PATIENCE, Site, word};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Certificates of ten minutes, renewed each minute: a round is never far.
const SOON: [&str; 4] = ["--certificate-s", "600", "--renew-after-s", "60"];
/// What an app names that gets a certificate.
pub(crate) const USES: &str =
    "[uses]\n\"os.gabion.Certificate\" = [\"GetChain\", \"GetAuthorities\", \"Sign\"]\n";

/// PCR 11 of a release that the device does not run.
const OTHER: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// Debian's curl, as it is: it knows of no certificate of its own.
const CALLER: &str = "
while true; do
  /usr/bin/curl -sS --fail http://localhost:8080/
  /bin/busybox sleep 2
done
";
/// The same without a word of the manifest: neither `gabion-tls` has a certificate for it, nor is there any other way.
const STRANGER: &str = "
/bin/gabion-tls --connect 8081=web.example:9443 --ca /etc/ca.pem -- /bin/true
echo ended with $?
until /usr/bin/curl -sS --cacert /etc/ca.pem https://web.example:9443/ | /bin/busybox grep '<center>'; do
  /bin/busybox sleep 1
done
";
/// Debian's mosquitto_pub, a reading a second.
const PUBLISHER: &str = "
n=0
while true; do
  n=$((n + 1))
  /usr/bin/mosquitto_pub -h localhost -t readings -m \"reading $n\"
  /bin/busybox sleep 1
done
";

/// A site with a Security Service that has a catalog `acme`, a product `meter`, a group `field`.
pub(crate) fn site() -> (Site, Security) {
    let site = Site::new().unwrap();
    site.serve(servers::dnsmasq(&site).unwrap());
    site.serve(servers::chronyd(&site).unwrap());
    let security = Security::start(&site, &SOON).unwrap();
    security.done(&["catalog", "add", "acme"]).unwrap();
    security.done(&["product", "add", "acme", "meter"]).unwrap();
    security.done(&["group", "add", "acme", "meter", "field"]).unwrap();
    (site, security)
}

pub(crate) fn manifest(id: &str, exec: &str, rest: &str) -> String {
    format!(
        "[app]\nid = \"{id}\"\nversion = \"1.0.0\"\nexec = [{exec}]\n[resources]\nmemory = \"32MiB\"\ncpu = \"200%\"\n\
         tasks = 16\n[lifecycle]\nrestart = \"always\"\n{rest}"
    )
}

/// A manifest of what talks plainly to `port` of its own loopback, which is `to` over TLS.
pub(crate) fn through_tls(id: &str, port: u16, to: &str, program: &str) -> String {
    let exec = format!(
        "\"/bin/gabion-tls\", \"--connect\", \"{port}={to}\", \"--ca\", \"/etc/ca.pem\", \"--\", {program}"
    );
    let network = format!(
        "[network]\nconnect = [\"{to}/tcp\", \"localhost:{port}/tcp\"]\nlisten = [\"localhost:{port}/tcp\"]\n"
    );
    manifest(id, &exec, &(network + USES))
}

fn apps(site: &Site) -> [App; 4] {
    let visitor = |name: &str, text: &str| App::visitor(name, site).unwrap().manifest(text).tls().unwrap();
    let work = "\"/bin/sh\", \"/bin/work\"";
    let stranger = "[network]\nconnect = [\"web.example:9443/tcp\", \"localhost:8081/tcp\"]\nlisten = [\"localhost:8081/tcp\"]\n";
    let subscriber =
        "\"/usr/bin/mosquitto_sub\", \"-h\", \"localhost\", \"-p\", \"1884\", \"-t\", \"readings\"";
    let broker = "broker.example:8884";
    [
        visitor("curl", &through_tls("org.test.curl", 8080, "web.example:9443", work))
            .file("bin/work", CALLER),
        visitor("curl", &manifest("org.test.stranger", work, stranger))
            .directory("org.test.stranger")
            .file("bin/work", STRANGER),
        visitor("publisher", &through_tls("org.test.publisher", 1883, broker, work))
            .file("bin/work", PUBLISHER),
        visitor("subscriber", &through_tls("org.test.subscriber", 1884, broker, subscriber)),
    ]
}

/// Claims the device as its console says; gives its id.
#[track_caller]
pub(crate) fn claimed(security: &Security, device: &Device) -> String {
    let line = device.wait_for("event attest: to claim it: gabion device claim CATALOG ");
    let (_, said) = line.split_once(": gabion ").unwrap();
    let said = said.replace("CATALOG", "acme").replace("PRODUCT", "meter").replace("GROUP", "field");
    let words: Vec<&str> = said.split_whitespace().collect();
    security.done(&words).unwrap();
    words[3].to_owned()
}

/// Publishes the device's release under a name; `edit` is what is wrong with it.
#[track_caller]
pub(crate) fn publish(
    security: &Security,
    catalog: &str,
    name: &str,
    device: &Device,
    edit: impl Fn(&mut Value),
) {
    let mut values: Value =
        serde_json::from_slice(&std::fs::read(device.system().unwrap().reference).unwrap()).unwrap();
    edit(&mut values);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    security.done(&["release", "publish", catalog, name, file.path().to_str().unwrap()]).unwrap();
}

#[test]
fn device_is_enrolled_claimed_attested_and_its_apps_are_who_they_are_until_it_is_revoked() {
    let (site, security) = site();
    let authority = security.get("/device/v1/ca?catalog=acme").unwrap();
    site.serve(servers::nginx_for(&site, &authority).unwrap());
    site.serve(servers::mosquitto_for(&site, &security.root().unwrap()).unwrap());
    let bench = Bench::new("identity").mostly_idle().board().memory_mib(192).beside(&site);
    let bench = bench.service(&security.settings().unwrap());
    let device = apps(&site).into_iter().fold(bench, Bench::app).boot().unwrap();
    device.wait_for("event attest: enrolled device=");
    device.wait_for("event attest: no certificate: the service refuses: nobody has claimed the device");
    publish(&security, "acme", "other", &device, |values| values["pcrs"]["11"] = OTHER.into());
    let id = claimed(&security, &device);
    refused(&security, &device, &id);
    publish(&security, "acme", "v1", &device, |_| {});
    let line = device.wait_for("event attest: attested ");
    assert_eq!((word(&line, "device"), word(&line, "certificates")), (Some(id.as_str()), Some("4")));
    passed(&security, &device, &id);
    clients(&site, &device, &id);
    let last = renewed(&site, &security);
    revoked(&security, &device, &id, &last);
    device.power_button();
}

/// Evidence that does not pass: the device and the operator are told why, each time in words.
#[track_caller]
fn refused(security: &Security, device: &Device, id: &str) {
    let shown = |why: &str| {
        device.wait_for(&format!("event attest: no certificate: the service refuses: {why}"));
        let shown = security.gabion(&["attest", "show", "acme", id]).unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.code() == Some(1) && text.starts_with("failed\n"), "{text}");
        assert!(text.contains(why), "{text}");
        text
    };
    let seen = pcr11(device);
    let text = shown(&format!(
        "PCR 11 is not of any published release: seen {seen}; release other would be {OTHER}"
    ));
    let line = format!("WRONG PCR 11 (kernel image)\n        expected {OTHER}\n        seen     {seen}\n");
    assert!(text.contains(&line), "{text}");
    publish(security, "acme", "debug", device, |values| values["audience"] = "developers".into());
    let text = shown("release debug is a build for developers");
    assert!(text.contains("WRONG debug build\n        expected no\n        seen     yes\n"), "{text}");
    security.done(&["release", "withdraw", "acme", "debug"]).unwrap();
    shown("release debug was withdrawn");
}

fn pcr11(device: &Device) -> String {
    device.system().unwrap().pcr11.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an operator sees of one that passes: each measurement, and the apps it has launched.
#[track_caller]
fn passed(security: &Security, device: &Device, id: &str) {
    let shown = security.done(&["attest", "show", "acme", id]).unwrap();
    assert!(shown.starts_with("passed\nrelease v1\n") && !shown.contains("WRONG"), "{shown}");
    let seen =
        format!("ok    PCR 11 (kernel image)\n        expected {0}\n        seen     {0}\n", pcr11(device));
    for part in [&seen, "ok    Secure Boot\n        expected yes\n", "ok    org.test.curl 1.0.0\n"] {
        assert!(shown.contains(part), "{shown}");
    }
    let listed = security.done(&["device", "list", "acme"]).unwrap();
    assert_eq!(listed, format!("{id} meter/field active passed v1\n"));
}

/// Unmodified clients show the apps' certificates, and whoever has no grant has none.
#[track_caller]
fn clients(site: &Site, device: &Device, id: &str) {
    device.wait_for("[org.test.curl] hello CN=org.test.curl");
    device.wait_for("[org.test.stranger!] gabion-tls: the manifest does not name os.gabion.Certificate");
    device.wait_for("[org.test.stranger] ended with 2");
    device.wait_for("[org.test.stranger] *No required SSL certificate was sent");
    device.wait_count(0, "[org.test.subscriber] reading ", 2, PATIENCE);
    let broker = site.said("mosquitto-for");
    for app in ["publisher", "subscriber"] {
        broker.wait(0, &format!("New client connected from *u'org.test.{app}'"), PATIENCE).unwrap();
    }
    let text = openssl(
        &["x509", "-noout", "-subject", "-ext", "subjectAltName,extendedKeyUsage"],
        &certificates(site)[0],
    )
    .unwrap();
    for name in
        [format!("URI:gabion:device/{id}/app/org.test.curl"), "URI:gabion:group/acme/meter/field".to_owned()]
    {
        assert!(text.contains(&name), "{text}");
    }
}

/// The certificates that the web server was shown, in order, each once.
fn certificates(site: &Site) -> Vec<String> {
    let shown = servers::shown(site).unwrap();
    let mut all: Vec<String> =
        shown.split_inclusive("-----END CERTIFICATE-----").map(str::to_owned).collect();
    // Behind the last there is a line feed, or what is being written.
    all.pop();
    all.iter_mut().for_each(|one| *one = one.trim_start().to_owned() + "\n");
    all.dedup();
    all
}

/// The next certificate comes while the one before is good, and OpenSSL takes both. Gives the next one.
#[track_caller]
fn renewed(site: &Site, security: &Security) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let [first, .., last] = &certificates(site)[..] {
            for one in [first, last] {
                verified(security, one).unwrap();
            }
            return last.clone();
        }
        assert!(Instant::now() < deadline, "no other certificate is shown");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A device that is revoked gets no more, says so, and what it has is on the list.
#[track_caller]
fn revoked(security: &Security, device: &Device, id: &str, last: &str) {
    security.done(&["device", "revoke", "acme", id]).unwrap();
    let why = verified(security, last).unwrap_err();
    assert!(why.contains("certificate revoked"), "{why}");
    device.wait_for("event attest: no certificate: the service refuses: the device is revoked");
    assert!(
        security.done(&["device", "show", "acme", id, "--json"]).unwrap().contains("\"state\": \"revoked\"")
    );
}

/// OpenSSL follows it to the catalog's authority, which is all that it trusts, and finds it on no list; else why not.
fn verified(security: &Security, certificate: &str) -> Result<String, String> {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("authority"), security.get("/device/v1/ca?catalog=acme").unwrap()).unwrap();
    let list = security.get_bytes("/device/v1/crl?catalog=acme").unwrap();
    std::fs::write(at("list"), list).unwrap();
    let options = ["verify", "-x509_strict", "-purpose", "sslclient", "-crl_check"];
    let files = ["-CAfile", &at("authority"), "-CRLfile", &at("list")];
    openssl(&[options.as_slice(), &files].concat(), certificate)
}

/// Debian's `openssl` with this for its input; what it says, when it is content and when it is not.
fn openssl(words: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("openssl")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if done.status.success() { Ok(said) } else { Err(said) }
}
