//! What `gabion` shows, and how: as text for people or as JSON for programs, coloured or plain. One way for all commands.
//!
//! Answers go to standard output, everything else to standard error. With `--json` the answer is one JSON value (of what goes on,
//! one a line), and an error is one line of JSON on standard error: `{"error": {"code", "exit", "message", "help", "problems"}}`.
//! Names of fields keep their meaning once they were given out; more may come.

use std::io::{IsTerminal, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde::Serialize;

/// Set once, by `main`, before anything is shown.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether programs read what is shown.
pub(crate) fn begin(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Whether the answer is to be JSON.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Whether colours are wanted in a stream: on a terminal, unless its user says otherwise.
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    coloured(stream.is_terminal(), |name| std::env::var(name).ok())
}

/// By <https://no-color.org> and <https://bixense.com/clicolors>.
fn coloured(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let is = |name: &str, value: &str| variable(name).as_deref() == Some(value);
    if is_set("NO_COLOR") {
        return false;
    }
    if is_set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0") {
        return true;
    }
    terminal && !is("CLICOLOR", "0") && !is("TERM", "dumb")
}

/// Shows the answer. `false`: whoever reads it has gone.
pub(crate) fn answer(value: &impl Serialize, text: impl FnOnce() -> String) -> Result<bool> {
    Ok(print(&if is_json() { format!("{}\n", serde_json::to_string_pretty(value)?) } else { text() }))
}

/// Shows one of many answers, as one line of JSON.
pub(crate) fn event(value: &impl Serialize, text: impl FnOnce() -> String) -> Result<bool> {
    Ok(print(&if is_json() { format!("{}\n", serde_json::to_string(value)?) } else { text() }))
}

/// Prints; whether anybody still reads.
pub(crate) fn print(text: &str) -> bool {
    let mut out = stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Outside text, fit for a terminal that is not its own.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_users_want_them() {
        let with = |terminal, set: &[(&str, &str)]| {
            coloured(terminal, |name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(true, &[]) && !with(false, &[]));
        assert!(!with(true, &[("NO_COLOR", "1")]) && with(true, &[("NO_COLOR", "")]));
        assert!(!with(true, &[("CLICOLOR", "0")]) && !with(true, &[("TERM", "dumb")]));
        assert!(with(false, &[("CLICOLOR_FORCE", "1")]) && !with(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    }
}
