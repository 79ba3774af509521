//! The two board devices PID 1 holds: the hardware watchdog and the power button.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

const WDIOC_SETTIMEOUT: libc::c_ulong = 0xc004_5706; // linux/watchdog.h
const EV_KEY: u16 = 1; // linux/input-event-codes.h
const KEY_POWER: u16 = 116;
/// `struct input_event` on 64-bit: two longs of time, then u16 type, u16 code, i32 value.
const INPUT_EVENT: usize = 24;

/// An armed hardware watchdog. Dropping it without [`Watchdog::disarm`] leaves it armed, on purpose.
pub struct Watchdog(File);

impl Watchdog {
    /// Opens and arms `/dev/watchdog`.
    ///
    /// # Errors
    /// Those of `open(2)` (`NotFound`: the board has none) and of the timeout ioctl.
    pub fn arm(seconds: i32) -> io::Result<Watchdog> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open("/dev/watchdog")?;
        let mut timeout = seconds;
        // SAFETY: the ioctl reads and writes one int, which `timeout` is.
        let r = unsafe { libc::ioctl(file.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut timeout) };
        if r < 0 { Err(io::Error::last_os_error()) } else { Ok(Watchdog(file)) }
    }

    /// Says that PID 1's loop is alive.
    pub fn pet(&mut self) {
        // A failing watchdog must end in its reset, so there is nothing to do about an error here.
        let _ = self.0.write(b"\0");
    }

    /// Switches it off for an orderly end (`V`: the magic close).
    pub fn disarm(mut self) {
        let _ = self.0.write(b"V");
    }
}

/// Opens the input devices that may carry a power button (the first four), non-blocking.
pub fn buttons() -> Vec<File> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let open = |n| OpenOptions::new().read(true).custom_flags(flags).open(format!("/dev/input/event{n}"));
    (0..4).filter_map(|n| open(n).ok()).collect()
}

/// Reads what is there and says whether the power button was pressed.
pub fn power_pressed(button: &mut File) -> bool {
    let mut buffer = [0; INPUT_EVENT * 16];
    let n = button.read(&mut buffer).unwrap_or(0);
    let events = buffer.get(..n).unwrap_or(&[]);
    events.chunks_exact(INPUT_EVENT).any(|event| {
        let word = |at: usize| event.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
        word(16) == Some(EV_KEY) && word(18) == Some(KEY_POWER) && word(20) == Some(1)
    })
}
