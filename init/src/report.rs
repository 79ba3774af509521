//! What PID 1 says, on the console (its stderr). A console that is gone is no reason to stop.

/// Writes one line to the console; errors are ignored, since there is nowhere else to report them.
macro_rules! say {
    ($($word:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "gabion: {}", format_args!($($word)*));
    }};
}
pub(crate) use say;
