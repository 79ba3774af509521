//! `os.gabion.Time`.

use bus::interfaces::time::*;
use bus::server::{Answer, Call};
use nix::time::{ClockId, clock_gettime};

use crate::appsd::Appsd;

/// 2026-01-01 UTC, before which no system of this kind was built: a clock that shows less was never set.
const FLOOR_US: i64 = 1_767_225_600_000_000;

impl Handler for Appsd {
    fn get_status(&mut self, call: Call<'_, GetStatus>) -> Answer {
        let realtime_us = microseconds(ClockId::CLOCK_REALTIME);
        call.reply(&GetStatusReply {
            realtime_us,
            monotonic_us: microseconds(ClockId::CLOCK_MONOTONIC),
            // Nothing on the device sets the clock yet, so what it shows is the board's own clock or nothing.
            source: if realtime_us < FLOOR_US { Source::None } else { Source::Rtc },
            synchronised: false,
        })
    }
}

/// A clock in microseconds.
pub(crate) fn microseconds(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000)
}
