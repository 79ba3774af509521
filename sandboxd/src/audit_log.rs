//! The audit log, of the bus and of refused calls: the newest events in memory, and on disk as one JSON object a line.
//!
//! Bounded on both sides. Numbers go up by one and begin anew with each boot. What goes into a line are names that
//! `policy` has checked and details that the router has bounded; both are escaped all the same.

use std::collections::VecDeque;

use bus::control::{Event, EventKind};

use crate::line::escape;
use crate::logfile::LogFile;

/// Events that are kept in memory.
const KEPT: usize = 512;

/// One event with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub number: u64,
    /// UTC, as `2026-01-01T00:00:00.000Z`.
    pub time: String,
    /// The app whose box it was.
    pub app: String,
    /// What happened.
    pub event: Event,
}

/// See the module.
#[derive(Debug)]
pub struct AuditLog {
    entries: VecDeque<Entry>,
    last: u64,
    file: Option<LogFile>,
}

impl AuditLog {
    /// Kept in `file` too, if there is a place.
    pub fn new(file: Option<LogFile>) -> Self {
        Self { entries: VecDeque::new(), last: 0, file }
    }

    /// Adds an event of the box of `app`; gives the entry.
    pub fn add(&mut self, time: String, app: &str, event: Event) -> Entry {
        self.last += 1;
        let entry = Entry { number: self.last, time, app: app.to_owned(), event };
        if let Some(file) = &mut self.file {
            file.append(&line(&entry));
        }
        if self.entries.len() >= KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry.clone());
        entry
    }

    /// The newest `most` entries, oldest first, and how many there were before those in memory.
    pub fn newest(&self, most: usize) -> (impl Iterator<Item = &Entry>, u64) {
        let skip = self.entries.len().saturating_sub(most);
        (self.entries.iter().skip(skip), self.last - self.entries.len() as u64)
    }
}

/// The word for a kind of event.
pub fn word(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Opened => "opened",
        EventKind::Closed => "closed",
        EventKind::Refused => "refused",
        EventKind::Revoked => "revoked",
        EventKind::Dropped => "dropped",
        EventKind::Called => "called",
        EventKind::Denied => "denied",
    }
}

fn line(entry: &Entry) -> String {
    let Entry { number, time, app, event } = entry;
    let text =
        |text: &str| escape(text.as_bytes()).replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t");
    format!(
        "{{\"number\":{number},\"time\":\"{time}\",\"kind\":\"{}\",\"app\":\"{}\",\"uid\":{},\"interface\":\"{}\",\
         \"serial\":{},\"detail\":\"{}\",\"suppressed\":{}}}\n",
        word(event.kind),
        text(app),
        event.uid,
        text(&event.interface),
        event.serial,
        text(&event.detail),
        event.suppressed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(detail: &str) -> Event {
        Event {
            kind: EventKind::Refused,
            uid: 10_000,
            interface: "com.example.T".into(),
            serial: 0,
            detail: detail.into(),
            suppressed: 0,
        }
    }

    #[test]
    fn audit_log_is_bounded_and_numbers_go_on() {
        let mut log = AuditLog::new(None);
        for _ in 0..KEPT + 10 {
            log.add("t".into(), "com.example.a", event("x"));
        }
        let (all, lost) = log.newest(usize::MAX);
        assert_eq!((all.count(), lost), (KEPT, 10));
        assert_eq!(log.newest(2).0.map(|e| e.number).collect::<Vec<_>>(), [521, 522]);
    }

    #[test]
    fn audit_line_is_one_line_of_json_whatever_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AuditLog::new(Some(LogFile::new(dir.path().into())));
        log.add("t".into(), "com.example.a", event("a\"b\\c\nd"));
        let text = std::fs::read_to_string(dir.path().join("current")).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains(r#""detail":"a\"b\\c\\x0ad""#), "{text}");
    }
}
