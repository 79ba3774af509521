//! What an operator has a device do by the service's answer.

use service_api::Text;
use service_api::updates::{How, Order, Stage};
use tokio::time::{Duration, sleep};

use super::world::{World, run};

const HOUR_S: u64 = 3600;

/// Has the service say this from now on, for as long as nothing else is said.
fn orders(world: &World, number: u64, act: &str, minutes: u32) {
    let order = Order { number, act: Text::shown(act), app: Text::default(), minutes };
    world.server.means(|answer| answer.order = Some(order));
}

/// What the service was told of an order.
fn told(world: &World, number: u64) -> Vec<(How, String)> {
    let checks = world.server.checks.borrow();
    let of = checks.iter().filter_map(|check| check.order.as_ref()).filter(|said| said.number == number);
    of.map(|said| (said.how, said.reason.to_string())).collect()
}

fn done() -> (How, String) {
    (How::Done, String::new())
}

fn begun() -> (How, String) {
    (How::Begun, String::new())
}

fn refused(reason: &str) -> (How, String) {
    (How::Refused, reason.to_owned())
}

#[test]
fn operator_puts_off_what_the_same_answer_brings_and_has_it_come_after_all() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        orders(&world, 7, "defer", 120);
        world.means(std::slice::from_ref(&path));
        world.up_during(sleep(Duration::from_secs(HOUR_S))).await;
        assert_eq!((world.board.version(), told(&world, 7)), ("1.1".to_owned(), vec![done()]));
        // Not put off anew by a daemon that is started anew.
        world.up_during(sleep(Duration::from_secs(HOUR_S / 2))).await;
        assert_eq!(told(&world, 7), [done()]);
        orders(&world, 8, "resume", 0);
        world.until("it is good", HOUR_S, |world| world.knows(&path, Stage::Complete)).await;
        assert_eq!(told(&world, 8), [done()]);
        assert!(world.told(&path).contains(&Stage::Deferred));
    });
}

#[test]
fn operator_has_the_system_go_back_once() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        world.until("it runs and is good", 600, |world| world.knows(&path, Stage::Complete)).await;
        *world.board.refuses.borrow_mut() = Some("there is no other system".to_owned());
        orders(&world, 3, "rollback", 0);
        world.up_during(sleep(Duration::from_secs(HOUR_S))).await;
        assert_eq!(told(&world, 3), [begun(), refused("there is no other system")]);
        assert!(!world.knows(&path, Stage::RolledBack));
        *world.board.refuses.borrow_mut() = None;
        orders(&world, 4, "rollback", 0);
        world.until("it went back", 600, |world| world.knows(&path, Stage::RolledBack)).await;
        assert_eq!(world.outcomes(&path).last().unwrap().reason.as_str(), "an operator had it go back");
        // The service says it for as long as it likes.
        world.up_during(sleep(Duration::from_secs(3 * 86_400))).await;
        assert_eq!((world.board.version(), told(&world, 4)), ("1.1".to_owned(), vec![begun(), done()]));
    });
}

#[test]
fn order_that_cannot_be_followed_is_refused_with_the_reason() {
    run(|| async {
        let world = World::new().await;
        for (number, act, minutes, reason) in [
            (1, "defer", 5, "no update is pending"),
            (2, "resume", 0, "no update is pending"),
            (3, "dance", 0, "this system does not know that order"),
        ] {
            orders(&world, number, act, minutes);
            world.up_during(sleep(Duration::from_secs(2 * HOUR_S))).await;
            assert_eq!(told(&world, number), [refused(reason)], "{number}");
        }
        // For longer than it may be: for as long as it may be.
        world.means(std::slice::from_ref(&world.systems[1].path()));
        orders(&world, 4, "defer", 10_020);
        world.up_during(sleep(Duration::from_secs(20 * HOUR_S))).await;
        let (how, reason) = told(&world, 4).pop().unwrap();
        assert!(how == How::Done && reason.starts_with("for 14") && reason.contains(" minutes"), "{reason}");
    });
}

#[test]
fn order_that_was_taken_back_before_it_was_done_is_not_and_one_of_a_device_that_went_down_says_so() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.means(std::slice::from_ref(&path));
        world.until("it runs and is good", 600, |world| world.knows(&path, Stage::Complete)).await;
        orders(&world, 5, "rollback", 0);
        let watch = async {
            while world.kept()["orders"]["last"]["number"] != 5 {
                sleep(Duration::from_secs(1)).await;
            }
            world.server.means(|answer| answer.order = None);
            sleep(Duration::from_secs(HOUR_S)).await;
        };
        world.up_during(watch).await;
        assert_eq!(told(&world, 5), [begun(), refused("it was taken back, or came too late")]);
        assert_eq!(world.board.version(), "1.2");

        // The service was told that it was begun, and nothing was done: as after a cut in between.
        world.up_during(sleep(Duration::from_secs(60))).await;
        let mut kept = world.kept();
        kept["orders"]["last"] = serde_json::json!({"number": 6, "how": "begun", "reason": ""});
        kept["orders"]["told"] = true.into();
        kept["orders"]["from"] = serde_json::Value::Null;
        std::fs::write(world.board.folder.path().join("storage/state.json"), kept.to_string()).unwrap();
        orders(&world, 6, "rollback", 0);
        world.up_during(sleep(Duration::from_secs(HOUR_S))).await;
        let went_down = "the device or its update daemon went down, and does not know whether it was done";
        assert_eq!((told(&world, 6), world.board.version()), (vec![refused(went_down)], "1.2".to_owned()));

        // An update came in between, before anybody let it be done.
        let mut kept = world.kept();
        kept["orders"]["last"] = serde_json::json!({"number": 7, "how": "begun", "reason": ""});
        kept["orders"]["told"] = false.into();
        kept["orders"]["from"] = vec![7; 32].into();
        std::fs::write(world.board.folder.path().join("storage/state.json"), kept.to_string()).unwrap();
        orders(&world, 7, "rollback", 0);
        world.up_during(sleep(Duration::from_secs(HOUR_S))).await;
        let moved_on = refused("another system was started before it was done");
        assert_eq!((told(&world, 7), world.board.version()), (vec![moved_on], "1.2".to_owned()));
    });
}
