//! The daemon, killed at any point and as often as one likes, and the power gone with it.

use proptest::prelude::*;
use service_api::updates::Stage;

use super::releases;
use super::world::{World, run};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn system_is_updated_whenever_the_daemon_is_killed(
        lives in proptest::collection::vec((0_u64..120, any::<bool>()), 1..8)
    ) {
        run(|| async move {
            let world = World::new().await;
            let path = world.systems[1].path();
            world.means(std::slice::from_ref(&path));
            for (polls, power) in lives {
                world.life(polls).await;
                if power {
                    world.board.boot();
                }
            }
            world.until("it is updated all the same", 3600, |world| world.knows(&path, Stage::Complete)).await;
            assert_eq!(world.board.version(), "1.2");
            assert!(!world.board.trial.get() && !world.board.armed.get());
            assert!(world.board.armed_times.get() <= 8, "{}", world.board.armed_times.get());
        });
    }

    #[test]
    fn apps_are_updated_all_or_none_whenever_the_daemon_is_killed(
        lives in proptest::collection::vec(0_u64..100, 1..6)
    ) {
        run(|| async move {
            let world = World::new().await;
            let apps = world.apps(&["com.example.a", "com.example.b"]);
            world.means(&apps.iter().map(releases::App::path).collect::<Vec<_>>());
            for polls in lives {
                world.life(polls).await;
                let versions = world.versions();
                assert!(versions == ["1.0", "1.0"] || versions == ["2.0", "2.0"], "{versions:?}");
            }
            let last = apps[1].path();
            world.until("they are updated all the same", 3600, |world| world.knows(&last, Stage::Complete)).await;
            assert_eq!(world.versions(), ["2.0", "2.0"]);
            assert_eq!(world.board.installed_times.get(), 1);
        });
    }
}

#[test]
fn system_that_is_killed_in_each_of_its_first_moments_is_updated_once() {
    for polls in (0..200).step_by(23) {
        run(|| async move {
            let world = World::new().await;
            let path = world.systems[1].path();
            world.means(std::slice::from_ref(&path));
            world.life(polls).await;
            world.until("it is updated", 3600, |world| world.knows(&path, Stage::Complete)).await;
            // Of all that is fetched at most a segment and what was signed come twice.
            assert!(world.server.sent.get() < 60_000, "{polls}: {}", world.server.sent.get());
        });
    }
}
