//! What an operator has a device do by the service's answer.

use service_api::Text;
use service_api::updates::{Followed, Order, Stage};
use tokio::time::{Duration, sleep};

use super::world::{World, run};

const HOUR_S: u64 = 3600;

/// Has the service say this from now on, for as long as nothing else is said.
fn orders(world: &World, number: u64, act: &str, minutes: u32) {
    let order = Order { number, act: Text::shown(act), app: Text::default(), minutes };
    world.server.means(|answer| answer.order = Some(order));
}

/// How often the service was told of an order, and what the last time.
fn told(world: &World, number: u64) -> (usize, Option<String>) {
    let checks = world.server.checks.borrow();
    let of = |followed: &&Followed| followed.number == number;
    let told: Vec<&Followed> = checks.iter().filter_map(|check| check.order.as_ref()).filter(of).collect();
    (told.len(), told.last().map(|followed| followed.refusal.to_string()))
}

fn followed(world: &World, number: u64) -> bool {
    told(world, number).1.is_some_and(|refusal| refusal.is_empty())
}

#[test]
fn operator_puts_off_what_the_same_answer_brings_and_has_it_come_after_all() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        orders(&world, 7, "defer", 120);
        world.means(std::slice::from_ref(&path));
        world.up_during(sleep(Duration::from_secs(HOUR_S))).await;
        assert_eq!((world.board.version(), told(&world, 7)), ("1.1".to_owned(), (1, Some(String::new()))));
        // Not put off anew by a daemon that is started anew.
        world.up_during(sleep(Duration::from_secs(HOUR_S / 2))).await;
        assert_eq!(told(&world, 7).0, 1);
        orders(&world, 8, "resume", 0);
        world.until("it is good", HOUR_S, |world| world.knows(&path, Stage::Complete)).await;
        assert!(followed(&world, 8) && world.told(&path).contains(&Stage::Deferred));
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
        assert_eq!(told(&world, 3).1.as_deref(), Some("there is no other system"));
        assert!(!world.knows(&path, Stage::RolledBack));
        *world.board.refuses.borrow_mut() = None;
        orders(&world, 4, "rollback", 0);
        world.until("it went back", 600, |world| world.knows(&path, Stage::RolledBack)).await;
        assert!(followed(&world, 4));
        assert_eq!(world.outcomes(&path).last().unwrap().reason.as_str(), "an operator had it go back");
        // The service says it for as long as it likes.
        world.up_during(sleep(Duration::from_secs(3 * 86_400))).await;
        assert_eq!((world.board.version(), told(&world, 4).0), ("1.1".to_owned(), 1));
    });
}

#[test]
fn order_that_cannot_be_followed_is_refused_with_the_reason() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        for (number, act, minutes, reason) in [
            (1, "defer", 5, "no update is pending"),
            (2, "resume", 0, "no update is pending"),
            (3, "dance", 0, "this system does not know that order"),
            (4, "defer", 1441, "it can be put off for 1440 minutes at most"),
        ] {
            if number == 4 {
                world.at_night();
                world.means(std::slice::from_ref(&path));
            }
            orders(&world, number, act, minutes);
            world.up_during(sleep(Duration::from_secs(2 * HOUR_S))).await;
            let (times, refusal) = told(&world, number);
            assert!(times <= 2 && refusal.as_deref() == Some(reason), "{number}: {times}, {refusal:?}");
        }
    });
}
