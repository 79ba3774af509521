//! Packages that come by updates: the test speaks for `updated`, at the standard input of its box.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bus::bulk;
use bus::update_link::{App, FromUpdated, Package, ToUpdated};
use sys::channel;

use crate::rig::{PATIENCE, Rig, make_app};

const A: &str = "com.example.a";
const B: &str = "com.example.b";
const RUNS: &str = "echo runs; exec sleep 1000";

/// A rig with updated's box, of which the link alone is used.
fn rig() -> Rig {
    let rig = Rig::new();
    rig.add_system_box(
        "os.gabion.update",
        &[(Path::new("/bin/sleep"), "bin/sleep")],
        "[\"/bin/sleep\", \"1000\"]",
    );
    rig
}

fn say(rig: &mut Rig, message: &FromUpdated, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    channel::send(rig.link(), &message.encode(), &fds).unwrap();
}

/// The next message for which `wanted` has something.
fn hear<T>(rig: &mut Rig, wanted: impl Fn(ToUpdated, Vec<OwnedFd>) -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        rig.step();
        if let Ok(Some((bytes, fds))) = channel::receive(rig.link())
            && let Some(found) = wanted(ToUpdated::decode(&bytes).unwrap(), fds.unwrap())
        {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "nothing to hear:\n{}", rig.console());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn refused(rig: &mut Rig) -> String {
    hear(rig, |message, _| if let ToUpdated::Refused(why) = message { Some(why) } else { None })
}

fn installed(rig: &mut Rig) {
    hear(rig, |message, _| match message {
        ToUpdated::Refused(why) => panic!("{why}"),
        message => (message == ToUpdated::Installed).then_some(()),
    });
}

fn settled(rig: &mut Rig) -> Option<String> {
    hear(rig, |message, _| if let ToUpdated::Settled(why) = message { Some(why) } else { None })
}

fn told(rig: &mut Rig, wanted: impl Fn(&App) -> bool) -> App {
    hear(rig, |message, _| if let ToUpdated::App(app) = message { Some(app).filter(&wanted) } else { None })
}

/// Makes the package of an app, has its image fetched, and gives what installs it.
fn fetch(rig: &mut Rig, id: &str, version: &str, script: &str, more: &str) -> (Package, OwnedFd) {
    let made = tempfile::tempdir().unwrap();
    make_app(made.path(), id, version, script, more);
    let image = made.path().join("root.img");
    let packed = Command::new("mkfs.erofs")
        .args(["--quiet", "-zlz4hc,12", "-T0", "-x-1", "--all-root"])
        .args([&image, &made.path().join("root")])
        .output();
    assert!(packed.unwrap().status.success(), "mkfs.erofs of erofs-utils");
    let mut bytes = fs::read(&image).unwrap();
    let blocks = bytes.len() / 4096;
    // Where the hashes would be, which this kernel may not be able to look at.
    bytes.extend([0; 8192]);
    let file = incoming(rig, id, version, bytes.len());
    file.write_all_at(&bytes, 0).unwrap();
    let hash = "ab".repeat(32);
    let verity = format!("data_blocks={blocks} hash_start_block={} root_hash={hash} salt=00ff\n", blocks + 1);
    let manifest = bulk::seal(c"manifest", &fs::read(made.path().join("manifest.toml")).unwrap()).unwrap();
    (Package { id: id.to_owned(), version: version.to_owned(), verity: verity.trim().to_owned() }, manifest)
}

fn incoming(rig: &mut Rig, id: &str, version: &str, length: usize) -> File {
    say(rig, &FromUpdated::Incoming(id.to_owned(), version.to_owned(), length as u64), &[]);
    hear(rig, |message, fds| match message {
        ToUpdated::Refused(why) => panic!("{why}"),
        message => (message == ToUpdated::Incoming).then(|| File::from(fds.into_iter().next().unwrap())),
    })
}

fn install(rig: &mut Rig, packages: Vec<(Package, OwnedFd)>, seconds: u32) {
    let (packages, manifests): (Vec<_>, Vec<_>) = packages.into_iter().unzip();
    say(rig, &FromUpdated::Install(packages, seconds), &manifests);
}

/// Installs one app and waits until that is settled.
fn settle(rig: &mut Rig, id: &str, version: &str, script: &str) {
    let package = fetch(rig, id, version, script, "");
    install(rig, vec![package], 1);
    installed(rig);
    assert_eq!(settled(rig), None, "{}", rig.console());
}

fn start(rig: &mut Rig) {
    rig.start_manager();
    rig.until("ready boxes=");
    say(rig, &FromUpdated::Hello, &[]);
}

/// The numbers of the packages of an app that are on the disk.
fn packages(rig: &Rig, id: &str) -> Vec<String> {
    let numbers = fs::read_dir(rig.path("data/gabion/packages").join(id)).into_iter().flatten();
    let mut numbers: Vec<String> = numbers.map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
    numbers.sort();
    numbers
}

#[test]
fn package_installed_runs_and_the_next_goes_on_with_its_data() {
    let mut rig = rig();
    rig.add_app("com.example.own", RUNS, "");
    start(&mut rig);
    let own = told(&mut rig, |app| app.running);
    assert_eq!((own.id.as_str(), own.installed, own.version.as_str()), ("com.example.own", false, "1.0.0"));
    settle(&mut rig, A, "1.0.0", "echo one > /data/mark; echo first; exec sleep 1000");
    let (uid, first) = (10_001, rig.pid_of(10_001).unwrap());
    let package = fetch(&mut rig, A, "1.1.0", "cat /data/mark; exec sleep 1000", "");
    install(&mut rig, vec![package], 10);
    let app = told(&mut rig, |app| app.version == "1.1.0" && app.running);
    assert_eq!((app.uid, app.installed, app.root_hash.len()), (uid, true, 64));
    assert_eq!(packages(&rig, A), ["0", "1"], "what it would go back to is there while it is on trial");
    assert_eq!(settled(&mut rig), None);
    rig.until("[com.example.a] one");
    assert_ne!(rig.pid_of(uid), Some(first));
    assert_eq!(packages(&rig, A), ["1"]);
    assert_eq!(fs::read_dir(rig.path("data/gabion/packages/incoming")).unwrap().count(), 0);
    // And after a boot.
    rig.boot();
    rig.until("[com.example.a] one");
    say(&mut rig, &FromUpdated::Hello, &[]);
    // Over the image's own.
    settle(&mut rig, "com.example.own", "1.0.1", "echo updated; exec sleep 1000");
    rig.until("[com.example.own] updated");
    assert!(!rig.console().contains("problem id=com."), "{}", rig.console());
}

#[test]
fn package_that_crashes_in_its_trial_takes_all_that_came_with_it_back() {
    let mut rig = rig();
    rig.add_app(B, RUNS, "");
    start(&mut rig);
    settle(&mut rig, A, "1.0.0", "echo first; exec sleep 1000");
    let together = vec![
        fetch(&mut rig, A, "2.0.0", "echo second; exec sleep 1000", ""),
        fetch(&mut rig, B, "2.0.0", "sleep 0.3; exit 3", ""),
        fetch(&mut rig, "com.example.new", "2.0.0", RUNS, ""),
    ];
    install(&mut rig, together, 600);
    installed(&mut rig);
    assert_eq!(settled(&mut rig).unwrap(), "com.example.b: it ended: exit 3");
    rig.until("event taken-back");
    // In whatever order they come up.
    let mut back = BTreeMap::new();
    while back.len() < 2 {
        let app = told(&mut rig, |app| app.running && app.version == "1.0.0");
        back.insert(app.id, app.installed);
    }
    assert_eq!(back, BTreeMap::from([(A.to_owned(), true), (B.to_owned(), false)]));
    assert_eq!((packages(&rig, A), packages(&rig, B)), (vec!["0".to_owned()], vec![]));
    assert!(rig.pid_of(10_002).is_none());
    // Another updated hears it, too.
    say(&mut rig, &FromUpdated::Hello, &[]);
    assert_eq!(settled(&mut rig).unwrap(), "com.example.b: it ended: exit 3");
    // Until it asks for something else: then it is not taken for how that ended.
    incoming(&mut rig, B, "2.0.1", 8192);
    say(&mut rig, &FromUpdated::Hello, &[]);
    hear(&mut rig, |message, _| match message {
        ToUpdated::Settled(why) => panic!("{why:?}"),
        message => (message == ToUpdated::SyncEnd).then_some(()),
    });
    // And another attempt is free to go.
    settle(&mut rig, B, "2.0.1", RUNS);
}

#[test]
fn trial_that_is_cut_goes_on_after_the_boot_three_times_at_most() {
    let mut rig = rig();
    start(&mut rig);
    settle(&mut rig, A, "1.0.0", "echo first; exec sleep 1000");
    let package = fetch(&mut rig, A, "2.0.0", "echo second; exec sleep 1000", "");
    install(&mut rig, vec![package], 600);
    installed(&mut rig);
    rig.until("[com.example.a] second");
    for tries in 2..=3 {
        rig.boot();
        rig.until(&format!("event trial-again tries={tries}"));
        rig.until("[com.example.a] second");
    }
    rig.boot();
    rig.until("event taken-back");
    rig.until("[com.example.a] first");
    say(&mut rig, &FromUpdated::Hello, &[]);
    assert!(settled(&mut rig).unwrap().contains("went down"));
    assert_eq!(packages(&rig, A), ["0"]);
}

#[test]
fn manager_killed_after_the_switch_leaves_no_old_box_running() {
    let mut rig = rig();
    start(&mut rig);
    settle(&mut rig, A, "1.0.0", "echo first; trap '' TERM; while :; do sleep 100; done");
    let package = fetch(&mut rig, A, "2.0.0", "echo second; exec sleep 1000", "");
    install(&mut rig, vec![package], 1);
    rig.until("event installing id=com.example.a version=2.0.0");
    rig.kill_manager();
    rig.start_manager();
    rig.until("[com.example.a] second");
    assert_eq!(settled(&mut rig), None, "{}", rig.console());
    assert_eq!(packages(&rig, A), ["1"]);
    // One that is killed while what came is on trial takes it up.
    let package = fetch(&mut rig, A, "3.0.0", "echo third; exec sleep 1000", "");
    install(&mut rig, vec![package], 2);
    installed(&mut rig);
    rig.until("[com.example.a] third");
    let pid = rig.pid_of(10_000);
    rig.kill_manager();
    rig.start_manager();
    assert_eq!(settled(&mut rig), None, "{}", rig.console());
    assert_eq!(rig.pid_of(10_000), pid);
}

#[test]
fn package_that_does_not_fit_is_refused_before_anything_is_stopped() {
    let mut rig = rig();
    rig.add_app(B, RUNS, "[provides]\n\"com.example.T\" = [\"com.example.x\"]\n");
    start(&mut rig);
    settle(&mut rig, A, "1.2.0", RUNS);
    let pids = [rig.pid_of(10_000), rig.pid_of(10_001)];
    let old = fetch(&mut rig, A, "1.1.9", RUNS, "");
    install(&mut rig, vec![old], 1);
    assert!(refused(&mut rig).contains("its version 1.1.9 is below 1.2.0"));
    let taken = fetch(&mut rig, A, "1.3.0", RUNS, "[provides]\n\"com.example.T\" = [\"com.example.y\"]\n");
    let free = fetch(&mut rig, "com.example.new", "1.0.0", RUNS, "");
    install(&mut rig, vec![free, taken], 1);
    assert_eq!(refused(&mut rig), "com.example.a: com.example.T is held by com.example.b");
    let (package, manifest) = fetch(&mut rig, A, "1.4.0", RUNS, "");
    install(
        &mut rig,
        vec![(Package { version: "1.4.1".to_owned(), ..package.clone() }, manifest.try_clone().unwrap())],
        1,
    );
    assert!(refused(&mut rig).contains("its image was not fetched"));
    incoming(&mut rig, A, "1.4.1", 8192 + 4096).write_all_at(&[7; 8192 + 4096], 0).unwrap();
    let verity = package.verity.replace(package.verity.split(' ').next().unwrap(), "data_blocks=1");
    install(&mut rig, vec![(Package { version: "1.4.1".to_owned(), verity, ..package }, manifest)], 1);
    assert_eq!(refused(&mut rig), "com.example.a: its manifest says version = \"1.4.0\"");
    let typo = fetch(&mut rig, A, "1.5.0", RUNS, "[lifecycle]\nrestrat = \"never\"\n");
    install(&mut rig, vec![typo], 1);
    assert!(refused(&mut rig).contains("restrat"));
    assert_eq!([rig.pid_of(10_000), rig.pid_of(10_001)], pids);
    assert_eq!((packages(&rig, A), packages(&rig, "com.example.new")), (vec!["0".to_owned()], vec![]));
    // The way is free.
    settle(&mut rig, A, "1.6.0", RUNS);
}

#[test]
fn package_whose_image_is_not_fit_is_refused_and_fetched_anew() {
    let mut rig = rig();
    start(&mut rig);
    let (package, manifest) = fetch(&mut rig, A, "1.0.0", RUNS, "");
    let length = fs::read_dir(rig.path("data/gabion/packages/incoming")).unwrap().next().unwrap().unwrap();
    let length = length.metadata().unwrap().len() as usize;
    let file = incoming(&mut rig, A, "1.0.0", length);
    assert_eq!(file.metadata().unwrap().len() as usize, length, "what was fetched is kept");
    file.write_all_at(&[0; 4096], 0).unwrap();
    install(&mut rig, vec![(package, manifest)], 1);
    assert!(refused(&mut rig).contains("is not fit for a package"));
    assert_eq!(incoming(&mut rig, A, "1.0.0", length).metadata().unwrap().len(), 0);
}

#[test]
fn app_removed_is_gone_with_its_data_and_the_images_own_stays() {
    let mut rig = rig();
    rig.add_app(B, RUNS, "");
    start(&mut rig);
    settle(&mut rig, A, "1.0.0", "echo kept > /data/mark; exec sleep 1000");
    settle(&mut rig, B, "1.0.1", RUNS);
    for id in [B, "com.example.none"] {
        say(&mut rig, &FromUpdated::Remove(id.to_owned()), &[]);
        let why = refused(&mut rig);
        assert!(why.contains("can be replaced and not removed") || why.contains("not installed"), "{why}");
    }
    say(&mut rig, &FromUpdated::Remove(A.to_owned()), &[]);
    installed(&mut rig);
    assert!(!rig.path("data/apps").join(A).exists() && packages(&rig, A).is_empty());
    assert!(rig.pid_of(10_001).is_none());
    // By way of a removal it does not come back older.
    let older = fetch(&mut rig, A, "0.9.9", RUNS, "");
    install(&mut rig, vec![older], 1);
    let why = refused(&mut rig);
    assert!(why.contains("its version 0.9.9 is below 1.0.0, which was removed"), "{why}");
    // Its uid is its own for ever, and it begins with nothing.
    settle(&mut rig, A, "1.0.0", "ls /data; echo begins; exec sleep 1000");
    rig.until("[com.example.a] begins");
    assert!(rig.pid_of(10_001).is_some() && !rig.console().contains("[com.example.a] mark"));
}

#[test]
fn ledger_damaged_uses_the_images_own_apps_and_touches_nothing() {
    let mut rig = rig();
    rig.add_app(B, "echo own; exec sleep 1000", "");
    start(&mut rig);
    settle(&mut rig, B, "1.0.1", "echo package; exec sleep 1000");
    fs::write(rig.path("data/gabion/installed"), "gabion-packages 1\nnext 7\n").unwrap();
    rig.boot();
    rig.until("problem id=device the ledger of installed packages is corrupt");
    rig.until("[com.example.b] own");
    say(&mut rig, &FromUpdated::Hello, &[]);
    say(&mut rig, &FromUpdated::Incoming(A.to_owned(), "1.0.0".to_owned(), 8192), &[]);
    assert_eq!(refused(&mut rig), "there is no place for packages");
    assert_eq!(packages(&rig, B), ["0"]);
}
