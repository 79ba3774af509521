//! `gabion policy diff`: what a new manifest gains and loses, for people and for CI.

use std::path::PathBuf;

use policy::{Difference, Direction};
use serde_json::json;

use crate::diagnostic;
use crate::output::answer;

/// Say what a new version of a manifest lets its app do more, and less.
///
/// Exit codes: 0 it gains nothing; 1 it gains something, or a manifest has problems. With --json:
/// `{"gains": [{"key", "text"}], "losses": […], "changes": […]}`.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The manifest as it was, or a directory that holds `manifest.toml`.
    old: PathBuf,
    /// The new one.
    new: PathBuf,
}

/// The sections, in the order they are printed in: direction, key in JSON, heading.
const SECTIONS: [(Direction, &str, &str); 3] = [
    (Direction::Gain, "gains", "gains:"),
    (Direction::Loss, "losses", "loses:"),
    (Direction::Change, "changes", "changes, without more or less authority:"),
];

/// Whether the new manifest gains nothing.
pub(crate) fn run(asked: &Asked) -> anyhow::Result<bool> {
    let (old, new) = (diagnostic::manifest(&asked.old)?, diagnostic::manifest(&asked.new)?);
    let found = policy::diff(&old, &new);
    answer(&as_json(&found), || as_text(&found))?;
    Ok(found.iter().all(|difference| difference.direction != Direction::Gain))
}

fn of(found: &[Difference], direction: Direction) -> impl Iterator<Item = &Difference> {
    found.iter().filter(move |difference| difference.direction == direction)
}

fn as_json(found: &[Difference]) -> serde_json::Value {
    let section = |direction| {
        let all = of(found, direction).map(|d| json!({ "key": d.key, "text": d.text }));
        serde_json::Value::Array(all.collect())
    };
    let all: serde_json::Map<_, _> =
        SECTIONS.iter().map(|(direction, key, _)| ((*key).to_owned(), section(*direction))).collect();
    serde_json::Value::Object(all)
}

fn as_text(found: &[Difference]) -> String {
    if found.is_empty() {
        return "the same authority\n".to_owned();
    }
    let mut text = String::new();
    for (direction, _, heading) in SECTIONS {
        if of(found, direction).next().is_some() {
            text.push_str(&format!("{heading}\n"));
            of(found, direction).for_each(|d| text.push_str(&format!("  {}\n", d.text)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_without_differences_are_left_out_for_people_and_empty_for_programs() {
        let gain = Difference { direction: Direction::Gain, key: "uses", text: "may call a.b.C.D".into() };
        assert_eq!(as_text(std::slice::from_ref(&gain)), "gains:\n  may call a.b.C.D\n");
        assert_eq!(
            as_json(&[gain]),
            json!({"gains": [{"key": "uses", "text": "may call a.b.C.D"}], "losses": [], "changes": []})
        );
        assert_eq!(as_text(&[]), "the same authority\n");
    }
}
