//! Pages that are made from what they describe: `cargo run -p gabion-docs-test -- reference` writes them, and a test says
//! when one is stale.
//!
//! | module | page | made from |
//! |---|---|---|
//! | `manifest` | `docs/reference/manifest.md` | the manifest's JSON Schema |
//! | `interface` | `docs/reference/interfaces/*.md` | `bus/interfaces/*.varlink` |
//! | `command` | `docs/reference/cli.md` | `gabion … --help` |

mod command;
mod interface;
mod manifest;

use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// How a person makes the pages.
pub const COMMAND: &str = "cargo run -p gabion-docs-test -- reference";

/// A page: its name below the tree's root, and its text.
pub type Made = (String, String);

/// Every page, with what this `gabion` says of itself.
///
/// # Errors
/// What they are made from can not be read.
pub fn pages(root: &Path, gabion: &Path) -> Result<Vec<Made>> {
    let mut pages = vec![manifest::page(&policy::schema())?];
    pages.extend(interface::pages(&root.join("bus/interfaces"))?);
    pages.push(command::page(gabion)?);
    Ok(pages)
}

/// Pages that are not as they would be made now.
///
/// # Errors
/// They can not be read.
pub fn stale(root: &Path, pages: &[Made]) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for (name, text) in pages {
        if fs::read_to_string(root.join(name)).unwrap_or_default() != *text {
            stale.push(name.clone());
        }
    }
    stale.extend(left(root, pages)?);
    Ok(stale)
}

/// Writes them, and removes those of interfaces that are no more.
///
/// # Errors
/// They can not be written.
pub fn write(root: &Path, pages: &[Made]) -> Result<()> {
    for (name, text) in pages {
        let file = root.join(name);
        fs::create_dir_all(file.parent().context("a page has a folder")?)?;
        fs::write(file, text).with_context(|| name.clone())?;
    }
    for name in left(root, pages)? {
        fs::remove_file(root.join(name))?;
    }
    Ok(())
}

/// Pages of interfaces that nothing makes.
fn left(root: &Path, pages: &[Made]) -> Result<Vec<String>> {
    let made: BTreeSet<&String> = pages.iter().map(|(name, _)| name).collect();
    let mut there = if root.join(interface::FOLDER).is_dir() {
        crate::tree::below(root, interface::FOLDER)?
    } else {
        Vec::new()
    };
    there.retain(|name| !made.contains(name));
    Ok(there)
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
