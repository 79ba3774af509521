//! Apps that come as images which were not made for good.

use crate::heart;
use device_test::{App, Bench};

/// As many as a store may have, but for the two neighbours.
const MUTANTS: u64 = 190;

#[test]
fn store_of_damaged_images_boots_and_neighbours_run() {
    // To try others: GABION_MUTANTS=FIRST.
    let first = std::env::var("GABION_MUTANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let mut bench = Bench::new("mutants").app(heart()).app(App::small("org.test.whole").image());
    let ids: Vec<String> = (first..first + MUTANTS).map(|n| format!("org.test.m{n}")).collect();
    for (id, number) in ids.iter().zip(first..) {
        bench = bench.app(App::small(id).lifecycle("restart = \"never\"\n").mutant(number));
    }
    let device = bench.boot().unwrap();
    device.wait_for("[org.test.whole] I run");
    for id in &ids {
        device.wait_for(&format!("id={id} "));
    }
    device.wait_for("gabion: ready");
    let mark = device.console().mark();
    device.wait_after(mark, "[org.test.heart] beat");
    let lines = |pattern: &str| device.console().lines(0, pattern);
    let refused = ids.iter().filter(|id| !lines(&format!("gabion: problem id={id} ")).is_empty()).count();
    let ran = ids.iter().filter(|id| !lines(&format!("event started id={id} ")).is_empty()).count();
    println!("of {MUTANTS} from {first}: {refused} refused, {ran} ran");
    assert!(refused > ids.len() / 2 && refused + ran >= ids.len(), "{refused} refused, {ran} ran");
    // What the kernel says when its file-system code met something that it does not like, or worse.
    for bad in ["erofs (device", "Oops", "BUG", "WARNING:", "general protection", "worker failed over"] {
        assert_eq!(lines(bad), [""; 0], "{bad}");
    }
    device.power_button().check_data().unwrap();
}
