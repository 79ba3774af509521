//! Putting updates off, and what is told of them on the bus.

use serde_json::json;
use service_api::updates::Stage;
use tokio::time::{Duration, sleep};

use super::clock::now_s;
use super::releases::App;
use super::world::{World, run};

const HOUR_S: u64 = 3600;

fn seconds(micros: &serde_json::Value) -> u64 {
    micros.as_u64().unwrap() / 1_000_000
}

#[test]
fn app_that_watches_puts_the_system_off_and_is_told_before_it_happens() {
    run(|| async {
        let world = World::new().await;
        let app = world.caller("com.example.a", false);
        let watcher = world.caller("com.example.a", false);
        let path = world.systems[1].path();
        let calls = async {
            watcher.send("Watch", json!({}), true).await;
            assert_eq!(
                app.call("Defer", json!({"target": "os", "minutes": 5})).await.unwrap_err().0,
                "NothingPending"
            );
            world.means(std::slice::from_ref(&path));
            let pending = watcher.next().await.unwrap();
            assert_eq!((&pending["happening"], &pending["version"]), (&json!("pending"), &json!("1.2")));
            let learnt_s = now_s();
            let (error, limit) =
                app.call("Defer", json!({"target": "os", "minutes": 1441})).await.unwrap_err();
            assert_eq!(error, "TooLong");
            assert!((1439..=1440).contains(&limit["limit_minutes"].as_u64().unwrap()), "{limit}");
            let until = app.call("Defer", json!({"target": "os", "minutes": 120})).await.unwrap();
            let until_s = seconds(&until["until_us"]);
            assert!((learnt_s + 2 * HOUR_S..learnt_s + 2 * HOUR_S + 5).contains(&until_s));
            assert_eq!(watcher.next().await.unwrap()["happening"], "deferred");
            let status = app.call("GetStatus", json!({})).await.unwrap();
            assert_eq!(status["updates"][0]["state"], "deferred");
            // It is told until when it waits, and at the end that there is no more waiting.
            let again = watcher.next().await.unwrap();
            assert_eq!((&again["happening"], seconds(&again["at_us"])), (&json!("pending"), until_s));
            assert_eq!(watcher.next().await.unwrap()["happening"], "final");
            assert!(now_s() >= until_s && now_s() < until_s + 5);
            let late = app.call("Defer", json!({"target": "os", "minutes": 5})).await.unwrap_err();
            assert_eq!(late.0, "TooLate");
        };
        world.up_during(calls).await;
        world.until("it is good", 600, |world| world.knows(&path, Stage::Complete)).await;
        assert!(world.told(&path).contains(&Stage::Deferred));
    });
}

#[test]
fn app_puts_off_itself_and_no_other_and_the_owner_any() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a", "com.example.b"]);
        let (a, owner) = (world.caller("com.example.a", false), world.caller("os.gabion.devport", true));
        let watcher = world.caller("com.example.a", false);
        world.means(&apps.iter().map(App::path).collect::<Vec<_>>());
        let calls = async {
            watcher.send("Watch", json!({}), true).await;
            assert_eq!(watcher.next().await.unwrap()["happening"], "pending");
            let other = a.call("Defer", json!({"target": "app", "minutes": 5, "app": "com.example.b"})).await;
            assert_eq!(other.unwrap_err().0, "InvalidParameter");
            // What belongs together waits together.
            a.call("Defer", json!({"target": "app", "minutes": 10_000})).await.unwrap();
            let status = owner.call("GetStatus", json!({})).await.unwrap();
            let names: Vec<_> =
                status["updates"].as_array().unwrap().iter().map(|one| one["app"].as_str()).collect();
            assert_eq!(names, [None, Some("com.example.a"), Some("com.example.b")]);
            sleep(Duration::from_secs(100 * HOUR_S)).await;
            assert_eq!(world.versions(), ["1.0", "1.0"]);
            owner.call("Resume", json!({"target": "app", "app": "com.example.a"})).await.unwrap();
            sleep(Duration::from_secs(300)).await;
            assert_eq!(world.versions(), ["2.0", "2.0"]);
        };
        world.up_during(calls).await;
    });
}

#[test]
fn deferral_is_kept_over_a_boot_and_counted_from_when_the_device_learnt_of_it() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        let app = world.caller("com.example.a", false);
        let watcher = world.caller("com.example.a", false);
        let calls = async {
            watcher.send("Watch", json!({}), true).await;
            watcher.next().await.unwrap();
            app.call("Defer", json!({"target": "os", "minutes": 1400})).await.unwrap();
            sleep(Duration::from_secs(10 * HOUR_S)).await;
        };
        world.up_during(calls).await;
        world.board.boot();
        // The boot that it has slept through.
        world.life(u64::MAX).await;
        let app = world.caller("com.example.a", false);
        let calls = async {
            sleep(Duration::from_secs(10 * HOUR_S)).await;
            let (error, limit) =
                app.call("Defer", json!({"target": "os", "minutes": 300})).await.unwrap_err();
            assert_eq!(error, "TooLong");
            assert!((235..=240).contains(&limit["limit_minutes"].as_u64().unwrap()), "{limit}");
            assert_eq!(world.board.version(), "1.1");
        };
        world.up_during(calls).await;
        world
            .until("it is applied when the day is over", 5 * HOUR_S, |world| world.board.version() == "1.2")
            .await;
    });
}

#[test]
fn deferral_of_an_app_is_kept_over_a_boot_and_ends_after_a_week() {
    run(|| async {
        let world = World::new().await;
        let apps = world.apps(&["com.example.a"]);
        world.means(&[apps[0].path()]);
        let app = world.caller("com.example.a", false);
        let watcher = world.caller("com.example.a", false);
        let calls = async {
            watcher.send("Watch", json!({}), true).await;
            assert_eq!(watcher.next().await.unwrap()["happening"], "pending");
            app.call("Defer", json!({"target": "app", "minutes": 6000})).await.unwrap();
            sleep(Duration::from_secs(50 * HOUR_S)).await;
        };
        world.up_during(calls).await;
        world.board.boot();
        // The boot that it has slept through.
        world.life(u64::MAX).await;
        let app = world.caller("com.example.a", false);
        let calls = async {
            sleep(Duration::from_secs(49 * HOUR_S)).await;
            let (error, limit) =
                app.call("Defer", json!({"target": "app", "minutes": 5000})).await.unwrap_err();
            assert_eq!(error, "TooLong");
            let minutes = limit["limit_minutes"].as_u64().unwrap();
            assert!((68 * 60 - 5..=68 * 60).contains(&minutes), "{limit}");
            app.call("Defer", json!({"target": "app", "minutes": minutes})).await.unwrap();
            sleep(Duration::from_secs(67 * HOUR_S)).await;
            assert_eq!(world.versions(), ["1.0"]);
        };
        world.up_during(calls).await;
        world
            .until("it is applied when the week is over", 2 * HOUR_S, |world| world.versions() == ["2.0"])
            .await;
    });
}

#[test]
fn owner_checks_at_once_and_a_network_that_costs_money_is_used() {
    run(|| async {
        let world = World::new().await;
        world.board.settings.borrow_mut().push_str("metered = true\n");
        let path = world.systems[1].path();
        let owner = world.caller("os.gabion.devport", true);
        let calls = async {
            sleep(Duration::from_secs(60)).await;
            world.server.answer.borrow_mut().releases = super::world::paths(std::slice::from_ref(&path));
            let checked = owner.call("CheckNow", json!({})).await.unwrap();
            assert_eq!(checked["updates"][0]["coming_version"], "1.2");
            assert_eq!(owner.call("CheckNow", json!({})).await.unwrap_err().0, "TooOften");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = world.life(u64::MAX) => {}
            () = calls => {}
        }
        world.until("it is good", 600, |world| world.knows(&path, Stage::Complete)).await;
    });
}
