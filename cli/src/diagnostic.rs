//! Files that their author has to put right, `manifest.toml` and `app.list`: read, checked, and their problems shown where they are.
//!
//! An attacker may have written the file; what is shown of it is its lines with control characters replaced, and `policy` makes its
//! messages printable.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use anyhow::{Context, Result, bail};
use policy::{Board, Manifest, Problem};
use serde_json::{Value, json};

/// The longest file that is read, bytes; a longer one is no manifest, whatever is in it.
const FILE_MAX: u64 = 1 << 20;

/// A file with what is wrong in it.
#[derive(Debug)]
pub(crate) struct Faulty {
    file: PathBuf,
    text: String,
    problems: Vec<Problem>,
}

impl Faulty {
    pub(crate) fn new(file: &Path, text: String, problems: Vec<Problem>) -> Self {
        Self { file: file.strip_prefix("./").unwrap_or(file).to_owned(), text, problems }
    }

    /// How many there are, in words.
    pub(crate) fn summary(&self) -> String {
        let many = if self.problems.len() == 1 { "problem" } else { "problems" };
        format!("{}: {} {many}", self.file.display(), self.problems.len())
    }

    /// The problems, for programs.
    pub(crate) fn json(&self) -> Value {
        let file = self.file.display().to_string();
        let one = |problem: &Problem| {
            json!({
                "file": file,
                "line": problem.line,
                "column": problem.column,
                "key": problem.key,
                "message": problem.message,
                "help": problem.help,
            })
        };
        self.problems.iter().map(one).collect()
    }

    /// The problems, each below the line that it is in.
    pub(crate) fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let (file, text) = (self.file.display().to_string(), shown(&self.text));
        let mut all = String::new();
        for problem in &self.problems {
            let message = &problem.message;
            let title = match problem.key.as_str() {
                "" => message.clone(),
                key => format!("{key}: {message}"),
            };
            let mark = AnnotationKind::Primary.span(problem.start..problem.end);
            let snippet = Snippet::source(text.as_str()).path(file.as_str()).annotation(mark);
            let mut group: Group<'_> = Level::ERROR.primary_title(title).element(snippet);
            if !problem.help.is_empty() {
                group = group.element(Level::HELP.message(problem.help.as_str()));
            }
            all.push_str(&renderer.render(&[group]));
            all.push_str("\n\n");
        }
        all + &self.summary() + "\n"
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Faulty {}

/// The file's text, fit for a terminal, with every character where it was.
fn shown(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c.to_string(),
        c if c.is_control() => "?".repeat(c.len_utf8()),
        c => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// The manifest's file: the one named, or that of the directory that is named.
pub(crate) fn manifest_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("manifest.toml") } else { path.to_owned() }
}

/// The manifest of a file or a directory, checked.
///
/// # Errors
/// [`Faulty`], if it has problems; it can not be read.
pub(crate) fn manifest(path: &Path) -> Result<Manifest> {
    let file = manifest_file(path);
    let text = read(&file)?;
    policy::check(&text, &Board::default()).map_err(|problems| Faulty::new(&file, text, problems).into())
}

/// A text of a sensible length.
pub(crate) fn read(file: &Path) -> Result<String> {
    let about = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?;
    if about.is_file() && about.len() > FILE_MAX {
        bail!("{} is {} bytes long: it is something else", file.display(), about.len());
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..good).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(before.get(begin..).unwrap_or_default()).chars().count() + 1;
        let problem = Problem {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            start: good,
            end: good + '\u{fffd}'.len_utf8(),
            key: String::new(),
            message: "not UTF-8".to_owned(),
            help: "save it as UTF-8 text".to_owned(),
        };
        Faulty::new(file, text, vec![problem]).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty(text: &str) -> Faulty {
        let problems = policy::check(text, &Board::default()).unwrap_err();
        Faulty::new(Path::new("manifest.toml"), text.to_owned(), problems)
    }

    const APP: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";

    #[test]
    fn problem_is_shown_below_its_line_with_the_remedy() {
        let shown = faulty(&format!("{APP}[resources]\nmemroy = \"1MiB\"\n")).render(false);
        assert_eq!(
            shown,
            "error: resources.memroy: unknown key\n --> manifest.toml:6:1\n  |\n6 | memroy = \"1MiB\"\n  | ^^^^^^\n  |\n  \
             = help: did you mean `memory`?\n\nmanifest.toml: 1 problem\n"
        );
    }

    #[test]
    fn text_of_an_attacker_does_nothing_to_the_terminal() {
        let text = format!("{APP}[resources]\nmemory = \"\u{1b}[2J\u{9b}2J\"\n\"\u{202e}x\" = 1\n");
        let shown = faulty(&text).render(false);
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{shown}");
        assert!(faulty(&text).render(true).contains("\u{1b}["), "colours are wanted");
    }

    #[test]
    fn file_that_is_no_text_is_told_by_its_line() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("manifest.toml");
        fs::write(&file, b"[app]\nid = \"\xff\"\n").unwrap();
        let error = manifest(&file).unwrap_err();
        assert!(
            error.to_string().contains("manifest.toml:2:7") && error.to_string().contains("UTF-8"),
            "{error}"
        );
    }
}
