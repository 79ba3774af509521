//! Developers' packages: the test speaks for `appsd`, at the standard input of its box.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bus::bulk;
use bus::desk::{Answer, Ask, Asked, Told};
use bus::devport::FILE_MAX;
use packing::gab::Signer;
use packing::verity::Verified;
use packing::{app, gab};
use sandboxd::worker::{package_question, work};
use sys::channel;

use crate::rig::{DESK, PATIENCE, Rig, make_app};

const A: &str = "com.example.a";
const B: &str = "com.example.b";

/// A rig with the box of the desk, of which the link alone is used.
fn rig() -> Rig {
    let rig = Rig::new();
    rig.add_system_box(
        "os.gabion.apps",
        &[(Path::new("/bin/sleep"), "bin/sleep")],
        "[\"/bin/sleep\", \"1000\"]",
    );
    rig
}

fn ask(rig: &mut Rig, ask: Ask, file: Option<OwnedFd>) -> Answer {
    let files: Vec<_> = file.iter().map(AsRawFd::as_raw_fd).collect();
    channel::send(rig.link_of(DESK), &Asked { number: 7, ask }.encode(), &files).unwrap();
    let began = Instant::now();
    loop {
        rig.step();
        if let Ok(Some((bytes, _))) = channel::receive(rig.link_of(DESK))
            && let Told::Answer(7, answer) = Told::decode(&bytes).unwrap()
        {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "no answer:\n{}", rig.console());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The package of an app.
fn package(id: &str, version: &str, script: &str, more: &str) -> Vec<u8> {
    signed_package(None, id, version, script, more)
}

fn signed_package(signer: Option<&Signer>, id: &str, version: &str, script: &str, more: &str) -> Vec<u8> {
    let made = tempfile::tempdir().unwrap();
    make_app(made.path(), id, version, script, more);
    let inside = made.path().join("root").join(gab::MANIFEST);
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    fs::copy(made.path().join("manifest.toml"), inside).unwrap();
    app::root_to_image(made.path()).unwrap();
    let words = fs::read_to_string(made.path().join("root.verity")).unwrap();
    let verified = Verified::from_text(&made.path().join("root.img"), &words).unwrap();
    let to = made.path().join("a.gab");
    gab::write(&verified, signer, &to).unwrap();
    fs::read(to).unwrap()
}

fn send(rig: &mut Rig, bytes: &[u8]) -> u32 {
    let Answer::Begun(upload) = ask(rig, Ask::Begin(bytes.len() as u64), None) else { panic!() };
    for (part, at) in bytes.chunks(FILE_MAX).zip((0..).step_by(FILE_MAX)) {
        let part = bulk::seal(c"part", part).unwrap();
        assert_eq!(ask(rig, Ask::Put(upload, at), Some(part)), Answer::Done);
    }
    upload
}

fn install(rig: &mut Rig, bytes: &[u8]) -> Answer {
    let upload = send(rig, bytes);
    ask(rig, Ask::Install(upload), None)
}

fn installed(rig: &mut Rig, bytes: &[u8]) {
    let answer = install(rig, bytes);
    assert!(matches!(answer, Answer::Installed(..)), "{answer:?}\n{}", rig.console());
}

fn refused(rig: &mut Rig, bytes: &[u8]) -> String {
    match install(rig, bytes) {
        Answer::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

fn developed(rig: &mut Rig) -> Vec<(String, String, Option<String>)> {
    match ask(rig, Ask::Developed(String::new()), None) {
        Answer::Developed(all) => all.into_iter().map(|app| (app.app, app.version, app.beneath)).collect(),
        other => panic!("{other:?}"),
    }
}

fn entries(dir: PathBuf) -> usize {
    fs::read_dir(dir).into_iter().flatten().count()
}

#[test]
fn app_deployed_again_keeps_its_data_and_is_removed_with_it() {
    let mut rig = rig();
    rig.start_manager();
    rig.until("ready boxes=");
    installed(&mut rig, &package(A, "1.0.0", "echo one > /data/mark; echo first; exec sleep 1000", ""));
    rig.until("[com.example.a] first");
    let again = package(A, "1.0.0", "cat /data/mark; echo second; exec sleep 1000", "");
    installed(&mut rig, &again);
    rig.until("[com.example.a] one");
    rig.until("[com.example.a] second");
    assert_eq!(developed(&mut rig), [(A.to_owned(), "1.0.0".to_owned(), None)]);
    assert!(
        rig.path("data/developed/com.example.a/mark").exists() && !rig.path("data/apps").join(A).exists()
    );
    assert_eq!(fs::read_dir(rig.path("data/gabion/packages").join(A)).unwrap().count(), 1);
    assert_eq!(entries(rig.path("data/gabion/packages/uploads")), 0);
    // It is there after a boot, and goes whole.
    rig.boot();
    rig.until("[com.example.a] second");
    assert_eq!(ask(&mut rig, Ask::Remove("com.example.none".to_owned()), None), Answer::NoApp);
    assert_eq!(ask(&mut rig, Ask::Remove(A.to_owned()), None), Answer::Done);
    assert!(developed(&mut rig).is_empty() && rig.pid_of(10_000).is_none());
    for gone in ["data/developed", "data/logs", "data/gabion/packages"] {
        assert!(!rig.path(gone).join(A).exists(), "{gone}");
    }
    // One that was crashing, or stopped by hand, is deployed as well.
    installed(&mut rig, &package(A, "1.1.0", "exit 1", "[lifecycle]\nrestart = \"never\"\n"));
    rig.until("event exited id=com.example.a");
    assert_eq!(ask(&mut rig, Ask::Stop(A.to_owned()), None), Answer::Done);
    installed(&mut rig, &again);
    rig.until("[com.example.a] second");
}

#[test]
fn app_of_the_image_replaced_keeps_its_own_data_and_comes_back_by_leave() {
    let mut rig = rig();
    rig.add_app(B, "ls /data; echo own >> /data/own; echo image; exec sleep 1000", "");
    rig.start_manager();
    rig.until("[com.example.b] image");
    // A lower version, too.
    installed(
        &mut rig,
        &package(B, "0.1.0", "ls /data; echo x > /data/theirs; echo developer; exec sleep 1000", ""),
    );
    rig.until("[com.example.b] developer");
    assert!(!rig.console().contains("[com.example.b] own"), "it sees nothing of what it lies above");
    installed(&mut rig, &package(A, "1.0.0", "echo other; exec sleep 1000", ""));
    assert_eq!(developed(&mut rig).pop().unwrap().2.as_deref(), Some("image"));
    rig.boot();
    rig.until("[com.example.b] developer");
    let before = rig.console().len();
    assert_eq!(ask(&mut rig, Ask::Leave, None), Answer::Left(2));
    rig.until("[com.example.b] own");
    rig.until("[com.example.b] image");
    assert!(!rig.console()[before..].contains("[com.example.b] theirs"), "nor that of what lay above it");
    assert!(developed(&mut rig).is_empty() && entries(rig.path("data/developed")) == 0);
    let text = fs::read_to_string(rig.path("data/gabion/installed")).unwrap();
    assert!(!text.contains("app ") && !text.contains("developer "), "{text}");
    rig.boot();
    rig.until("[com.example.b] image");
}

#[test]
fn package_that_is_not_good_is_refused_with_the_reason_and_changes_nothing() {
    let mut rig = rig();
    rig.start_manager();
    rig.until("ready boxes=");
    installed(&mut rig, &package(A, "1.0.0", "echo runs; exec sleep 1000", ""));
    rig.until("[com.example.a] runs");
    let pid = rig.pid_of(10_000);
    let good = package(A, "1.0.1", "echo other; exec sleep 1000", "");
    let why = refused(&mut rig, &package(A, "1.0.1", "x", "[lifecycle]\nrestrat = \"never\"\n"));
    assert!(why.contains("manifest.toml:11") && why.contains("did you mean `restart`?"), "{why}");
    assert!(refused(&mut rig, &good[..good.len() / 2]).contains("is cut short"));
    for (at, what) in [(512, "no GUID partition table"), (1024, "checksum"), (20 << 10, "EROFS")] {
        let mut bytes = good.clone();
        bytes[at..at + 2000].fill(0);
        let why = refused(&mut rig, &bytes);
        assert!(
            why.contains(what) || why.contains("cannot be read") || why.contains("no package"),
            "{what}: {why}"
        );
    }
    let system = package("os.gabion.apps", "9.0.0", "x", "");
    let why = refused(&mut rig, &system);
    assert!(why.contains("below os.gabion"), "{why}");
    assert!(
        matches!(ask(&mut rig, Ask::Install(99), None), Answer::Refused(why) if why.contains("begin again"))
    );
    let upload = send(&mut rig, &good);
    let past = bulk::seal(c"part", b"x").unwrap();
    let answer = ask(&mut rig, Ask::Put(upload, good.len() as u64), Some(past));
    assert!(matches!(answer, Answer::Refused(why) if why.contains("past the end")));
    assert!(matches!(ask(&mut rig, Ask::Put(upload, 0), None), Answer::Refused(_)));
    // Not one for ever: the oldest gives way.
    (0..4).for_each(|_| drop(ask(&mut rig, Ask::Begin(8192), None)));
    assert!(matches!(ask(&mut rig, Ask::Install(upload), None), Answer::Refused(_)));
    assert_eq!(entries(rig.path("data/gabion/packages/uploads")), 4);
    assert_eq!((rig.pid_of(10_000), developed(&mut rig).len()), (pid, 1));
    // What was begun is gone after a restart, and the way is free.
    rig.kill_manager();
    rig.start_manager();
    rig.until("ready boxes=");
    assert_eq!(entries(rig.path("data/gabion/packages/uploads")), 0);
    installed(&mut rig, &good);
    rig.until("[com.example.a] other");
}

/// A key on P-256 with its certificate; and the key as a permit has it.
fn key(place: &Path, name: &str) -> (Signer, [u8; 64]) {
    let signer = Signer { key: place.join(name), certificate: place.join(name).with_extension("crt") };
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").current_dir(place).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    let (key, certificate) = (signer.key.to_str().unwrap(), signer.certificate.to_str().unwrap());
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]);
    openssl(&["req", "-x509", "-key", key, "-subj", "/CN=a developer", "-out", certificate]);
    let public = openssl(&["ec", "-in", key, "-pubout", "-outform", "DER"]);
    let point = public[public.len() - 64..].try_into().unwrap();
    (signer, point)
}

/// What the worker says of a package that must be signed by `key`: the kind of its answer, and the text.
fn asked(bytes: &[u8], key: &[u8; 64]) -> (u8, String) {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    let said = work(&package_question(1, bytes.len() as u64, Some(key)), Some(file)).unwrap();
    (said[4], String::from_utf8_lossy(&said[5..]).into_owned())
}

#[test]
fn package_is_taken_behind_a_permit_if_its_key_has_signed_it_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let ((ours, our_key), (theirs, their_key)) = (key(place.path(), "ours"), key(place.path(), "theirs"));
    let signed = |signer| signed_package(signer, A, "1.0.0", "exec sleep 1000", "");
    let good = signed(Some(&ours));
    assert_eq!(asked(&good, &our_key).0, 3);
    assert!(asked(&good, &their_key).1.contains("signed by another key"));
    assert!(asked(&signed(Some(&theirs)), &our_key).1.contains("signed by another key"));
    assert!(asked(&signed(None), &our_key).1.contains("nobody has signed it"));
    // A signature of another package of the same developer.
    let other = signed_package(Some(&ours), B, "1.0.0", "exec sleep 1000", "");
    let at = |bytes: &[u8]| bytes.windows(10).position(|part| part == b"{\"certific").unwrap();
    let (from, to) = (at(&other), at(&good));
    let mut swapped = good.clone();
    swapped[to..to + 2000].copy_from_slice(&other[from..from + 2000]);
    assert!(asked(&swapped, &our_key).1.contains("for another image"));
    // What is last in the message is the signature itself.
    let end = to + good[to..].windows(2).position(|part| part == b"\"}").unwrap();
    let mut flipped = good;
    flipped[end - 20] ^= 1;
    assert_eq!(asked(&flipped, &our_key).0, 1);
}
