//! What PID 1 says, on the console (its stderr). A console that is gone, or stopped, is no reason to stop.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Takes a description of the console of our own that never waits: a terminal that somebody stopped would hold PID 1
/// until the hardware watchdog resets the board. What finds no room is lost; `sandboxd` leaves some.
pub(crate) fn never_wait() {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    if let Ok(console) = open("/proc/self/fd/2", flags, Mode::empty()) {
        // Without it the console is what the kernel gave us.
        let _ = nix::unistd::dup2_stderr(&console);
    }
}

/// Writes one line to the console, at once, so that nobody's comes between; errors are ignored, since there is nowhere
/// else to report them.
macro_rules! say {
    ($($word:tt)*) => {{
        use std::io::Write;
        let _ = std::io::stderr().write_all(format!("gabion: {}\n", format_args!($($word)*)).as_bytes());
    }};
}
pub(crate) use say;
