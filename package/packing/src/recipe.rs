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

use anyhow::{Context, Result, bail};

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
}

impl Recipe {
    /// Parses the text of an `app.list`; the first line that is wrong is named.
    pub fn parse(text: &str) -> Result<Self> {
        let mut recipe = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words = line.split_whitespace().collect::<Vec<_>>();
            recipe.line(&words).with_context(|| format!("app.list:{}", index + 1))?;
        }
        Ok(recipe)
    }

    fn line(&mut self, words: &[&str]) -> Result<()> {
        match *words {
            [] => {}
            ["build", ref words @ ..] if !words.is_empty() => self.commands.push(words.join(" ")),
            ["file", from, to] => self.files.push((relative(from)?, absolute(to)?)),
            ["package", ref names @ ..] => self.packages.extend(names.iter().map(ToString::to_string)),
            ["copy", path] => self.copies.push((absolute(path)?, absolute(path)?)),
            ["copy", path, to] => self.copies.push((absolute(path)?, absolute(to)?)),
            ["omit", path] => self.omitted.push(absolute(path)?),
            ["directory", path] => self.directories.push(absolute(path)?),
            ["link", path, target] => self.links.push((absolute(path)?, target.to_owned())),
            ["cargo", package, path] => self.programs.push((package.to_owned(), absolute(path)?)),
            ["store", "image"] => self.image = true,
            [word, ..] => {
                bail!(
                    "\"{word}\" with {} words after it; write package, copy, omit, directory, link, build, file, cargo or store",
                    words.len() - 1
                )
            }
        }
        Ok(())
    }
}

fn relative(path: &str) -> Result<String> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        bail!("\"{path}\" is not a path below the app's directory");
    }
    Ok(path.to_owned())
}

fn absolute(path: &str) -> Result<String> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        bail!("\"{path}\" is not an absolute path without \"..\"");
    }
    Ok(path.to_owned())
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
        let error = format!("{:#}", Recipe::parse("package a\ncopie /x").unwrap_err());
        assert!(error.contains("app.list:2") && error.contains("copie"), "{error}");
        assert!(Recipe::parse("copy ../x").is_err());
        assert!(Recipe::parse("file /etc/shadow /x").is_err() && Recipe::parse("file ../x /x").is_err());
    }
}
