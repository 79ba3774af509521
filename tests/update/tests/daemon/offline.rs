//! Devices without a network, whose updates come on a disk.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::bus::update_link::Came;
use serde_json::json;
use service_api::updates::Stage;
use service_api::{Few, Text};
use tokio::time::{Duration, sleep};
use tuf::archive::Writer;

use super::releases;
use super::world::{World, run};

const DISKS: &str = "product = \"box\"\ncatalog = \"acme\"\ndisks = true\n";

impl World {
    /// A disk with the whole repository, for these releases.
    fn carried(&self, releases: &[String]) -> PathBuf {
        let path = self.board.folder.path().join("disk.tar");
        let list = serde_json::to_vec(&json!({"releases": releases})).unwrap();
        let mut writer = Writer::new(File::create(&path).unwrap(), &list).unwrap();
        for folder in ["metadata", "targets"] {
            add(&mut writer, self.site.path(), Path::new(folder));
        }
        writer.finish().unwrap();
        path
    }

    /// The device belongs to no service, and takes updates of disks.
    fn alone(&self) {
        self.server.away.set(true);
        self.board.service.borrow_mut().clear();
        self.board.clock_set.set(false);
        self.board.attested.set(false);
        *self.board.settings.borrow_mut() = DISKS.to_owned();
    }
}

fn add(writer: &mut Writer<File>, site: &Path, folder: &Path) {
    for entry in std::fs::read_dir(site.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let below = folder.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => add(writer, site, &below),
            false => {
                let file = File::open(entry.path()).unwrap();
                let length = file.metadata().unwrap().len();
                writer.add(below.to_str().unwrap(), length, file).unwrap();
            }
        }
    }
}

/// Changes all that somebody signed.
fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let signed = |at: &usize| bytes[*at..].starts_with(b"\"sig\":");
    let signatures: Vec<usize> = (0..bytes.len()).filter(signed).collect();
    signatures.iter().for_each(|at| bytes[at + 8..at + 12].copy_from_slice(b"0000"));
    std::fs::write(path, &bytes).unwrap();
}

#[test]
fn disk_that_somebody_forgot_keeps_no_update_of_the_service_out() {
    run(|| async {
        let world = World::new().await;
        releases::publish(&world.site, &world.systems[2], &[], 0).unwrap();
        *world.board.settings.borrow_mut() = DISKS.to_owned();
        let disk = world.carried(&[world.systems[1].path()]);
        spoil(&disk);
        world.board.disk(Some(disk));
        world.means(&[world.systems[2].path()]);
        world.until("it is renewed", 3600, |world| world.board.version() == "1.3").await;
    });
}

#[test]
fn device_without_a_network_takes_system_and_apps_of_a_disk() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a", "com.example.b"]);
        world.alone();
        let all: Vec<String> =
            apps.iter().map(releases::App::path).chain([world.systems[1].path()]).collect();
        world.board.disk(Some(world.carried(&all)));
        let renewed = |world: &World| {
            world.board.version() == "1.2" && !world.board.trial.get() && world.versions() == ["2.0", "2.0"]
        };
        world.until("it is renewed", 3600, renewed).await;
        assert!(world.server.asked.borrow().is_empty());
        assert_eq!((world.board.armed_times.get(), world.board.installed_times.get()), (1, 1));
        // Later there is a network: the service hears of it.
        world.server.away.set(false);
        let address = std::net::Ipv4Addr::LOCALHOST;
        *world.board.service.borrow_mut() = world.server.toml(address);
        world.board.clock_set.set(true);
        world.board.boot();
        let last = world.systems[1].path();
        world.until("the service hears of it", 3600, |world| world.knows(&last, Stage::Complete)).await;
    });
}

#[test]
fn disk_is_held_to_what_the_service_is_held_to() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        world.alone();
        // Of another product, of nobody, and what runs already.
        let none = ["os/other/9.json".to_owned(), "os/box/7.json".to_owned(), world.systems[0].path()];
        world.board.disk(Some(world.carried(&none)));
        world.up_during(sleep(Duration::from_secs(3600))).await;
        // Somebody changed what is signed; a whole disk that is damaged is not one.
        let path = world.carried(&[apps[0].path()]);
        spoil(&path);
        world.board.disk(Some(path));
        world.up_during(sleep(Duration::from_secs(3600))).await;
        assert_eq!((world.board.version().as_str(), world.versions()), ("1.1", vec!["1.0".to_owned()]));
        assert_eq!((world.board.armed_times.get(), world.board.installed_times.get()), (0, 0));
        let said = world.board.said.borrow().join("\n");
        assert!(said.contains("refused"), "{said}");
    });
}

#[test]
fn disk_is_nobodys_business_unless_the_owner_says_so_or_a_developer_sends_it() {
    run(|| async {
        let world = World::new().await;
        world.alone();
        *world.board.settings.borrow_mut() = DISKS.replace("disks = true\n", "");
        world.board.disk(Some(world.carried(&[world.systems[1].path()])));
        world.up_during(sleep(Duration::from_secs(3600))).await;
        assert_eq!(world.board.version(), "1.1");
        assert!(world.board.said.borrow().iter().any(|line| line.contains("disks = true")));
        assert!(!world.board.takes_disks.get());
        // A developer who is let in has sent the same.
        world.board.came.set(Came::Developer);
        world.board.disk(Some(world.carried(&[world.systems[1].path()])));
        world.until("it is renewed", 3600, |world| world.board.version() == "1.2").await;
        world.until("the file is let go", 3600, |world| world.board.disk.borrow().is_none()).await;
    });
}

#[test]
fn disk_that_is_taken_out_is_gone_on_with_when_it_is_back() {
    run(|| async {
        let world = World::new().await;
        world.alone();
        let disk = world.carried(&[world.systems[1].path()]);
        for polls in [30, 60, 90] {
            world.board.disk(Some(disk.clone()));
            world.life(polls).await;
            assert!(world.board.takes_disks.get());
            world.board.disk(None);
            world.life(20).await;
        }
        world.board.disk(Some(disk));
        world.until("it is renewed", 3600, |world| world.board.version() == "1.2").await;
    });
}

#[test]
fn disk_that_brings_what_is_refused_keeps_no_update_of_the_service_out() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        releases::publish(&world.site, &world.systems[2], &[], 0).unwrap();
        *world.board.settings.borrow_mut() = DISKS.to_owned();
        *world.board.refuses.borrow_mut() = Some("port 80 belongs to com.example.web".to_owned());
        world.board.disk(Some(world.carried(&[apps[0].path()])));
        world.means(&[world.systems[2].path()]);
        let of_service = world.systems[2].path();
        world.until("its own is begun", 7200, |world| world.knows(&of_service, Stage::Failed)).await;
        *world.board.refuses.borrow_mut() = None;
        world.until("it is renewed", 7200, |world| world.board.version() == "1.3").await;
    });
}

#[test]
fn disk_that_waits_for_its_hour_keeps_no_app_that_is_to_go() {
    run(|| async {
        let world = World::new().await;
        world.apps(&["com.example.a"]);
        // It is a Friday.
        let hour = "[[windows]]\nday = \"monday\"\nfrom = \"02:00\"\nminutes = 60\n";
        *world.board.settings.borrow_mut() = format!("{DISKS}{hour}");
        world.board.disk(Some(world.carried(&[world.systems[1].path()])));
        world.server.means(|answer| answer.remove = Few::new(vec![Text::shown("com.example.a")]).unwrap());
        world.until("it is gone", 600, |world| world.versions().is_empty()).await;
        assert_eq!(world.board.armed_times.get(), 0);
    });
}

#[test]
fn disk_brings_a_system_where_the_one_before_went_back_for_a_service_that_is_away() {
    run(|| async {
        let world = World::new().await;
        releases::publish(&world.site, &world.systems[2], &[], 0).unwrap();
        *world.board.settings.borrow_mut() = DISKS.to_owned();
        let (before, of_disk) = (world.systems[1].path(), world.systems[2].path());
        world.means(std::slice::from_ref(&before));
        world.until("it boots", 600, |world| world.board.booted.get() == 1).await;
        world.server.away.set(true);
        world.board.attested.set(true);
        world.until("it went back", 3600, |world| world.board.booted.get() == 2).await;
        world.board.disk(Some(world.carried(std::slice::from_ref(&of_disk))));
        world.until("it is renewed", 3600, |world| world.board.version() == "1.3").await;
        world.server.away.set(false);
        for (path, stage) in [(before, Stage::Deferred), (of_disk, Stage::Complete)] {
            world.until("it is told", 7200, |world| world.knows(&path, stage)).await;
        }
    });
}

#[test]
fn device_without_a_network_tries_again_what_did_not_last_once_its_owner_asks() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        world.alone();
        *world.board.crashes.borrow_mut() = Some("com.example.a".to_owned());
        world.board.disk(Some(world.carried(&[apps[0].path()])));
        let owner = world.caller("os.gabion.devport", true);
        let hour = Duration::from_secs(3600);
        let watch = async {
            sleep(hour).await;
            assert_eq!((world.board.installed_times.get(), world.versions()), (1, vec!["1.0".to_owned()]));
            *world.board.crashes.borrow_mut() = None;
            sleep(24 * hour).await;
            assert_eq!(world.board.installed_times.get(), 1);
            let answer = owner.call("CheckNow", json!({})).await.unwrap();
            assert!(answer["updates"].is_array(), "{answer}");
            sleep(hour).await;
            assert_eq!(world.versions(), ["2.0"]);
        };
        world.up_during(watch).await;
    });
}

#[test]
fn disk_that_is_pulled_out_where_a_service_answers_is_gone_on_with_when_it_is_back() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        *world.board.settings.borrow_mut() = DISKS.to_owned();
        let disk = world.carried(std::slice::from_ref(&path));
        let [owner, watcher] = [(); 2].map(|()| world.caller("os.gabion.devport", true));
        let watch = async {
            watcher.send("Watch", json!({}), true).await;
            world.board.disk(Some(disk.clone()));
            assert_eq!(watcher.next().await.unwrap()["happening"], "pending");
            owner.call("Defer", json!({"target": "os", "minutes": 600})).await.unwrap();
            let learnt = world.kept()["learnt"][&path].clone();
            world.board.disk(None);
            sleep(Duration::from_secs(7200)).await;
            assert!(world.server.checks.borrow().len() > 1);
            assert_eq!((learnt.is_object(), &world.kept()["learnt"][&path]), (true, &learnt));
            world.board.disk(Some(disk));
            sleep(Duration::from_secs(7200)).await;
            assert_eq!(world.board.armed_times.get(), 0);
        };
        world.up_during(watch).await;
        world.until("it is renewed", 86_400, |world| world.board.version() == "1.2").await;
    });
}

#[test]
fn system_of_a_disk_is_written_over_what_waited_there_which_is_made_again() {
    run(|| async {
        let world = World::new().await;
        releases::publish(&world.site, &world.systems[2], &[], 0).unwrap();
        *world.board.settings.borrow_mut() = DISKS.to_owned();
        world.at_night();
        let (of_disk, of_service) = (world.systems[1].path(), world.systems[2].path());
        world.means(std::slice::from_ref(&of_service));
        world.until("it waits", 600, |world| world.knows(&of_service, Stage::Pending)).await;
        world.board.disk(Some(world.carried(&[of_disk])));
        world.until("it is renewed", 3600, |world| world.board.version() == "1.2").await;
        world.until("it is renewed again", 8 * 86_400, |world| world.board.version() == "1.3").await;
        assert!(!world.knows(&of_service, Stage::Failed));
    });
}

#[test]
fn disk_has_what_the_network_is_too_dear_for() {
    run(|| async {
        let world = World::new().await;
        *world.board.settings.borrow_mut() = format!("{DISKS}metered = true\n");
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        world.until("it is told", 600, |world| world.knows(&path, Stage::Deferred)).await;
        world.board.disk(Some(world.carried(std::slice::from_ref(&path))));
        world.until("it is renewed", 600, |world| world.board.version() == "1.2").await;
        assert_eq!(world.server.sent.get(), 0);
    });
}

#[test]
fn disk_that_somebody_forgot_lets_nothing_be_forgotten_of_what_the_service_means() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        *world.board.settings.borrow_mut() = DISKS.to_owned();
        world.at_night();
        world.means(std::slice::from_ref(&path));
        world.until("it waits", 600, |world| world.knows(&path, Stage::Pending)).await;
        let learnt = || world.kept()["learnt"][&path].clone();
        let before = learnt();
        world.server.away.set(true);
        world.board.clock_set.set(false);
        world.board.disk(Some(world.carried(&[world.systems[0].path()])));
        world.board.boot();
        let began = tokio::time::Instant::now();
        world.until("an hour passes", 4000, |_| began.elapsed().as_secs() > 3600).await;
        assert_eq!((before.is_object(), learnt()), (true, before));
    });
}
