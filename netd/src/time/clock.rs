//! The device's clock, behind a trait: tests have one of their own, and never touch the machine's.

use std::io;

use super::discipline::Now;

/// A clock that can be read and set.
pub trait Clock {
    /// What it shows, beside the local clock that nothing sets.
    ///
    /// # Errors
    /// The kernel has no such clock.
    fn now(&self) -> io::Result<Now>;

    /// Whether it is synchronised already: somebody else set it, or we did before we were restarted.
    fn is_synchronised(&self) -> bool;

    /// Adds to it at once. `error_ns` is how far off it may be then; `None` if that is not known.
    ///
    /// # Errors
    /// The kernel refuses.
    fn step(&mut self, offset_ns: i64, error_ns: Option<i64>) -> io::Result<()>;

    /// Lets it run faster or slower until it is right.
    ///
    /// # Errors
    /// The kernel refuses.
    fn slew(&mut self, offset_ns: i64, error_ns: i64, interval_log2_s: u8) -> io::Result<()>;
}

/// The kernel's clock. The kernel writes it to the board's battery-backed clock by itself while it is synchronised.
#[derive(Debug, Default)]
pub struct Kernel;

impl Clock for Kernel {
    fn now(&self) -> io::Result<Now> {
        Ok(Now { local_ns: sys::time::clock::raw_ns()?, real_ns: sys::time::clock::realtime_ns()? })
    }

    fn is_synchronised(&self) -> bool {
        // A kernel that does not say is one that was not synchronised.
        sys::time::clock::is_synchronised().unwrap_or(false)
    }

    fn step(&mut self, offset_ns: i64, error_ns: Option<i64>) -> io::Result<()> {
        sys::time::clock::step(
            offset_ns,
            error_ns.map_or(sys::time::clock::Trust::None, sys::time::clock::Trust::Within),
        )
    }

    fn slew(&mut self, offset_ns: i64, error_ns: i64, interval_log2_s: u8) -> io::Result<()> {
        sys::time::clock::slew(offset_ns, error_ns, interval_log2_s)
    }
}
