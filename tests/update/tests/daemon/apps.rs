//! Updates of apps: all of an answer's or none.

use ::bus::update_link::App as Told;
use serde_json::json;
use service_api::updates::Stage;
use service_api::{Few, Text};

use super::bus::Client;
use super::releases::{self, App};
use super::world::{World, run};

impl World {
    /// Apps that run in their first version, by an update, and whose second one is published; that.
    pub(crate) fn apps(&self, ids: &[&str]) -> Vec<App> {
        let mut second = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            let (old, new) = (App::new(id, 1).unwrap(), App::new(id, 2).unwrap());
            releases::publish_app(&self.site, &new, &[&old]).unwrap();
            let uid = 10_000 + at as u32;
            let told = Told {
                id: old.id.clone(),
                uid,
                version: old.version.clone(),
                running: true,
                installed: true,
                ..Told::default()
            };
            self.board.apps.borrow_mut().insert(old.id.clone(), told);
            self.board.images.borrow_mut().insert(old.id.clone(), old.image.bytes.clone());
            self.board.packages.borrow_mut().push(new.clone());
            second.push(new);
        }
        second
    }

    /// The versions of apps, by their ids.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.board.apps.borrow().values().map(|app| app.version.clone()).collect()
    }
}

fn paths(apps: &[App]) -> Vec<String> {
    apps.iter().map(App::path).collect()
}

#[test]
fn apps_that_are_meant_are_installed_together_by_patches() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a", "com.example.b"]);
        world.means(&paths(&apps));
        world
            .until("both run", 600, |world| apps.iter().all(|app| world.knows(&app.path(), Stage::Complete)))
            .await;
        assert_eq!(world.versions(), ["2.0", "2.0"]);
        assert_eq!(world.board.installed_times.get(), 1);
        let told = world.told(&apps[0].path());
        assert_eq!(told, [Stage::Fetching, Stage::Pending, Stage::Trial, Stage::Complete]);
        assert!(world.server.sent.get() < 30_000, "{}", world.server.sent.get());
        assert_eq!(world.board.booted.get(), 0);
    });
}

#[test]
fn apps_of_which_one_crashes_go_back_together_and_are_not_tried_again() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a", "com.example.b"]);
        *world.board.crashes.borrow_mut() = Some("com.example.b".to_owned());
        world.means(&paths(&apps));
        world
            .until("they went back", 600, |world| {
                apps.iter().all(|app| world.knows(&app.path(), Stage::RolledBack))
            })
            .await;
        assert_eq!(world.versions(), ["1.0", "1.0"]);
        let reason = world.outcomes(&apps[0].path()).last().unwrap().reason.to_string();
        assert!(reason.contains("com.example.b crashed"), "{reason}");
        world.up_during(tokio::time::sleep(std::time::Duration::from_secs(86_400))).await;
        assert_eq!(world.board.installed_times.get(), 1);
        // A newer one of the two: again together.
        let third = App::new("com.example.b", 3).unwrap();
        releases::publish_app(&world.site, &third, &[]).unwrap();
        world.board.packages.borrow_mut().push(third.clone());
        *world.board.crashes.borrow_mut() = None;
        world.means(&[third.path()]);
        world.until("the newer runs", 600, |world| world.knows(&third.path(), Stage::Complete)).await;
        assert_eq!(world.versions(), ["1.0", "3.0"]);
    });
}

#[test]
fn owner_has_an_app_on_trial_go_back_and_no_other() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        let back = async |owner: &Client| {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            owner.call("Rollback", json!({"app": "com.example.a"})).await
        };
        let owner = world.caller("os.gabion.devport", true);
        let (error, why) = world.up_during(back(&owner)).await.unwrap_err();
        assert_eq!((error.as_str(), &why["reason"]), ("NothingBefore", &json!("it is not on trial")));
        // No name of an app, which no message to sandboxd could carry.
        let owner = world.caller("os.gabion.devport", true);
        let unknown = async {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            owner.call("Rollback", json!({"app": "org.\u{e4}\n"})).await.unwrap_err()
        };
        let (error, why) = world.up_during(unknown).await;
        assert_eq!((error.as_str(), &why["reason"]), ("NothingBefore", &json!("there is no such app")));
        world.means(&paths(&apps));
        world.until("it is on trial", 600, |world| world.knows(&apps[0].path(), Stage::Trial)).await;
        let owner = world.caller("os.gabion.devport", true);
        let done = world.up_during(back(&owner)).await;
        assert!(done.is_ok(), "{done:?}");
        world.until("it went back", 600, |world| world.knows(&apps[0].path(), Stage::RolledBack)).await;
        assert_eq!((world.versions(), world.board.booted.get()), (vec!["1.0".to_owned()], 0));
    });
}

#[test]
fn app_whose_installation_is_refused_is_tried_again() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        *world.board.refuses.borrow_mut() = Some("port 80 belongs to com.example.web".to_owned());
        world.means(&paths(&apps));
        world.until("it is told", 3600, |world| world.knows(&apps[0].path(), Stage::Failed)).await;
        let reason = world.outcomes(&apps[0].path()).last().unwrap().reason.to_string();
        assert!(reason.contains("port 80"), "{reason}");
        *world.board.refuses.borrow_mut() = None;
        world.until("it runs after all", 3600, |world| world.knows(&apps[0].path(), Stage::Complete)).await;
    });
}

#[test]
fn app_that_is_refused_again_and_again_rests_until_its_owner_asks() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        *world.board.refuses.borrow_mut() = Some("port 80 belongs to com.example.web".to_owned());
        world.means(&paths(&apps));
        let owner = world.caller("os.gabion.devport", true);
        let half_a_day = std::time::Duration::from_secs(12 * 3600);
        let watch = async {
            tokio::time::sleep(half_a_day).await;
            assert_eq!(world.board.refused_times.get(), 5);
            let reason = world.outcomes(&apps[0].path()).last().unwrap().reason.to_string();
            assert!(reason.contains("port 80") && reason.contains("until"), "{reason}");
            *world.board.refuses.borrow_mut() = None;
            tokio::time::sleep(half_a_day).await;
            assert_eq!(world.versions(), ["1.0"]);
            owner.call("CheckNow", json!({})).await.unwrap();
            tokio::time::sleep(half_a_day).await;
            assert_eq!(world.versions(), ["2.0"]);
        };
        world.up_during(watch).await;
    });
}

#[test]
fn trial_that_begins_late_is_not_over_early() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        world.board.launch_s.set(590);
        *world.board.crashes.borrow_mut() = Some("com.example.a".to_owned());
        world.means(&paths(&apps));
        world.until("it went back", 3600, |world| world.knows(&apps[0].path(), Stage::RolledBack)).await;
        assert!(!world.knows(&apps[0].path(), Stage::Complete));
    });
}

#[test]
fn how_a_trial_ended_that_is_told_again_is_not_taken_for_the_next_ones() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        *world.board.crashes.borrow_mut() = Some("com.example.a".to_owned());
        world.means(&paths(&apps));
        world.until("it went back", 600, |world| world.knows(&apps[0].path(), Stage::RolledBack)).await;
        *world.board.crashes.borrow_mut() = None;
        let third = App::new("com.example.a", 3).unwrap();
        releases::publish_app(&world.site, &third, &[]).unwrap();
        world.board.packages.borrow_mut().push(third.clone());
        world.means(&[third.path()]);
        for polls in (0..120).step_by(7) {
            world.life(polls).await;
        }
        world.until("it runs", 3600, |world| world.knows(&third.path(), Stage::Complete)).await;
        assert!(!world.knows(&third.path(), Stage::RolledBack));
        assert_eq!(world.versions(), ["3.0"]);
        // And nothing is undone when it is told once more.
        world.life(200).await;
        assert!(!world.knows(&third.path(), Stage::RolledBack));
    });
}

#[test]
fn app_whose_manifest_is_not_read_yet_is_not_taken_for_an_old_one() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        let there = world.board.apps.borrow()["com.example.a"].clone();
        world.board.apps.borrow_mut().get_mut("com.example.a").unwrap().version.clear();
        world.means(&paths(&apps));
        let read = async {
            tokio::time::sleep(std::time::Duration::from_secs(30)).await;
            assert_eq!(world.server.sent.get(), 0);
            world.board.app(Told { version: "2.0".to_owned(), ..there });
            tokio::time::sleep(std::time::Duration::from_secs(600)).await;
        };
        world.up_during(read).await;
        assert_eq!(world.board.installed_times.get(), 0);
    });
}

#[test]
fn images_of_apps_that_are_not_meant_any_more_leave_their_room() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a", "com.example.b"]);
        world.at_night();
        let incoming = || {
            let files = std::fs::read_dir(world.board.folder.path()).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.filter(|name| name.starts_with("incoming-")).collect();
            names.sort();
            names.iter().map(|name| name["incoming-com.example.".len()..][..1].to_owned()).collect::<String>()
        };
        let all = paths(&apps);
        world.means(&all);
        world.until("they wait", 600, |world| all.iter().all(|path| world.knows(path, Stage::Pending))).await;
        assert_eq!(incoming(), "ab");
        world.means(&all[1..]);
        world.until("one is left", 7200, |_| incoming() == "b").await;
        world.server.means(|answer| answer.releases = Few::default());
        world.until("none is left", 7200, |_| incoming().is_empty()).await;
    });
}

#[test]
fn app_of_another_catalog_is_refused_whoever_signed_it() {
    run(|| async {
        let world = World::new().await;
        let path = "apps/rival/com.example.a/9.0.json".to_owned();
        world.means(std::slice::from_ref(&path));
        world.until("it is told", 600, |world| world.knows(&path, Stage::Failed)).await;
        assert!(world.outcomes(&path)[0].reason.to_string().contains("another catalog"));
    });
}

#[test]
fn app_that_goes_while_another_is_on_trial_goes_afterwards() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a", "com.example.b"]);
        world.means(&[apps[0].path()]);
        world.until("it is on trial", 600, |world| world.knows(&apps[0].path(), Stage::Trial)).await;
        let goes = |id: &str| {
            let remove = Few::new(vec![Text::shown(id)]).unwrap();
            world.server.means(|answer| answer.remove = remove);
        };
        goes("com.example.b");
        world.until("it is good", 600, |world| world.knows(&apps[0].path(), Stage::Complete)).await;
        world.until("the other is gone", 60, |world| world.versions() == ["2.0"]).await;
        // The service hears of it soon.
        let last = |world: &World| world.server.checks.borrow().last().unwrap().apps.len();
        world.until("it is told", 60, |world| last(world) == 1).await;
    });
}

#[test]
fn app_that_came_by_an_update_is_removed() {
    run(|| async {
        let world = World::new().await;
        world.apps(&["com.example.a", "com.example.b"]);
        world.server.means(|answer| answer.remove = Few::new(vec![Text::shown("com.example.a")]).unwrap());
        world.until("it is gone", 600, |world| world.versions() == ["1.0"]).await;
    });
}
