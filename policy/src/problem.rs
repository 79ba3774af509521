//! What is wrong with a manifest, said so that its author can put it right.
//!
//! Every message names a place (line, column, key), the fault, and what to write instead. An attacker controls the
//! text that is quoted here; quotes are cut to [`QUOTE_MAX`] characters and escaped, so that a message is one
//! printable line whatever the manifest held. Nothing here decides what is right: see `claims` and `rules`.

use std::fmt;

/// Longest piece of a manifest repeated in a message, in characters. Longer texts are cut and end in `…`.
pub(crate) const QUOTE_MAX: usize = 80;

/// A value that its type cannot hold: the fault and what to write instead, both without a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The fault, lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Invalid {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.help)
    }
}

impl std::error::Error for Invalid {}

/// One fault of a manifest at its place. `Display` prints
/// `manifest.toml:LINE: KEY: MESSAGE`, then `  help: …` on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1. For something absent: the line of the table it belongs in, or 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The bytes of the text that are to blame, as offsets: its own bounds are kept, and they lie between characters.
    pub start: usize,
    /// Behind the last of them.
    pub end: usize,
    /// Dotted key, as `resources.memory` or `network.connect[0]`; empty for a fault of the whole file.
    pub key: String,
    /// The fault, lower case, no full stop.
    pub message: String,
    /// What to write instead; empty where the message says it all.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "manifest.toml:{}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A quoted, escaped and shortened copy of outside text, fit for one line of a message.
pub(crate) fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTE_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTE_MAX).is_some() {
        short.push('…');
    }
    format!("\"{short}\"")
}

/// The candidate nearest to `wanted` by edit distance, if it is near enough to be what was meant:
/// at most a third of the word wrong, and never more than three edits.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.len() > 64 {
        return None;
    }
    let wanted = wanted.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(wanted.len()) / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance between two short words, by characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((to, pair), left) in b.iter().zip(row.windows(2)).zip(0..) {
            let [diagonal, above] = *pair else { break };
            let substituted = diagonal + usize::from(from != *to);
            let before: usize = next.get(left).copied().unwrap_or(usize::MAX - 1);
            next.push(substituted.min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_one_letter_off_is_found() {
        assert_eq!(nearest("memroy", ["memory", "cpu"]), Some("memory"));
        assert_eq!(nearest("Memory", ["memory", "cpu"]), Some("memory"));
        assert_eq!(nearest("stop_timout", ["restart", "stop_timeout"]), Some("stop_timeout"));
    }

    #[test]
    fn nearest_unrelated_word_is_none() {
        assert_eq!(nearest("colour", ["memory", "cpu"]), None);
        assert_eq!(nearest(&"x".repeat(10_000), ["memory"]), None);
    }

    #[test]
    fn edit_distance_known_pairs() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
    }

    #[test]
    fn quote_hostile_text_is_one_short_printable_line() {
        let quoted = quote(&"\n\u{1b}[31m".repeat(100));
        assert!(!quoted.contains('\n') && !quoted.contains('\u{1b}'));
        assert!(quoted.ends_with("…\""));
    }
}
