//! How far a long step is: on a terminal, on standard error, gone when it is over. Nothing for programs.
//!
//! Colours are left to the terminal's user: there are none here.

use std::io::{IsTerminal, Read, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::is_json;

/// Between two pictures of a step whose length nobody knows.
const TICK: Duration = Duration::from_millis(100);

fn target() -> ProgressDrawTarget {
    let wanted = stderr().is_terminal() && !is_json() && std::env::var("TERM").as_deref() != Ok("dumb");
    if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn bar(length: Option<u64>, template: &str, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(length, target()).with_style(style).with_message(what.to_owned())
}

/// Does something of which nobody knows how long it takes.
pub(crate) fn during<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let bar = bar(None, "{spinner} {msg} {elapsed}", what);
    bar.enable_steady_tick(TICK);
    let done = work();
    bar.finish_and_clear();
    done
}

/// A file that is read to its end, and shows how far that is. It goes away with the reader.
pub(crate) fn reading<R: Read>(what: &str, length: u64, file: R) -> impl Read {
    let bar = bar(Some(length), "{msg} {wide_bar} {bytes}/{total_bytes} {eta}", what);
    bar.with_finish(indicatif::ProgressFinish::AndClear).wrap_read(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_what_is_read_come_through_where_there_is_no_terminal() {
        assert_eq!(during("counting", || 1 + 1), 2);
        let mut read = Vec::new();
        reading("a file", 3, &b"abc"[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"abc");
    }
}
