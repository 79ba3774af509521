//! The root of trust's broker, attestd, under attack by an app that may call it; and the disk of a board that somebody puts
//! into another. On the reference board, since it takes a TPM.

use crate::attestd::memory;
use crate::heart;
use device_test::{App, Bench, PATIENCE};

const ATTESTD: u32 = 1005;
/// By how much an attack may leave attestd larger, KiB of memory of its own: a page of each kind that it had not touched before, and
/// what glibc does not give back. Of its program's pages more or fewer may be its share at any time, as its neighbours have them too.
/// How large it may be is the concern of `attestd.rs`, where it works beside netd as on a device in use.
const LEFT_MAX: u32 = 192;
const USES: &str = "[uses]\n\"os.gabion.Certificate\" = [\"GetChain\", \"Sign\", \"Attest\"]\n";

#[test]
fn broker_that_an_app_attacks_gives_it_nothing_of_others_and_goes_on_serving_them() {
    let nonce = "{\"nonce\":\"AAAAAAAAAAA=\"}";
    let victim = App::peer("org.test.victim", &["every", "os.gabion.Certificate", "Attest", nonce]);
    let proof = App::peer("org.test.proof", &["file", "os.gabion.Certificate", "Attest", nonce]);
    let attacker = App::broker_peer("org.test.attacker")
        .resources("memory = \"24MiB\"\ncpu = \"100%\"\ntasks = 80\nopen_files = 4096\n");
    let mut device = Bench::new("broker")
        .app(heart())
        .app(victim.tables(USES))
        .app(proof.tables(USES))
        .app(attacker.tables(USES))
        .memory_mib(160)
        .board()
        .boot()
        .unwrap();
    device.wait_for("[org.test.victim] peer: Ok(\"{\\\"parameters\\\":{\\\"evidence\\\":0");
    let [pid] = device.pids(ATTESTD, "attestd")[..] else { panic!("not one attestd") };
    let before = memory(&mut device, pid, "Anonymous");
    // Whose proof it is follows from who asks.
    device.wait_for("[org.test.proof] peer: file of * bytes begins *{\\\"app\\\":\\\"org.test.proof\\\"");

    device.wait_for("[org.test.attacker] broker: ends Ok(())");
    let said =
        |text: &str| device.console().lines(0, &format!("[org.test.attacker] broker: {text}")).join("\n");
    let (length, parameter) = ("os.gabion.Certificate.WrongLength", "org.varlink.service.InvalidParameter");
    for (what, answer) in [
        ("Sign empty", length),
        ("Sign short", length),
        ("Sign long", length),
        ("Sign huge", "end"),
        ("Sign no-base64", parameter),
        ("Sign negative", parameter),
        ("Sign number", parameter),
        ("Sign algorithm", parameter),
        ("Sign another", parameter),
        ("Attest another", parameter),
        ("GetChain another", parameter),
        ("Attest empty", length),
        ("Attest short", length),
        ("Attest long", length),
        ("Attest huge", "end"),
        ("Sign endless", "end"),
        ("handles", "10000 tried"),
        ("unread", "8 of 8 ended"),
        ("threads", "\"threads\": 64"),
        ("afterwards", "ok"),
    ] {
        assert!(said(what).contains(answer), "{what}: {}", said(what));
    }

    let mark = device.console().mark();
    device.wait_count(
        mark,
        "[org.test.victim] peer: Ok(\"{\\\"parameters\\\":{\\\"evidence\\\":0",
        3,
        PATIENCE,
    );
    device.wait_count(mark, "[org.test.heart] beat", 2, PATIENCE);
    assert_eq!(device.pids(ATTESTD, "attestd"), [pid], "attestd was started again");
    assert!(device.console().lines(0, "event exited id=os.gabion.attest").is_empty());
    let after = memory(&mut device, pid, "Anonymous");
    assert!(after <= before + LEFT_MAX, "attestd has {after} KiB after the attack, and had {before} before");
}

#[test]
fn disk_on_another_board_stays_shut_and_opens_again_on_its_own() {
    let scribe = "echo secret > /data/kept; cat /data/kept; sleep 1000";
    let app = App::shell("org.test.scribe", scribe)
        .resources("memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n");
    let device = Bench::new("moved").app(heart()).app(app).board().boot().unwrap();
    device.wait_for("first boot: sealed ");
    device.wait_for("[org.test.scribe] secret");
    let off = device.power_button();
    let own = off.take_board().unwrap();
    let device = off.boot().unwrap();
    let mark = device.console().mark();
    device.wait_for("the storage stays locked: *another storage root key");
    assert!(device.console().lines(mark, "event started id=org.test.").is_empty());
    let off = device.cut_power();
    assert!(off.console().lines(0, "event started id=org.test.").is_empty());
    off.put_board(&own).unwrap();
    let device = off.boot().unwrap();
    device.wait_for("[org.test.scribe] secret");
    assert!(device.console().lines(0, "first boot: sealed").is_empty());
}
