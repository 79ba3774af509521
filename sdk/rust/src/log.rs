//! Lines with fields for `gabion logs`: `level=info event=heats degrees=19.5 room="living room"`.
//!
//! What an app writes to its standard output and error is its log; the device adds the time, and bounds its rate. Warnings and
//! errors go to standard error, which the device shows as such.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

/// Longest line that the device keeps whole, bytes.
const LINE_MAX: usize = 4096;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For who looks for a fault.
    Debug,
    /// As it should be.
    Info,
    /// Somebody should look at it some time.
    Warn,
    /// Something does not work.
    Error,
}

/// A line that is being put together. It is written whole, by [`Line::write`].
#[derive(Debug)]
#[must_use = "it is written by `write`"]
pub struct Line {
    level: Level,
    text: String,
}

/// A line of this level; `event` is one word that says what happened.
///
/// ```
/// use gabion::log::{Level, line};
///
/// line(Level::Info, "heats").with("degrees", 19.5).with("room", "living room").write();
/// ```
pub fn line(level: Level, event: &str) -> Line {
    let name = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    Line { level, text: format!("level={name}") }.with("event", event)
}

/// See [`line`].
pub fn debug(event: &str) -> Line {
    line(Level::Debug, event)
}

/// See [`line`].
pub fn info(event: &str) -> Line {
    line(Level::Info, event)
}

/// See [`line`].
///
/// ```
/// # let error = std::io::Error::other("no answer");
/// gabion::log::warn("not-published").with("why", &error).write();
/// ```
pub fn warn(event: &str) -> Line {
    line(Level::Warn, event)
}

/// See [`line`].
pub fn error(event: &str) -> Line {
    line(Level::Error, event)
}

impl Line {
    /// One field more. A value with spaces or quotes is written as a JSON string.
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let plain =
            !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
        let value = if plain { value } else { serde_json::Value::String(value).to_string() };
        // Writing to a String does not fail.
        let _ = write!(self.text, " {key}={value}");
        self
    }

    /// Writes it, at most 4096 bytes.
    pub fn write(self) {
        let mut text = self.text;
        let end = (0..=LINE_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push('\n');
        // There is nobody to tell when it fails.
        let _ = if self.level >= Level::Warn {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            std::io::stdout().lock().write_all(text.as_bytes())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_its_fields_and_quotes_what_would_not_be_one_word() {
        let line = info("heats")
            .with("degrees", 19.5)
            .with("room", "living room")
            .with("say", "a\"\nb")
            .with("no", "");
        assert_eq!(line.text, r#"level=info event=heats degrees=19.5 room="living room" say="a\"\nb" no="""#);
    }
}
