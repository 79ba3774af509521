//! `app.list`: what an app's root is made of. One thing per line, `#` starts a comment.
//!
//! | line | meaning |
//! |---|---|
//! | `package NAME…` | Debian packages that the following may be taken from |
//! | `copy PATH [AS]` | a file or directory of these packages, at the same place or at `AS` |
//! | `omit PATH` | not this file or directory of what was copied |
//! | `directory PATH` | an empty directory |
//! | `link PATH TARGET` | a symbolic link at `PATH` |
//! | `build COMMAND` | run in the app's directory by `sh -c` before anything is taken from there |
//! | `file FILE PATH` | a file or directory of the app's directory, which `build` may have made, at `PATH` |
//! | `cargo PACKAGE PATH` | a static program of this workspace, called as the package, at `PATH` |
//! | `store image` | keep the root as a verified image of its own instead of as files of the store |
//!
//! What lies in `files/` beside the list is copied as it is. Libraries are found by themselves.

use policy::{Problem, nearest};
use std::fmt;

/// Each first word, and what comes after it.
const LINES: [(&str, &str); 9] = [
    ("package", "package NAME..."),
    ("copy", "copy PATH [AS]"),
    ("omit", "omit PATH"),
    ("directory", "directory PATH"),
    ("link", "link PATH TARGET"),
    ("build", "build COMMAND"),
    ("file", "file FILE PATH"),
    ("cargo", "cargo PACKAGE PATH"),
    ("store", "store image"),
];

/// What is wrong with an `app.list`, by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Problem>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, message, help, .. }) in self.0.iter().enumerate() {
            let before = if index == 0 { "" } else { "\n" };
            write!(f, "{before}app.list:{line}: {message}\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A fault and its remedy, and the word to blame; none: the line's first.
type Wrong<'t> = (Option<&'t str>, String, String);

/// A parsed `app.list`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// Debian packages.
    pub packages: Vec<String>,
    /// Path in a package, path in the box.
    pub copies: Vec<(String, String)>,
    /// Paths in the box to leave out again.
    pub omitted: Vec<String>,
    /// Paths in the box of directories.
    pub directories: Vec<String>,
    /// Path in the box, target.
    pub links: Vec<(String, String)>,
    /// Commands that make what `files` names, in their order.
    pub commands: Vec<String>,
    /// Path below the app's directory, path in the box.
    pub files: Vec<(String, String)>,
    /// Cargo package and program name, path in the box.
    pub programs: Vec<(String, String)>,
    /// Whether the root becomes an image.
    pub image: bool,
    /// Every word, and where it is.
    places: Vec<(String, Problem)>,
}

impl Recipe {
    /// Parses the text of an `app.list`.
    ///
    /// # Errors
    /// Every line that is wrong, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let (mut recipe, mut faults, mut begin) = (Self::default(), Vec::new(), 0);
        for (number, whole) in (1..).zip(text.split('\n')) {
            let line = whole.split('#').next().unwrap_or_default();
            let words = line.split_whitespace().collect::<Vec<_>>();
            let place = |word: &str, message: String, help: String| {
                // A word of the line: it begins where its own bytes do.
                let at = (word.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize).min(whole.len());
                let column = whole.get(..at).unwrap_or_default().chars().count() + 1;
                let column = u32::try_from(column).unwrap_or(u32::MAX);
                let (start, end) = (begin + at, begin + at + word.len());
                Problem { line: number, column, start, end, key: String::new(), message, help }
            };
            match recipe.line(&words) {
                Err((blamed, message, help)) => {
                    let blamed = blamed.or(words.first().copied()).unwrap_or_default();
                    faults.push(place(blamed, message, help));
                }
                Ok(()) => recipe.places.extend(
                    words.iter().map(|word| ((*word).to_owned(), place(word, String::new(), String::new()))),
                ),
            }
            begin += whole.len() + 1;
        }
        if faults.is_empty() { Ok(recipe) } else { Err(Faults(faults)) }
    }

    /// What turned out to be wrong with a word of the list once it was followed.
    pub fn fault(&self, word: &str, message: impl Into<String>, help: impl Into<String>) -> Faults {
        let (message, help) = (message.into(), help.into());
        let place =
            self.places.iter().rev().find(|(known, _)| known == word || known.trim_end_matches('/') == word);
        let nowhere = Problem {
            line: 1,
            column: 1,
            start: 0,
            end: 0,
            key: String::new(),
            message: String::new(),
            help: String::new(),
        };
        let place = place.map_or(nowhere, |(_, place)| place.clone());
        Faults(vec![Problem { message, help, ..place }])
    }

    fn line<'t>(&mut self, words: &[&'t str]) -> Result<(), Wrong<'t>> {
        match *words {
            [] => {}
            ["build", ref words @ ..] if !words.is_empty() => self.commands.push(words.join(" ")),
            ["file", from, to] => self.files.push((relative(from)?, absolute(to)?)),
            ["package", ref names @ ..] if !names.is_empty() => {
                for name in names {
                    self.packages.push(package(name)?);
                }
            }
            ["copy", path] => self.copies.push((absolute(path)?, absolute(path)?)),
            ["copy", path, to] => self.copies.push((absolute(path)?, absolute(to)?)),
            ["omit", path] => self.omitted.push(absolute(path)?),
            ["directory", path] => self.directories.push(absolute(path)?),
            ["link", path, target] => self.links.push((absolute(path)?, target.to_owned())),
            ["cargo", package, path] => self.programs.push((package.to_owned(), absolute(path)?)),
            ["store", "image"] => self.image = true,
            [word, ref rest @ ..] => return Err(unknown(word, rest)),
        }
        Ok(())
    }
}

/// A line that is none of those that there are.
fn unknown<'t>(word: &str, rest: &[&'t str]) -> Wrong<'t> {
    if let Some((_, form)) = LINES.iter().find(|(known, _)| *known == word) {
        let many = match rest.len() {
            0 => "nothing".to_owned(),
            1 => "one word".to_owned(),
            many => format!("{many} words"),
        };
        return (rest.last().copied(), format!("`{word}` with {many} after it"), format!("write `{form}`"));
    }
    let words = LINES.map(|(word, _)| word);
    let help = match nearest(word, words) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("a line begins with {}", words.join(", ")),
    };
    (None, format!("unknown word {word:?}"), help)
}

fn relative(path: &str) -> Result<String, Wrong<'_>> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let help =
            "write a path of the app's directory, as build/app; `copy` is for files of Debian packages";
        return Err((
            Some(path),
            format!("{path:?} is not a path below the app's directory"),
            help.to_owned(),
        ));
    }
    Ok(path.to_owned())
}

fn absolute(path: &str) -> Result<String, Wrong<'_>> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let help =
            format!("write the whole path, as /{}", path.trim_start_matches(['.', '/']).replace("..", ""));
        return Err((Some(path), format!("{path:?} is not an absolute path without \"..\""), help));
    }
    Ok(path.to_owned())
}

/// A name by Debian Policy 5.6.1: nothing that `apt-get` could take for an option or a file.
fn package(name: &str) -> Result<String, Wrong<'_>> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    if name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) && name.chars().all(good) {
        return Ok(name.to_owned());
    }
    let help = "write its name as `apt-cache search` shows it: a-z, 0-9, '+', '-' and '.'";
    Err((Some(name), format!("{name:?} can not be a package"), help.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_parts() {
        let text = "# demo\npackage a b\ncopy /x\ncopy /y /z\nbuild make -s # all\nfile out/p /bin/q\ndirectory /d\nlink /bin/sh busybox\ncargo p /bin/p\nstore image\n";
        let recipe = Recipe::parse(text).unwrap();
        assert_eq!(recipe.packages, ["a", "b"]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(recipe.copies, [pair("/x", "/x"), pair("/y", "/z")]);
        assert_eq!(recipe.links, [pair("/bin/sh", "busybox")]);
        assert_eq!(recipe.programs, [pair("p", "/bin/p")]);
        assert_eq!(
            (recipe.commands, recipe.files),
            (vec!["make -s".to_owned()], vec![pair("out/p", "/bin/q")])
        );
        assert_eq!(recipe.directories, ["/d"]);
        assert!(recipe.image);
    }

    #[test]
    fn wrong_line_is_named() {
        let Faults(faults) =
            Recipe::parse("package a\ncoppy /x\nfile a # one\n  omit /a ../b\n").unwrap_err();
        let at: Vec<_> =
            faults.iter().map(|fault| (fault.line, fault.column, fault.start..fault.end)).collect();
        assert_eq!(at, [(2, 1, 10..15), (3, 6, 24..25), (4, 11, 42..46)]);
        assert_eq!(faults[0].help, "did you mean `copy`?");
        assert_eq!(faults[1].help, "write `file FILE PATH`");
        assert!(Faults(faults).to_string().starts_with("app.list:2: unknown word \"coppy\"\n  help: "));
        assert!(Recipe::parse("copy ../x").is_err());
        assert!(Recipe::parse("file /etc/shadow /x").is_err() && Recipe::parse("file ../x /x").is_err());
    }
}
