//! `gabion doctor`: whether this machine can do what `gabion` would have it do, and whether a device and the service are there.
//!
//! What a box needs of the kernel is asked by the code that makes boxes. Nothing is changed, and nothing needs root.

mod machine;
mod others;

pub(crate) use machine::found;

use std::io::stdout;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::bus::Place;
use crate::output::{answer, is_coloured, printable};

/// Arguments of `gabion doctor`.
#[derive(clap::Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    place: Place,
}

/// What came of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it must be.
    Ok,
    /// Something will not be possible that many do without.
    Warn,
    /// What everybody needs is not there.
    Fail,
}

/// One question, and its answer.
#[derive(Debug, Serialize)]
struct Finding {
    /// What it is about: `boxes`, `packages`, `make run`, `device`, `service`.
    about: &'static str,
    name: String,
    state: State,
    /// What is there, or is not.
    said: String,
    /// What to do; empty if nothing.
    help: String,
}

impl Finding {
    fn ok(about: &'static str, name: impl Into<String>, said: impl Into<String>) -> Self {
        Self { about, name: name.into(), state: State::Ok, said: said.into(), help: String::new() }
    }

    fn not(
        state: State,
        about: &'static str,
        name: impl Into<String>,
        (said, help): (impl Into<String>, impl Into<String>),
    ) -> Self {
        Self { about, name: name.into(), state, said: said.into(), help: help.into() }
    }
}

/// Whether nothing fails.
pub(crate) fn run(asked: Asked) -> Result<bool> {
    let mut findings = machine::boxes();
    findings.extend(machine::tools());
    findings.push(others::device(asked.place));
    findings.push(others::service());
    let good = findings.iter().all(|finding| finding.state != State::Fail);
    answer(&json!({ "good": good, "findings": findings }), || text(&findings, is_coloured(&stdout())))?;
    Ok(good)
}

fn text(findings: &[Finding], coloured: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, colour) = match finding.state {
            State::Ok => ("ok  ", "32"),
            State::Warn => ("warn", "33"),
            State::Fail => ("FAIL", "31"),
        };
        let word = if coloured { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() };
        let (about, name, said) = (finding.about, &finding.name, printable(&finding.said));
        text.push_str(&format!("{word}  {about:9} {name:18} {said}\n"));
        if !finding.help.is_empty() {
            text.push_str(&format!("{:17}help: {}\n", "", finding.help));
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    text.push_str(&format!("\n{} warnings, {} failures\n", count(State::Warn), count(State::Fail)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_that_is_not_well_says_what_to_do() {
        let findings = [
            Finding::ok("boxes", "kernel", "6.12.1"),
            Finding::not(
                State::Fail,
                "packages",
                "mkfs.erofs",
                ("not\u{1b} there", "apt-get install erofs-utils"),
            ),
        ];
        let plain = text(&findings, false);
        assert!(plain.starts_with("ok    boxes     kernel             6.12.1\nFAIL  packages "), "{plain}");
        assert!(plain.contains("\n                 help: apt-get install erofs-utils\n"), "{plain}");
        assert!(plain.ends_with("\n0 warnings, 1 failures\n") && !plain.contains('\u{1b}'), "{plain}");
        assert!(text(&findings, true).contains("\u{1b}[31mFAIL\u{1b}[0m"));
    }
}
