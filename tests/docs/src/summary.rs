//! Which pages the book has: `docs/SUMMARY.md`.
//!
//! A folder whose `README.md` is listed is listed with all its pages, so that a decision or an interface that comes is in
//! the book by being in its folder.

use crate::tree;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The lines of a summary, with each link's page, if it has one.
fn lines(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    text.lines().map(|line| {
        let link = line.rsplit_once("](").and_then(|(_, rest)| rest.strip_suffix(')'));
        (line, link.filter(|link| !link.is_empty()))
    })
}

/// The pages of a folder whose `README.md` is listed; none for the book's own.
fn listed(docs: &Path, link: &str) -> Result<Vec<String>> {
    let Some(folder) = link.strip_suffix("/README.md") else { return Ok(Vec::new()) };
    let mut pages = tree::below(docs, folder)?;
    pages.retain(|page| page.ends_with(".md") && page != link);
    Ok(pages)
}

/// The title of a page: its first line.
fn title(docs: &Path, page: &str) -> Result<String> {
    let text = fs::read_to_string(docs.join(page)).with_context(|| page.to_owned())?;
    let first = text.lines().find_map(|line| line.strip_prefix("# "));
    first.map(|title| title.replace('`', "")).with_context(|| format!("{page} has no title"))
}

/// The whole summary, with every page that is listed by its folder.
///
/// # Errors
/// A page that can not be read, or has no title.
pub fn whole(docs: &Path) -> Result<String> {
    let text = fs::read_to_string(docs.join("SUMMARY.md")).context("SUMMARY.md")?;
    let named: Vec<&str> = lines(&text).filter_map(|(_, link)| link).collect();
    let mut out = String::new();
    for (line, link) in lines(&text) {
        out.push_str(line);
        out.push('\n');
        let Some(link) = link else { continue };
        let indent = line.len() - line.trim_start().len() + 2;
        for page in listed(docs, link)?.iter().filter(|page| !named.contains(&page.as_str())) {
            out.push_str(&format!("{:indent$}- [{}]({page})\n", "", title(docs, page)?));
        }
    }
    Ok(out)
}

/// What is wrong with the summary: pages that are not in it, links to none, pages that are in it twice.
///
/// # Errors
/// It can not be read.
pub fn faults(docs: &Path) -> Result<Vec<String>> {
    let text = whole(docs)?;
    let named: Vec<&str> = lines(&text).filter_map(|(_, link)| link).collect();
    let folder = docs.parent().context("docs has a parent")?;
    let name = docs.file_name().context("docs has a name")?.to_string_lossy();
    let mut faults = Vec::new();
    for page in tree::below(folder, &name)? {
        let page = page.split_once('/').map_or(page.as_str(), |(_, page)| page);
        if page.ends_with(".md") && page != "SUMMARY.md" && !named.contains(&page) {
            faults.push(format!("{page} is not in SUMMARY.md"));
        }
    }
    for (at, link) in named.iter().enumerate() {
        if !docs.join(link).is_file() {
            faults.push(format!("{link}, in SUMMARY.md, is not there"));
        }
        if named[..at].contains(link) {
            faults.push(format!("{link} is in SUMMARY.md twice"));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_lists_folders_and_misses_nothing() {
        let place = tempfile::tempdir().unwrap();
        let docs = place.path().join("docs");
        fs::create_dir_all(docs.join("d")).unwrap();
        let write = |name: &str, text: &str| fs::write(docs.join(name), text).unwrap();
        write("SUMMARY.md", "# Summary\n\n- [A](a.md)\n- [D](d/README.md)\n");
        for page in ["a.md", "d/README.md", "d/1.md"] {
            write(page, "# T `x`\n");
        }
        assert_eq!(
            whole(&docs).unwrap(),
            "# Summary\n\n- [A](a.md)\n- [D](d/README.md)\n  - [T x](d/1.md)\n"
        );
        assert_eq!(faults(&docs).unwrap(), Vec::<String>::new());
        write("b.md", "# B\n");
        fs::remove_file(docs.join("a.md")).unwrap();
        assert_eq!(
            faults(&docs).unwrap(),
            ["b.md is not in SUMMARY.md", "a.md, in SUMMARY.md, is not there"]
        );
    }
}
