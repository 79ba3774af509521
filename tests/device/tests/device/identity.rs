//! A device and the Security Service that it belongs to: a real one, at the site, as an operator sets it up.

use device_test::site::servers;
use device_test::site::service::Security;
use device_test::{App, Bench, Device, PATIENCE, Site, word};
use std::io::Write;
use std::process::{Command, Stdio};

/// Certificates of ten minutes, renewed each minute: a round is never far.
const SOON: [&str; 4] = ["--certificate-s", "600", "--renew-after-s", "60"];
/// What an app names that gets a certificate.
const USES: &str = "[uses]\n\"os.gabion.Certificate\" = [\"GetChain\", \"GetAuthorities\", \"Sign\"]\n";

/// Debian's curl, as it is: it knows of no certificate of its own.
const CALLER: &str = "
until /usr/bin/curl -sS --fail http://localhost:8080/; do /bin/busybox sleep 1; done
echo done
";
/// The same without a word of the manifest: neither `gabion-tls` has a certificate for it, nor is there any other way.
const STRANGER: &str = "
/bin/gabion-tls --connect 8080=web.example:8443 --ca /etc/ca.pem -- /bin/true
echo ended with $?
until /usr/bin/curl -sS --cacert /etc/ca.pem https://web.example:8443/ | /bin/busybox grep '<center>'; do
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
fn site() -> (Site, Security) {
    let site = Site::new().unwrap();
    site.serve(servers::dnsmasq(&site).unwrap());
    site.serve(servers::chronyd(&site).unwrap());
    let security = Security::start(&site, &SOON).unwrap();
    security.done(&["catalog", "add", "acme"]).unwrap();
    security.done(&["product", "add", "acme", "meter"]).unwrap();
    security.done(&["group", "add", "acme", "meter", "field"]).unwrap();
    (site, security)
}

fn manifest(id: &str, exec: &str, rest: &str) -> String {
    format!(
        "[app]\nid = \"{id}\"\nversion = \"1.0.0\"\nexec = [{exec}]\n[resources]\nmemory = \"32MiB\"\ncpu = \"200%\"\n\
         tasks = 16\n[lifecycle]\nrestart = \"always\"\n{rest}"
    )
}

/// A manifest of what talks plainly to `port` of its own loopback, which is `to` over TLS.
fn through_tls(id: &str, port: u16, to: &str, program: &str) -> String {
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
    let stranger = "[network]\nconnect = [\"web.example:8443/tcp\", \"localhost:8080/tcp\"]\nlisten = [\"localhost:8080/tcp\"]\n";
    let subscriber = "\"/usr/bin/mosquitto_sub\", \"-h\", \"localhost\", \"-t\", \"readings\"";
    let broker = "broker.example:8884";
    [
        visitor("curl", &through_tls("org.test.curl", 8080, "web.example:8443", work))
            .file("bin/work", CALLER),
        visitor("curl", &manifest("org.test.stranger", work, stranger))
            .directory("org.test.stranger")
            .file("bin/work", STRANGER),
        visitor("publisher", &through_tls("org.test.publisher", 1883, broker, work))
            .file("bin/work", PUBLISHER),
        visitor("subscriber", &through_tls("org.test.subscriber", 1883, broker, subscriber)),
    ]
}

/// Claims the device as its console says; gives its id.
#[track_caller]
fn claimed(security: &Security, device: &Device) -> String {
    let line = device.wait_for("event attest: to claim it: gabion device claim CATALOG ");
    let (_, said) = line.split_once(": gabion ").unwrap();
    let said = said.replace("CATALOG", "acme").replace("PRODUCT", "meter").replace("GROUP", "field");
    let words: Vec<&str> = said.split_whitespace().collect();
    security.done(&words).unwrap();
    words[3].to_owned()
}

#[track_caller]
fn publish(security: &Security, name: &str, device: &Device) {
    let reference = device.system().unwrap().reference;
    security.done(&["release", "publish", "acme", name, reference.to_str().unwrap()]).unwrap();
}

#[test]
fn device_is_enrolled_claimed_attested_and_its_apps_are_who_they_are_until_it_is_revoked() {
    let (site, security) = site();
    let authority = security.get("/device/v1/ca?catalog=acme").unwrap();
    site.serve(servers::nginx_for(&site, &authority).unwrap());
    site.serve(servers::mosquitto_for(&site, &security.root().unwrap()).unwrap());
    let bench = Bench::new("identity").board().memory_mib(192).beside(&site);
    let bench = bench.service(&security.settings().unwrap());
    let device = apps(&site).into_iter().fold(bench, Bench::app).boot().unwrap();
    device.wait_for("event attest: enrolled device=");
    device.wait_for("event attest: no certificate: the service refuses: nobody has claimed the device");
    let id = claimed(&security, &device);
    device.wait_for(
        "event attest: no certificate: the service refuses: PCR 11 is not of any published release",
    );
    publish(&security, "v1", &device);
    let line = device.wait_for("event attest: attested ");
    assert_eq!((word(&line, "device"), word(&line, "certificates")), (Some(id.as_str()), Some("4")));
    verdict(&security, &id);
    clients(&site, &security, &device, &id);
    device.power_button().check_data().unwrap_err();
}

/// What an operator sees of it.
#[track_caller]
fn verdict(security: &Security, id: &str) {
    let shown = security.done(&["attest", "show", "acme", id]).unwrap();
    println!("{shown}");
    assert!(shown.starts_with("passed\nrelease v1\n"), "{shown}");
}

/// Unmodified clients show the apps' certificates, and whoever has no grant has none.
#[track_caller]
fn clients(site: &Site, security: &Security, device: &Device, id: &str) {
    device.wait_for("[org.test.curl] hello CN=org.test.curl");
    device.wait_for("[org.test.stranger] gabion-tls: the manifest does not name os.gabion.Certificate");
    device.wait_for("[org.test.stranger] ended with 2");
    device.wait_for("[org.test.stranger] *No required SSL certificate was sent");
    device.wait_count(0, "[org.test.subscriber] reading ", 2, PATIENCE);
    let broker = site.said("mosquitto-for");
    for app in ["publisher", "subscriber"] {
        broker.wait(0, &format!("New client connected from *u'org.test.{app}'"), PATIENCE).unwrap();
    }
    let shown = servers::shown(site).unwrap();
    let one = &shown[..shown.find("-----END CERTIFICATE-----").unwrap() + 26];
    let text = openssl(&["x509", "-noout", "-subject", "-ext", "subjectAltName,extendedKeyUsage"], one);
    for name in
        [format!("URI:gabion:device/{id}/app/org.test.curl"), "URI:gabion:group/acme/meter/field".to_owned()]
    {
        assert!(text.contains(&name), "{text}");
    }
    verified(security, one);
}

/// OpenSSL follows it to the catalog's authority, which is all that it trusts, and finds it on no list.
#[track_caller]
fn verified(security: &Security, certificate: &str) {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("authority"), security.get("/device/v1/ca?catalog=acme").unwrap()).unwrap();
    std::fs::write(at("list"), security.get_bytes("/device/v1/crl?catalog=acme").unwrap()).unwrap();
    let options = ["verify", "-x509_strict", "-purpose", "sslclient", "-crl_check"];
    let files = ["-CAfile", &at("authority"), "-CRLfile", &at("list")];
    let said = openssl(&[options.as_slice(), &files].concat(), certificate);
    assert!(said.contains("stdin: OK"), "{said}");
}

/// Debian's `openssl` with this for its input; what it says.
#[track_caller]
fn openssl(words: &[&str], input: &str) -> String {
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
    assert!(done.status.success(), "{words:?}: {said}");
    said
}
