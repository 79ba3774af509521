//! Updates of the system.

use serde_json::json;
use service_api::updates::Stage;
use service_api::{Few, Text};
use tokio::time::{Duration, sleep};

use super::releases;
use super::server::Fault;
use super::world::{World, run};

#[test]
fn system_that_is_meant_is_fetched_tried_and_kept() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        world.until("it runs and is good", 600, |world| world.knows(&path, Stage::Complete)).await;
        assert_eq!(world.board.version(), "1.2");
        assert!(!world.board.trial.get());
        assert_eq!(world.told(&path), [Stage::Fetching, Stage::Pending, Stage::Trial, Stage::Complete]);
        // By patches: a hundredth of what it is.
        assert!(world.server.sent.get() < 30_000, "{}", world.server.sent.get());
        let fetched = world.outcomes(&path).last().unwrap().fetched;
        assert!(fetched > 0 && fetched < 30_000, "{fetched}");
    });
}

#[test]
fn system_without_a_patch_for_it_is_put_together_from_what_the_device_has() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[2].path();
        releases::publish(&world.site, &world.systems[2], &[], 0).unwrap();
        world.means(std::slice::from_ref(&path));
        world.until("it runs and is good", 600, |world| world.knows(&path, Stage::Complete)).await;
        assert_eq!(world.board.version(), "1.3");
        // Of 750 KiB seven segments of 128 differ at most, and the kernel image has no blocks that are found.
        let sent = world.server.sent.get();
        assert!(sent < 1_000_000, "{sent}");
    });
}

#[test]
fn system_after_which_an_app_does_not_run_goes_back_and_says_why() {
    run(|| async {
        let world = World::new().await;
        world.apps(&["com.example.a", "com.example.b"]);
        let path = world.systems[1].path();
        world.board.broken.borrow_mut().push("com.example.b".to_owned());
        world.means(std::slice::from_ref(&path));
        world.until("it went back", 3600, |world| world.knows(&path, Stage::RolledBack)).await;
        assert_eq!(world.board.version(), "1.1");
        let reason = world.outcomes(&path).last().unwrap().reason.to_string();
        assert!(reason.contains("com.example.b ran before") && !reason.contains("example.a ran"), "{reason}");
        // It is not tried again, until there is a newer one.
        world.up_during(sleep(Duration::from_secs(3 * 86_400))).await;
        world.board.broken.borrow_mut().clear();
        releases::publish(&world.site, &world.systems[2], &[&world.systems[0]], 0).unwrap();
        let newer = world.systems[2].path();
        world.means(std::slice::from_ref(&newer));
        world.until("the newer runs", 3600, |world| world.knows(&newer, Stage::Complete)).await;
    });
}

#[test]
fn system_by_which_the_service_is_not_reached_or_does_not_accept_it_goes_back() {
    // Away for an hour; back as soon as the system before runs; there, and not content.
    for (away_s, word) in [(Some(3600), "not reached"), (Some(0), "not reached"), (None, "shown what booted")]
    {
        run(|| async move {
            let away = away_s.is_some();
            let world = World::new().await;
            let path = world.systems[1].path();
            world.means(std::slice::from_ref(&path));
            world.until("it boots", 600, |world| world.board.booted.get() == 1).await;
            world.server.away.set(away);
            world.board.attested.set(away);
            world.until("it went back", 3600, |world| world.board.booted.get() == 2).await;
            assert_eq!(world.board.version(), "1.1");
            let learnt = || world.kept()["learnt"][&path]["at_s"].clone();
            let before = learnt();
            let why = world.board.failed.borrow().clone().unwrap();
            assert!(why.0 == "1.2" && why.1.contains(word), "{why:?}");
            world.up_during(sleep(Duration::from_secs(away_s.unwrap_or(0)))).await;
            world.server.away.set(false);
            // Whom a service has heard of as rolled back it offers that no more.
            let later = away_s == Some(3600);
            let (told, not_told) = match later {
                true => (Stage::Deferred, Stage::RolledBack),
                false => (Stage::RolledBack, Stage::Deferred),
            };
            world.until("it is told", 3600, |world| world.knows(&path, told)).await;
            assert!(!world.knows(&path, not_told));
            world.board.attested.set(true);
            // What nobody knows to be its fault is tried again, hours later; it is as old as it was.
            if later {
                assert_eq!((before.is_u64(), learnt()), (true, before));
            }
            let hours = async |hours: u64| {
                tokio::select! {
                    () = world.life(u64::MAX) => {}
                    () = sleep(Duration::from_secs(hours * 3600)) => {}
                }
            };
            hours(4).await;
            assert_eq!(world.board.booted.get(), 2);
            hours(3).await;
            let booted = if later { 3 } else { 2 };
            assert_eq!(world.board.booted.get(), booted);
            if later {
                world.until("it is good", 3600, |world| world.knows(&path, Stage::Complete)).await;
            }
            hours(45).await;
            assert_eq!(world.board.booted.get(), booted);
        });
    }
}

/// By its id: attestd makes a round if it has another.
#[test]
fn permit_that_the_service_has_is_passed_on() {
    run(|| async {
        let world = World::new().await;
        world.server.means(|answer| answer.permit = Text::shown("p1"));
        world.until("it is told", 600, |world| world.board.permit.borrow().as_deref() == Some("p1")).await;
    });
}

#[test]
fn system_behind_the_floor_is_refused_before_it_is_fetched() {
    run(|| async {
        let world = World::new().await;
        world.board.floor.set(7);
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        world.until("it is refused", 3600, |world| world.knows(&path, Stage::Failed)).await;
        let reason = world.outcomes(&path).last().unwrap().reason.to_string();
        assert!(reason.contains("behind 7"), "{reason}");
        assert_eq!(world.board.armed_times.get(), 0);
    });
}

#[test]
fn nothing_is_asked_before_the_clock_is_set() {
    run(|| async {
        let world = World::new().await;
        world.board.clock_set.set(false);
        world.means(&[world.systems[1].path()]);
        world.up_during(sleep(Duration::from_secs(86_400))).await;
        assert!(world.server.asked.borrow().is_empty(), "{:?}", world.server.asked.borrow());
    });
}

#[test]
fn deployment_that_is_taken_back_while_it_waits_is_not_applied() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.at_night();
        world.means(std::slice::from_ref(&path));
        world.until("it waits", 600, |world| world.knows(&path, Stage::Pending)).await;
        world.server.means(|answer| answer.releases = Few::default());
        world.up_during(sleep(Duration::from_secs(7 * 86_400))).await;
        assert_eq!((world.board.booted.get(), world.board.armed_times.get()), (0, 0));
        world.means(std::slice::from_ref(&path));
        world
            .until("it is applied in its window", 8 * 86_400, |world| world.knows(&path, Stage::Complete))
            .await;
        let trial = world.outcomes(&path).iter().find(|outcome| outcome.stage == Stage::Trial).unwrap().at_s;
        let minute = (trial / 60 + 3 * 1440) % 10_080;
        assert!((120..185).contains(&minute), "{minute}");
    });
}

#[test]
fn network_that_costs_money_is_not_used_for_payloads() {
    run(|| async {
        let world = World::new().await;
        world.board.settings.borrow_mut().push_str("metered = true\n");
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        world.until("it is told", 600, |world| world.knows(&path, Stage::Deferred)).await;
        world.up_during(sleep(Duration::from_secs(86_400))).await;
        assert_eq!(world.server.sent.get(), 0);
    });
}

#[test]
fn service_is_asked_while_something_is_fetched_for_hours() {
    run(|| async {
        let world = World::new().await;
        let large = releases::System::of(4, 3 << 20).unwrap();
        world.board.systems.borrow_mut().push(large.clone());
        releases::publish(&world.site, &large, &[], 0).unwrap();
        let path = large.path();
        world.server.breaks("/targets/", Fault::Slow(150), u32::MAX);
        world.means(std::slice::from_ref(&path));
        world.until("it is there", 86_400, |world| world.knows(&path, Stage::Pending)).await;
        let checks = world.server.checks.borrow();
        // After the first one, which had nothing to tell either.
        assert!(checks.iter().filter(|check| check.outcomes.is_empty()).count() > 1, "{}", checks.len());
    });
}

#[test]
fn rate_that_is_set_is_kept() {
    run(|| async {
        let world = World::new().await;
        world.board.settings.borrow_mut().push_str("bytes_per_s = 1024\n");
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        let began = tokio::time::Instant::now();
        world.until("it is there", 3600, |world| world.knows(&path, Stage::Pending)).await;
        let fetched = world.outcomes(&path).last().unwrap().fetched;
        let took_s = began.elapsed().as_secs();
        assert!(took_s >= fetched / 1024 / 2, "{fetched} bytes in {took_s} s");
    });
}

#[test]
fn systems_that_follow_one_another_while_they_wait_leave_nothing_behind() {
    run(|| async {
        let world = World::new().await;
        releases::publish(&world.site, &world.systems[2], &[&world.systems[0]], 0).unwrap();
        world.at_night();
        let lying = |beginning: &str| {
            let files = std::fs::read_dir(world.board.folder.path().join("storage")).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with(beginning)).count()
        };
        for system in [1, 2, 1] {
            let path = world.systems[system].path();
            world.means(std::slice::from_ref(&path));
            let since = world.server.checks.borrow().len();
            let waits = |world: &World| {
                let checks = world.server.checks.borrow();
                let mut told = checks.iter().skip(since).flat_map(|check| check.outcomes.iter());
                told.any(|one| one.release.as_str() == path && one.stage == Stage::Pending)
            };
            world.until("it waits", 7200, waits).await;
            assert_eq!((lying("kernel-"), lying("index-")), (1, 2));
        }
        world.server.means(|answer| answer.releases = Few::default());
        world.until("nothing is left of it", 7200, |_| lying("kernel-") + lying("index-") == 0).await;
    });
}

#[test]
fn fault_in_the_settings_is_said_and_nothing_is_asked() {
    run(|| async {
        let world = World::new().await;
        world.board.settings.borrow_mut().push_str("colour = 7\n");
        world.up_during(sleep(Duration::from_secs(3600))).await;
        assert!(
            world.board.said.borrow().iter().any(|line| line.contains("colour")),
            "{:?}",
            world.board.said.borrow()
        );
        assert!(world.server.asked.borrow().is_empty());
    });
}

#[test]
fn release_that_nobody_signs_for_any_more_is_not_applied_when_its_time_comes() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.at_night();
        world.means(std::slice::from_ref(&path));
        let withdrawn = async {
            while !world.knows(&path, Stage::Pending) {
                sleep(Duration::from_secs(10)).await;
            }
            world.site.repository().unwrap().remove(&path).unwrap();
            world.site.sign(&["os-1", "os-2"]).unwrap();
            world.site.refresh().unwrap();
            sleep(Duration::from_secs(8 * 86_400)).await;
        };
        world.up_during(withdrawn).await;
        assert_eq!(world.board.armed_times.get(), 0);
        let told = world.outcomes(&path);
        let failed = told.iter().find(|outcome| outcome.stage == Stage::Failed).unwrap();
        assert!(failed.reason.to_string().contains("refused"), "{}", failed.reason);
    });
}

#[test]
fn boot_loader_that_never_takes_the_new_system_costs_ten_boots_and_no_more() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.board.stubborn.set(true);
        world.means(std::slice::from_ref(&path));
        world.until("it is told", 86_400, |world| world.knows(&path, Stage::RolledBack)).await;
        let lives = async {
            loop {
                world.life(u64::MAX).await;
            }
        };
        tokio::select! {
            () = lives => {}
            () = sleep(Duration::from_secs(86_400)) => {}
        }
        assert_eq!(world.board.booted.get(), 10);
        assert_eq!(world.board.version(), "1.1");
    });
}

#[test]
fn owner_goes_back_and_what_ran_is_not_taken_again() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        world.until("it runs and is good", 600, |world| world.knows(&path, Stage::Complete)).await;
        let owner = world.caller("os.gabion.devport", true);
        *world.board.refuses.borrow_mut() = Some("there is no other system".to_owned());
        let refused = async {
            sleep(Duration::from_secs(5)).await;
            owner.call("Rollback", json!({})).await.unwrap_err()
        };
        let (error, why) = world.up_during(refused).await;
        assert_eq!((error.as_str(), &why["reason"]), ("NothingBefore", &json!("there is no other system")));
        assert!(!world.knows(&path, Stage::RolledBack));
        *world.board.refuses.borrow_mut() = None;
        let owner = world.caller("os.gabion.devport", true);
        let back = async {
            sleep(Duration::from_secs(5)).await;
            owner.call("Rollback", json!({})).await
        };
        tokio::select! {
            () = world.life(u64::MAX) => {}
            answer = back => assert!(answer.is_ok(), "{answer:?}"),
        }
        world.until("it is told", 600, |world| world.knows(&path, Stage::RolledBack)).await;
        assert_eq!(world.board.version(), "1.1");
        assert_eq!(world.outcomes(&path).last().unwrap().reason.as_str(), "its owner went back");
        world.up_during(sleep(Duration::from_secs(3 * 86_400))).await;
        assert_eq!(world.board.version(), "1.1");
    });
}

#[test]
fn system_whose_own_daemons_are_not_well_is_waited_for_and_goes_back_then() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        let unwell = "os.gabion.net does not run, or ends again and again";
        *world.board.unwell.borrow_mut() = Some(unwell.to_owned());
        world.means(std::slice::from_ref(&path));
        world.until("it is on trial", 3600, |world| world.knows(&path, Stage::Trial)).await;
        world.until("it went back", 3600, |world| world.knows(&path, Stage::RolledBack)).await;
        assert_eq!(world.board.version(), "1.1");
        assert_eq!(world.outcomes(&path).last().unwrap().reason.as_str(), unwell);
    });
}

#[test]
fn system_whose_own_daemons_come_up_in_time_is_good() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        *world.board.unwell.borrow_mut() = Some("os.gabion.net does not run".to_owned());
        world.means(std::slice::from_ref(&path));
        world.until("it is on trial", 600, |world| world.board.trial.get()).await;
        world.up_during(sleep(Duration::from_secs(100))).await;
        assert!(world.board.trial.get());
        *world.board.unwell.borrow_mut() = None;
        world.until("it is good", 3600, |world| world.knows(&path, Stage::Complete)).await;
    });
}
