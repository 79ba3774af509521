//! First boots of devices that are alike to the bit, clock and disks included: what each draws at random is its own. A few in
//! every run; `GABION_BOOTS=1000 cargo test -p gabion-device-test first_boots` for as many as one likes.

use device_test::{App, Bench};
use std::collections::BTreeSet;

/// Boots, if nobody says otherwise.
const FEW: usize = 3;
/// What the battery-backed clock of each shows.
const SHOWS: &str = "2027-01-01T00:00:00";

#[test]
fn first_boots_of_devices_that_are_alike_draw_other_random_numbers_each() {
    let boots = std::env::var("GABION_BOOTS").map_or(FEW, |text| text.parse().unwrap());
    let mut drawn = BTreeSet::new();
    for _ in 0..boots {
        let draw = "echo drawn $(/bin/busybox od -An -tx1 -N16 /dev/urandom); sleep 1000";
        let bench = Bench::new("first-boots").clock(SHOWS).app(App::shell("org.test.drawer", draw));
        let mut device = bench.boot().unwrap();
        let line = device.wait_for("[org.test.drawer] drawn ");
        let (_, number) = line.split_once(" drawn ").unwrap();
        assert_eq!(number.split_whitespace().count(), 16, "{line}");
        // The kernel's own first draw, and one of now.
        for file in ["boot_id", "uuid"] {
            let line = device.agent(&format!("cat /proc/sys/kernel/random/{file}")).join("");
            assert!(drawn.insert(line.trim().to_owned()), "{line} twice");
        }
        assert!(drawn.insert(number.to_owned()), "{number} twice");
    }
    assert_eq!(drawn.len(), 3 * boots);
}
