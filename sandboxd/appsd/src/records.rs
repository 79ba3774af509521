//! Logs and records of exits as `sandboxd` keeps them, read line by line.
//!
//! An app chose the text of its log lines, which `sandboxd` has made one printable line each. A line that can not be
//! read (torn by a power cut) is passed over.

use bus::desk::Exit;
use serde::Deserialize;

/// One line of an app's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// RFC 3339.
    pub(crate) time: &'a str,
    /// Standard error, not output.
    pub(crate) is_err: bool,
    /// What it wrote.
    pub(crate) text: &'a str,
}

/// The lines of a log, oldest first. What `sandboxd` itself noted (dropped lines) is left out.
pub(crate) fn lines(text: &str) -> Vec<Line<'_>> {
    let line = |line| {
        let (time, rest) = str::split_once(line, ' ')?;
        let (stream, text) = rest.split_once(' ')?;
        match stream {
            "out" => Some(Line { time, is_err: false, text }),
            "err" => Some(Line { time, is_err: true, text }),
            _ => None,
        }
    };
    text.lines().filter_map(line).collect()
}

/// The recorded ends of an app that nobody chose, oldest first.
pub(crate) fn crashes(text: &str) -> Vec<Exit> {
    #[derive(Deserialize)]
    struct Kept {
        time: String,
        reason: String,
        detail: String,
        uptime_ms: u64,
        count: u64,
    }
    let exit = |line| {
        let Kept { time, reason, detail, uptime_ms, count } = serde_json::from_str(line).ok()?;
        Some(Exit { time, reason, detail, uptime_ms, count })
    };
    text.lines().filter_map(exit).filter(is_crash).collect()
}

/// Whether nobody chose that the app ends: everything but an exit with code 0, and being stopped.
pub(crate) fn is_crash(exit: &Exit) -> bool {
    match exit.reason.as_str() {
        "exit" => exit.detail != "code=0",
        "stopped" => false,
        _ => true,
    }
}

/// The last `most` of a list.
pub(crate) fn newest<T>(list: &[T], most: usize) -> &[T] {
    list.get(list.len().saturating_sub(most)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_notes_left_out() {
        let text = "2026-01-01T00:00:00.000Z out hello  world\n2026-01-01T00:00:01.000Z -- 7 lines dropped\n\
                    2026-01-01T00:00:02.000Z err \ntorn\n";
        let read: Vec<_> = lines(text).into_iter().map(|l| (l.is_err, l.text)).collect();
        assert_eq!(read, [(false, "hello  world"), (true, "")]);
    }

    #[test]
    fn crashes_are_told_from_ends_and_torn_records_passed_over() {
        let text = "{\"time\":\"t\",\"count\":4,\"pid\":7,\"reason\":\"exit\",\"detail\":\"code=0\",\"uptime_ms\":5}\n\
                    {\"time\":\"2026\n\
                    {\"time\":\"t\",\"count\":4,\"pid\":7,\"reason\":\"stopped\",\"detail\":\"signal=SIGKILL\",\"uptime_ms\":5}\n\
                    {\"time\":\"t\",\"count\":5,\"pid\":7,\"reason\":\"signal\",\"detail\":\"signal=SIGSEGV\",\"uptime_ms\":5}\n";
        let read: Vec<_> = crashes(text).into_iter().map(|r| (r.count, r.reason)).collect();
        assert_eq!(read, [(5, "signal".to_owned())]);
    }

    #[test]
    fn newest_of_fewer_are_all() {
        assert_eq!(newest(&[1, 2, 3], 2), [2, 3]);
        assert_eq!(newest(&[1, 2, 3], 9), [1, 2, 3]);
        assert!(newest(&[1, 2, 3], 0).is_empty());
    }
}
