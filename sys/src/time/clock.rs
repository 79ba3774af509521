//! The kernel's clock: reading it, and setting it by `adjtimex`, for which no safe crate has a wrapper.
//!
//! Setting needs `CAP_SYS_TIME`. The kernel forgets by itself that the clock is synchronised when its error bound, which
//! grows by 500 ppm, is 16 s; while it is, the kernel writes the battery-backed clock every 11 minutes.

use std::io;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// The kernel's bound of an error it takes for synchronised, microseconds: NTP_PHASE_LIMIT.
const UNSYNCHRONISED_US: i64 = 16_000_000;

/// What the clock is to know of itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is right within this many nanoseconds.
    Within(i64),
    /// It is a guess.
    None,
}

/// `CLOCK_REALTIME`, nanoseconds since 1970.
pub fn realtime_ns() -> io::Result<i64> {
    read(nix::time::ClockId::CLOCK_REALTIME)
}

/// `CLOCK_MONOTONIC_RAW`, nanoseconds: no adjustment reaches it.
pub fn raw_ns() -> io::Result<i64> {
    read(nix::time::ClockId::CLOCK_MONOTONIC_RAW)
}

fn read(clock: nix::time::ClockId) -> io::Result<i64> {
    let time = nix::time::clock_gettime(clock)?;
    Ok(time.tv_sec().saturating_mul(SECOND).saturating_add(time.tv_nsec()))
}

/// Whether the kernel takes its clock for synchronised.
pub fn is_synchronised() -> io::Result<bool> {
    let mut wanted = nothing();
    adjust(&mut wanted)?;
    Ok(wanted.status & libc::STA_UNSYNC == 0)
}

/// Adds to the clock at once, nanoseconds.
pub fn step(offset_ns: i64, trust: Trust) -> io::Result<()> {
    let mut wanted = nothing();
    wanted.modes = libc::ADJ_SETOFFSET | libc::ADJ_NANO;
    wanted.time.tv_sec = offset_ns.div_euclid(SECOND);
    // With ADJ_NANO the kernel reads nanoseconds here.
    wanted.time.tv_usec = offset_ns.rem_euclid(SECOND);
    adjust(&mut wanted)?;
    // What was left of a slew was for the time before.
    let mut wanted = nothing();
    wanted.modes = libc::ADJ_OFFSET | libc::ADJ_NANO;
    believe(&mut wanted, trust);
    adjust(&mut wanted)
}

/// Lets the kernel's phase-locked loop take the clock to `offset_ns`, at most half a second, and learn the crystal's
/// error from it. `interval_log2_s`: how far apart, as a power of two of seconds, such corrections are.
pub fn slew(offset_ns: i64, error_ns: i64, interval_log2_s: u8) -> io::Result<()> {
    let mut wanted = nothing();
    wanted.modes = libc::ADJ_OFFSET | libc::ADJ_NANO | libc::ADJ_TIMECONST;
    wanted.offset = offset_ns;
    // The loop takes away most of the offset in 2^(2 + constant) s (SHIFT_PLL): a quarter of the interval, as timesyncd has it.
    wanted.constant = i64::from(interval_log2_s.saturating_sub(4).min(10));
    believe(&mut wanted, Trust::Within(error_ns));
    adjust(&mut wanted)
}

fn believe(wanted: &mut libc::timex, trust: Trust) {
    wanted.modes |= libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
    let (status, error_us) = match trust {
        Trust::Within(error_ns) => (libc::STA_PLL, (error_ns / 1000).clamp(0, UNSYNCHRONISED_US)),
        Trust::None => (libc::STA_UNSYNC, UNSYNCHRONISED_US),
    };
    wanted.status = status;
    wanted.maxerror = error_us;
    wanted.esterror = error_us;
}

fn nothing() -> libc::timex {
    // SAFETY: `timex` is integers alone, for which all zeroes is a value.
    unsafe { std::mem::zeroed() }
}

fn adjust(wanted: &mut libc::timex) -> io::Result<()> {
    // SAFETY: the pointer is to a whole `timex` that is ours alone for the call; the kernel writes no more than it.
    match unsafe { libc::adjtimex(wanted) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_read_go_on() {
        let (real, raw) = (realtime_ns().unwrap(), raw_ns().unwrap());
        assert!(real > 1_600_000_000 * SECOND);
        assert!(raw_ns().unwrap() >= raw);
        is_synchronised().unwrap();
    }

    #[test]
    fn belief_is_what_the_kernel_calls_it() {
        let mut wanted = nothing();
        believe(&mut wanted, Trust::None);
        assert_eq!((wanted.status, wanted.maxerror), (libc::STA_UNSYNC, UNSYNCHRONISED_US));
        believe(&mut wanted, Trust::Within(1_500_000));
        assert_eq!((wanted.status, wanted.maxerror, wanted.esterror), (libc::STA_PLL, 1500, 1500));
    }
}
