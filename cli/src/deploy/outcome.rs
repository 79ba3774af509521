//! What becomes of an app that was just installed: whether it runs, what it writes, what it is refused.

use std::time::{Duration, Instant};

use anyhow::Result;
use bus::interfaces::apps::{App, GetStatusReply, LogLine, State};
use bus::interfaces::audit::{Kind, ListReply};
use bus::interfaces::developer::InstallReply;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::apps::words;
use crate::bus::Talk;
use crate::output::printable;

/// The interface of apps.
pub(super) const APPS: &str = "os.gabion.Apps";
/// Lines that are looked at: as many as can be asked for.
pub(super) const LINES: usize = 1000;
const AUDIT: &str = "os.gabion.Audit";
/// Events that are looked at: as many as can be asked for.
const EVENTS: usize = 100;
/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(20);
/// How long it is looked after once it has said something: what fails does so after its first words.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest wait for its start: an app that says `READY=1` may take its time.
const START: Duration = Duration::from_secs(120);

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) time: String,
    pub(super) stream: &'static str,
    pub(super) text: String,
}

impl Line {
    pub(super) fn shown(&self) -> String {
        format!("{} {} {}\n", printable(&self.time), self.stream, printable(&self.text))
    }
}

/// Up to where everything is old.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark {
    /// The device's time then.
    time: String,
    /// Lines of just that time which were seen.
    seen: Vec<Line>,
    /// The newest event of the bus.
    event: i64,
}

impl Mark {
    /// Now.
    pub(super) fn of(talk: &mut Talk) -> Result<Self> {
        talk.turn_to(AUDIT)?;
        let mut mark = Self::default();
        if let Ok(reply) = talk.call("List", &json!({ "newest": 1 }))? {
            // That the interface was opened for us is the newest event: it is never empty, and its time is now.
            let newest = ListReply::deserialize(&reply)?.events.pop();
            if let Some(newest) = newest {
                (mark.event, mark.time) = (newest.number, newest.time.to_string());
            }
        }
        Ok(mark)
    }

    /// Those of `lines` that are newer; from now on they are old.
    pub(super) fn newer(&mut self, lines: &[Line]) -> Vec<Line> {
        let mut new: Vec<Line> = lines.iter().filter(|line| line.time >= self.time).cloned().collect();
        let mut known = self.seen.clone();
        new.retain(|line| match known.iter().position(|seen| seen == line) {
            Some(at) => {
                known.remove(at);
                false
            }
            None => true,
        });
        if let Some(last) = new.last() {
            if last.time > self.time {
                self.seen.clear();
                self.time = last.time.clone();
            }
            self.seen.extend(new.iter().filter(|line| line.time == self.time).cloned());
        }
        new
    }
}

/// What was seen of an app.
pub(super) struct Seen {
    pub(super) app: String,
    version: String,
    root_hash: String,
    bytes: usize,
    state: State,
    last_exit: Option<String>,
    problem: Option<String>,
    lines: Vec<Line>,
    refused: Vec<String>,
    /// What comes after it was not shown yet.
    pub(super) mark: Mark,
}

impl Seen {
    /// Waits until it runs, or it is known why it does not; then for its first line, at most so long.
    pub(super) fn of(
        talk: &mut Talk,
        installed: &InstallReply<'_>,
        bytes: usize,
        mark: &Mark,
        wait: Duration,
    ) -> Result<Self> {
        let mut seen = Self {
            app: installed.app.to_string(),
            version: installed.version.to_string(),
            root_hash: installed.root_hash.to_string(),
            bytes,
            state: State::Preparing,
            last_exit: None,
            problem: None,
            lines: Vec::new(),
            refused: Vec::new(),
            mark: mark.clone(),
        };
        talk.turn_to(APPS)?;
        let began = Instant::now();
        while seen.look(talk)? && began.elapsed() < START {
            std::thread::sleep(LOOK);
        }
        let began = Instant::now();
        while seen.lines.is_empty() && seen.is_running() && began.elapsed() < wait {
            std::thread::sleep(LOOK);
            seen.look(talk)?;
        }
        let began = Instant::now();
        while seen.is_running() && began.elapsed() < SETTLE {
            std::thread::sleep(LOOK);
            seen.look(talk)?;
        }
        seen.denials(talk)?;
        Ok(seen)
    }

    /// Looks once. Whether it is on its way still.
    fn look(&mut self, talk: &mut Talk) -> Result<bool> {
        if let Ok(reply) = talk.call("GetStatus", &json!({ "app": self.app }))? {
            let GetStatusReply { status } = GetStatusReply::deserialize(&reply)?;
            self.take(&status);
        }
        if let Ok(reply) = talk.call("GetLog", &json!({ "app": self.app, "lines": LINES }))? {
            let new = self.mark.newer(&log_lines(&reply)?);
            self.lines.extend(new);
        }
        Ok(matches!(self.state, State::Preparing | State::Starting))
    }

    fn take(&mut self, status: &App<'_>) {
        self.state = status.state;
        self.problem = status.problem.as_ref().map(ToString::to_string);
        // One before the installation was another's.
        let own =
            status.last_exit.as_ref().filter(|exit| *exit.time > *self.mark.time || status.pid.is_none());
        self.last_exit = own.filter(|_| !self.is_running()).map(|exit| exit.detail.to_string());
    }

    fn denials(&mut self, talk: &mut Talk) -> Result<()> {
        talk.turn_to(AUDIT)?;
        let Ok(reply) = talk.call("List", &json!({ "newest": EVENTS }))? else { return Ok(()) };
        let events = ListReply::deserialize(&reply)?.events;
        let own =
            events.iter().filter(|event| event.number > self.mark.event && event.app == self.app.as_str());
        self.refused = own
            .filter_map(|event| match event.kind {
                Kind::Denied => Some(event.detail.to_string()),
                Kind::Refused => Some(format!("bus {} {}", event.interface, event.detail)),
                _ => None,
            })
            .collect();
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// It runs, or has done what it was to do.
    pub(super) fn is_good(&self) -> bool {
        self.is_running() || self.state == State::Stopped && self.last_exit.as_deref() == Some("code=0")
    }

    fn state(&self) -> &'static str {
        words::state(self.state)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text: String = self.lines.iter().map(|line| line.shown()).collect();
        for what in &self.refused {
            text.push_str(&format!("refused  {}\n", printable(what)));
        }
        text.push_str(&format!("{} {}: {}", printable(&self.app), printable(&self.version), self.state()));
        if let Some(exit) = &self.last_exit {
            text.push_str(&format!(", ended by {}", printable(exit)));
        }
        text.push('\n');
        for line in self.problem.iter().flat_map(|problem| problem.lines()) {
            text.push_str(&format!("{}\n", printable(line)));
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let Self { app, version, root_hash, bytes, last_exit, problem, lines, refused, .. } = self;
        json!({
            "app": app, "version": version, "root_hash": root_hash, "bytes": bytes, "state": self.state(),
            "running": self.is_running(), "last_exit": last_exit, "problem": problem, "lines": lines, "refused": refused,
        })
    }
}

/// The lines of a reply of `GetLog` or `FollowLog`.
pub(super) fn log_lines(reply: &Value) -> Result<Vec<Line>> {
    let lines = reply.get("lines").cloned().unwrap_or(Value::Array(Vec::new()));
    let lines = Vec::<LogLine<'_>>::deserialize(&lines)?;
    let line = |line: &LogLine<'_>| Line {
        time: line.time.to_string(),
        stream: words::stream(line.stream),
        text: line.text.to_string(),
    };
    Ok(lines.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: &str, text: &str) -> Line {
        Line { time: time.to_owned(), stream: "out", text: text.to_owned() }
    }

    #[test]
    fn lines_are_new_once_also_those_of_one_moment() {
        let mut mark = Mark { time: "T1".to_owned(), ..Mark::default() };
        let one = [line("T0", "old"), line("T1", "a"), line("T1", "a"), line("T2", "b")];
        assert_eq!(mark.newer(&one), one[1..]);
        assert!(mark.newer(&one).is_empty());
        let two = [line("T2", "b"), line("T2", "b"), line("T2", "c"), line("T3", "d")];
        assert_eq!(mark.newer(&two), two[1..]);
        assert!(mark.newer(&two).is_empty());
    }
}
