//! Time, which passes when nobody has anything to do.

use std::cell::Cell;

use tokio::time::Instant;
use updated::state::Clock;

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static BOOTED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Begins, now.
pub(crate) fn begin() {
    BEGAN.set(Some(Instant::now()));
    boot();
}

/// The device boots.
pub(crate) fn boot() {
    BOOTED.set(Some(Instant::now()));
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    let passed = BEGAN.get().map_or(0, |began| began.elapsed().as_secs());
    u64::try_from(update_test::NOW_S).unwrap() + passed
}

/// As the daemon has it.
pub(crate) fn clock() -> Clock {
    let boot_ms = || BOOTED.get().map_or(0, |at| u64::try_from(at.elapsed().as_millis()).unwrap());
    Clock { wall_s: now_s, boot_ms }
}
