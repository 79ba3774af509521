//! Updates of the system.

use service_api::updates::Stage;

use super::world::{World, run};

#[test]
fn system_that_is_meant_is_fetched_tried_and_kept() {
    run(|| async {
        let world = World::new().await;
        let path = world.systems[1].path();
        world.means(&[path.clone()]);
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
