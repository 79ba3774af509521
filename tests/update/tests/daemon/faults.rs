//! What goes wrong on the way.

use service_api::updates::Stage;
use tokio::time::{Duration, sleep};

use super::releases;
use super::server::Fault;
use super::world::{World, run};

/// An update of the system through a fault: it comes through, and the device reads no more bytes than `most`, in hundredths of
/// what it reads without.
fn through(what: &'static str, fault: Fault, times: u32, most: u64) {
    run(|| async move {
        let clean = bytes(&World::new().await, |_| ()).await;
        let faulty = bytes(&World::new().await, |world| world.server.breaks(what, fault, times)).await;
        assert!(faulty <= clean * most / 100, "{fault:?}: {faulty} bytes, {clean} without");
    });
}

/// By a whole payload, which is some 700 KiB.
async fn bytes(world: &World, begin: impl FnOnce(&World)) -> u64 {
    let path = world.systems[2].path();
    releases::publish(&world.site, &world.systems[2], &[], 0).unwrap();
    world.means(std::slice::from_ref(&path));
    begin(world);
    world.until("it comes through", 6 * 3600, |world| world.knows(&path, Stage::Complete)).await;
    assert_eq!(world.board.version(), "1.3");
    // Nobody is slow: time would have passed while something was on its way.
    let said = world.board.said.borrow();
    assert!(!said.iter().any(|line| line.contains("slowly")), "{said:#?}");
    world.outcomes(&path).last().unwrap().fetched
}

#[test]
fn system_comes_through_connections_that_are_cut_and_nothing_is_fetched_twice() {
    through("/targets/", Fault::Cut(20_000), 60, 102);
}

#[test]
fn system_comes_through_a_server_that_fails_every_other_time() {
    through("", Fault::Broken(2), 60, 110);
}

#[test]
fn system_comes_through_wrong_bytes_and_fetches_no_more_than_their_segments_again() {
    run(|| async {
        let (clean, wrong) = (World::new().await, World::new().await);
        let large = releases::System::of(4, 18 << 20).unwrap();
        let mut fetched = Vec::new();
        for world in [&clean, &wrong] {
            world.board.systems.borrow_mut().push(large.clone());
            releases::publish(&world.site, &large, &[], 0).unwrap();
            world.means(&[large.path()]);
        }
        // In the middle of a segment of the body; no index is as long.
        wrong.server.breaks("/targets/blobs/", Fault::Wrong(9_700_000), 1);
        for world in [&clean, &wrong] {
            world.until("it comes through", 3600, |world| world.knows(&large.path(), Stage::Complete)).await;
            fetched.push(world.outcomes(&large.path()).last().unwrap().fetched);
        }
        assert_eq!(wrong.server.left(), 0);
        assert!(fetched[1] > fetched[0] && fetched[1] <= fetched[0] * 110 / 100, "{fetched:?}");
    });
}

#[test]
fn system_comes_through_a_server_that_has_lost_its_files_for_a_while() {
    through("/targets/", Fault::Empty, 20, 100);
}

#[test]
fn wrong_bytes_for_ever_are_asked_for_less_and_less_often_and_told() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[2].path();
        releases::publish(&world.site, &world.systems[2], &[], 0).unwrap();
        world.server.breaks("/targets/blobs/", Fault::Wrong(700), u32::MAX);
        world.means(std::slice::from_ref(&path));
        world.up_during(sleep(Duration::from_secs(6 * 3600))).await;
        // Twice as long each time, and then every quarter of an hour.
        let wrong = u32::MAX - world.server.left();
        assert!((20..=80).contains(&wrong), "{wrong}");
        assert_eq!(world.told(&path), [Stage::Fetching, Stage::Failed]);
        let reason = world.outcomes(&path).last().unwrap().reason.to_string();
        assert!(reason.contains("not what was signed") || reason.contains("is wrong"), "{reason}");
    });
}

#[test]
fn network_that_is_away_for_a_minute_is_no_failure_of_the_release() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.server.breaks("/targets/", Fault::Empty, 6);
        world.means(std::slice::from_ref(&path));
        world.until("it comes through", 3600, |world| world.knows(&path, Stage::Complete)).await;
        assert!(!world.knows(&path, Stage::Failed), "{:?}", world.told(&path));
    });
}

#[test]
fn answers_that_never_end_are_given_up_at_their_length() {
    through("/targets/blobs/", Fault::Endless, 2, 120);
    through("/metadata/", Fault::Endless, 2, 100);
}

#[test]
fn device_that_is_sent_where_the_firewall_lets_it_not_go_tries_again() {
    // Nobody is there; on a device the packets would not leave.
    through("/targets/", Fault::Elsewhere("https://127.0.0.1:1/x"), 3, 100);
    // Nor is what was asked for in secret asked for in the open.
    through("/targets/", Fault::Elsewhere("http://127.0.0.1:1/x"), 3, 100);
}

#[test]
fn service_that_was_away_for_days_is_asked_again_and_not_all_the_time() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.server.away.set(true);
        world.means(std::slice::from_ref(&path));
        let day = Duration::from_secs(86_400);
        world.up_during(sleep(3 * day)).await;
        assert!(world.server.checks.borrow().is_empty());
        world.server.away.set(false);
        world.until("it is asked again", 3600, |world| world.knows(&path, Stage::Complete)).await;
    });
}

#[test]
fn metadata_that_has_expired_or_is_of_yesterday_is_refused_and_told() {
    run(|| async {
        let world = World::new().await;
        let (second, third) = (world.systems[1].path(), world.systems[2].path());
        // What the device has seen of the repository is newer than what it is shown from now on.
        let yesterday = tempfile::tempdir().unwrap();
        copy(world.site.path(), yesterday.path());
        releases::publish(&world.site, &world.systems[2], &[&world.systems[0]], 0).unwrap();
        world.means(std::slice::from_ref(&third));
        world.until("it runs", 600, |world| world.board.version() == "1.3").await;
        world.until("it is good", 600, |world| world.knows(&third, Stage::Complete)).await;
        let newer = super::releases::System::new(4).unwrap();
        world.board.systems.borrow_mut().push(newer.clone());
        *world.server.site.borrow_mut() = yesterday.path().to_owned();
        world.means(&[newer.path(), second.clone()]);
        world.until("it is refused", 3600, |world| world.knows(&newer.path(), Stage::Failed)).await;
        let reason = world.outcomes(&newer.path()).last().unwrap().reason.to_string();
        assert!(reason.contains("refused"), "{reason}");
        assert_eq!(world.board.version(), "1.3");
        // Expired: nobody signs for a month.
        *world.server.site.borrow_mut() = world.site.path().to_owned();
        releases::publish(&world.site, &newer, &[], 0).unwrap();
        let month = Duration::from_secs(30 * 86_400);
        world.server.means(|answer| answer.releases = Default::default());
        world.up_during(sleep(month)).await;
        world.means(&[newer.path()]);
        let count = world.outcomes(&newer.path()).len();
        let more = |world: &World| {
            world.outcomes(&newer.path()).len() > count
                && world.outcomes(&newer.path()).last().unwrap().reason.to_string().contains("expired")
        };
        world.until("it has expired", 3600, more).await;
        assert_eq!(world.board.version(), "1.3");
    });
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&there).unwrap();
            copy(&entry.path(), &there);
        } else {
            std::fs::copy(entry.path(), there).unwrap();
        }
    }
}

#[test]
fn what_could_not_be_kept_is_neither_armed_nor_installed() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        let (system, app) = (world.systems[1].path(), apps[0].path());
        // What is kept is written beside it, and then takes its place.
        let in_its_place = world.board.folder.path().join("storage/state.json");
        std::fs::create_dir_all(in_its_place.join("full")).unwrap();
        for (release, what) in [(&app, "they have"), (&system, "it has")] {
            world.means(std::slice::from_ref(release));
            world.up_during(sleep(Duration::from_secs(3600))).await;
            let refused = format!("what {what} to show could not be kept: ");
            let said = world.board.said.borrow();
            assert!(said.iter().any(|line| line.contains(&refused)), "{said:#?}");
        }
        assert_eq!((world.board.armed_times.get(), world.board.installed_times.get()), (0, 0));
        assert_eq!((world.board.version().as_str(), world.versions()), ("1.1", vec!["1.0".to_owned()]));
        // There is room again, and the device starts.
        std::fs::remove_dir_all(&in_its_place).unwrap();
        world.means(&[system.clone(), app.clone()]);
        let both = |world: &World| [&system, &app].iter().all(|path| world.knows(path, Stage::Complete));
        world.until("both are there", 3600, both).await;
    });
}
