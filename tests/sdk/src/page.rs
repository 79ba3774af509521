//! The page `docs/sdk-python.md`, as what it has in it: files, a program, lines of a manifest.
//!
//! A block of Python that begins with `# NAME.py` is that file; all others follow each other in one program.

use anyhow::{Context, Result};

/// See the module.
#[derive(Debug)]
pub struct Page {
    /// All of it.
    pub text: String,
    python: Vec<String>,
    toml: Vec<String>,
}

impl Page {
    /// Reads it.
    ///
    /// # Errors
    /// It is not there.
    pub fn read() -> Result<Self> {
        let text = std::fs::read_to_string(crate::tree("docs/sdk-python.md"))?;
        let (python, toml) = (blocks(&text, "python"), blocks(&text, "toml"));
        Ok(Self { text, python, toml })
    }

    /// The files, by their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.python.iter().filter_map(|block| file(block))
    }

    /// One of them.
    ///
    /// # Errors
    /// It is not there.
    pub fn file(&self, name: &str) -> Result<&str> {
        let found = self.files().find(|(is, _)| *is == name);
        found.map(|(_, text)| text).with_context(|| format!("the page has no {name}"))
    }

    /// Every other block, one after the other.
    pub fn program(&self) -> String {
        self.examples().collect::<Vec<_>>().join("\n")
    }

    /// Every other block.
    pub fn examples(&self) -> impl Iterator<Item = &str> {
        self.python.iter().filter(|block| file(block).is_none()).map(String::as_str)
    }

    /// Lines of manifests.
    pub fn grants(&self) -> impl Iterator<Item = &str> {
        self.toml.iter().flat_map(|block| block.lines())
    }
}

/// A file's name, and what is in it.
fn file(block: &str) -> Option<(&str, &str)> {
    let (first, rest) = block.split_once('\n')?;
    let name = first.strip_prefix("# ").filter(|name| name.ends_with(".py") && !name.contains(' '))?;
    Some((name, rest))
}

fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match &mut open {
            Some(_) if line == "```" => found.extend(open.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.strip_prefix("```").is_some_and(|is| is == language) => open = Some(String::new()),
            None => {}
        }
    }
    found
}
