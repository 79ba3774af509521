//! attestd itself, on the reference board and with a real Security Service: how much memory a round leaves it with, which
//! system calls it makes, and the recovery key that it hands over.

use device_test::site::servers;
use device_test::site::service::Security;
use device_test::{App, Bench, Device, Site};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const ATTESTD: u32 = 1005;
/// PSS of attestd that is allowed, KiB.
const PSS_MAX: u32 = 4096;
const EVIDENCE: &str = include_str!("../../../programs/need/system/attest.txt");
/// What its filter has besides: whether they come is the machine's doing. A kernel that finds the processor's counter of time
/// uneven, as it may be under emulation, reads the clock itself; and waiting goes on after a stop.
const AT_TIMES: [&str; 2] = ["clock_gettime", "restart_syscall"];
/// The kernel's numbers, as C has them.
const NUMBERS: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
const NONCE: &str = "{\"nonce\":\"AAAAAAAAAAA=\"}";

/// What a process has, by a field of proc_pid_smaps(5), KiB.
pub(crate) fn memory(device: &mut Device, pid: u32, field: &str) -> u32 {
    let text = device.agent(&format!("cat /proc/{pid}/smaps_rollup"));
    let line = text.iter().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The names of calls by their numbers, a line each.
fn names(numbers: &[String]) -> BTreeSet<String> {
    let header = std::fs::read_to_string(NUMBERS).unwrap();
    let named = |number: &String| {
        let line = header.lines().find(|line| line.split(' ').nth(2) == Some(number.as_str()));
        line.and_then(|line| line.split(' ').nth(1)?.strip_prefix("__NR_")).unwrap().to_owned()
    };
    numbers.iter().map(named).collect()
}

/// Whether `key` opens the disk at `data`, by cryptsetup.
fn opens(data: &Path, key: &str) -> bool {
    let mut cryptsetup = Command::new("/usr/sbin/cryptsetup")
        .args(["open", "--test-passphrase", "--key-file", "-"])
        .arg(data)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    cryptsetup.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
    cryptsetup.wait().unwrap().success()
}

#[test]
fn attestd_is_small_after_a_round_calls_what_is_in_evidence_and_hands_a_recovery_key_over() {
    let site = Site::new().unwrap();
    site.serve(servers::dnsmasq(&site).unwrap());
    site.serve(servers::chronyd(&site).unwrap());
    let security = Security::start(&site, &["--certificate-s", "600", "--renew-after-s", "60"]).unwrap();
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), "{\"secure_boot\":true,\"debug\":false,\"escrow\":true}").unwrap();
    for act in [
        vec!["catalog", "add", "acme"],
        vec!["product", "add", "acme", "meter"],
        vec!["group", "add", "acme", "meter", "field"],
        vec!["group", "policy", "acme", "meter", "field", policy.path().to_str().unwrap()],
    ] {
        security.done(&act).unwrap();
    }
    let uses = "[uses]\n\"os.gabion.Certificate\" = [\"GetChain\", \"Sign\", \"Attest\"]\n";
    let sign =
        "{\"digest\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"algorithm\":\"ecdsa-p256-sha256\"}";
    // It is watched, which nobody is on a device.
    let bench = Bench::new("attestd").board().words("sysctl.kernel.yama.ptrace_scope=0");
    let bench = bench.memory_mib(160).beside(&site);
    let mut device = bench
        .service(&security.settings().unwrap())
        .app(App::peer("org.test.signer", &["every", "os.gabion.Certificate", "Sign", sign]).tables(uses))
        .app(App::peer("org.test.prover", &["every", "os.gabion.Certificate", "Attest", NONCE]).tables(uses))
        .boot()
        .unwrap();
    device.agent(&format!("watch {ATTESTD} attestd"));
    let reference = device.system().unwrap().reference;
    security.done(&["release", "publish", "acme", "v1", reference.to_str().unwrap()]).unwrap();
    let line = device.wait_for("event attest: to claim it: gabion device claim CATALOG ");
    let words: Vec<&str> = line.split_once(" CATALOG ").unwrap().1.split(' ').collect();
    let (id, code) = (words[0], words[1]);
    let claim = ["device", "claim", "acme", id, code, "--product", "meter", "--group", "field"];
    security.done(&claim).unwrap();
    device.wait_for("event attest: attested ");
    device.wait_for("event attest: the service has a recovery key of the storage");
    device.wait_for("[org.test.signer] peer: Ok(\"{\\\"parameters\\\":{\\\"signature\\\":");
    device.wait_for("[org.test.prover] peer: Ok(\"{\\\"parameters\\\":{\\\"evidence\\\":0");

    // Anew: what it calls at its start is seen from its first moments on.
    let [pid] = device.pids(ATTESTD, "attestd")[..] else { panic!("not one attestd") };
    let mark = device.console().mark();
    device.agent(&format!("kill {pid} SIGKILL"));
    device.wait_after(mark, "event attest: attested ");
    device.wait_after(mark, "[org.test.signer] peer: Ok(\"{\\\"parameters\\\":{\\\"signature\\\":");
    let [pid] = device.pids(ATTESTD, "attestd")[..] else { panic!("not one attestd") };
    let pss = memory(&mut device, pid, "Pss");
    println!("attestd: {pss} KiB PSS");
    let seen = names(&device.agent("watched"));
    println!("attestd calls {}", seen.iter().cloned().collect::<Vec<_>>().join(" "));
    let known: BTreeSet<String> = EVIDENCE.lines().chain(AT_TIMES).map(str::to_owned).collect();
    let unknown: Vec<&String> = seen.difference(&known).collect();
    assert!(unknown.is_empty(), "not in its evidence: {unknown:?}");
    assert!(seen.contains("openat") && seen.contains("connect"), "it was not watched: {seen:?}");
    assert!(pss <= PSS_MAX, "attestd has {pss} KiB after a round");

    let off = device.power_button();
    let key = security.done(&["device", "recovery-key", "acme", id]).unwrap();
    assert!(opens(&off.data(), key.trim()), "the recovery key does not open the disk");
    assert!(!opens(&off.data(), &key.trim().replace('c', "b")));
    let on_disk = std::fs::read(off.data()).unwrap();
    let clear = on_disk.windows(key.trim().len()).any(|window| window == key.trim().as_bytes());
    assert!(!clear, "the key is on the disk");
}
