//! The book as mdBook makes it.
//!
//! Pages link to files all over the tree, which mdBook knows nothing of. So what it is given is a copy, in `target/book/src`,
//! of the pages and of every page of the tree that they lead to, where each is in the tree; and when it is done, every link
//! in what it made is followed.

use crate::{summary, tree};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// What the book begins with.
const FIRST: &str = "README.md";

/// Makes the book with this mdBook; gives its first page.
///
/// # Errors
/// mdBook fails; a link in the book leads nowhere.
pub fn build(root: &Path, mdbook: &Path) -> Result<PathBuf> {
    let place = root.join("target/book");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    stage(root, &place.join("src"))?;
    fs::copy(root.join("docs/book.toml"), place.join("book.toml"))?;
    let status = Command::new(mdbook)
        .arg("build")
        .arg(&place)
        .status()
        .with_context(|| mdbook.display().to_string())?;
    ensure!(status.success(), "mdbook: {status}");
    let html = place.join("html");
    let dead = dead_links(&html)?;
    if !dead.is_empty() {
        bail!("links that lead nowhere:\n{}", dead.join("\n"));
    }
    Ok(html.join("index.html"))
}

/// Copies the book's pages, and what they lead to, to `to`.
fn stage(root: &Path, to: &Path) -> Result<()> {
    let mut waiting: Vec<String> = tree::below(root, "docs")?;
    waiting.retain(|name| name.ends_with(".md") && name != "docs/SUMMARY.md");
    // The first page of all: mdBook shows the first chapter at the book's own address, and its links have to be right there.
    waiting.push(FIRST.to_owned());
    let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
    let mut others = BTreeMap::new();
    while let Some(name) = waiting.pop() {
        let file = to.join(staged(&name));
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        if !name.ends_with(".md") {
            fs::copy(root.join(&name), file)?;
            continue;
        }
        let text = fs::read_to_string(root.join(&name))?;
        let (text, led) = relinked(root, &name, &text);
        if !name.starts_with("docs/") && name != FIRST {
            others.insert(name.clone(), title(&text).unwrap_or_else(|| name.clone()));
        }
        fs::write(file, text)?;
        waiting.extend(led.into_iter().filter(|name| seen.insert(name.clone())));
    }
    let mut contents = String::new();
    for line in summary::whole(&root.join("docs"))?.lines() {
        contents += &match line.rsplit_once("](") {
            Some((before, page)) if page.len() > 1 => format!("{before}](docs/{}\n", staged(page)),
            _ => format!("{line}\n"),
        };
    }
    contents = contents.replacen("\n\n", &format!("\n\n[Gabion]({})\n", staged(FIRST)), 1);
    contents += "\n# In the tree\n\n";
    for (name, title) in others {
        contents += &format!("- [{title}]({})\n", staged(&name));
    }
    Ok(fs::write(to.join("SUMMARY.md"), contents)?)
}

/// The name of a page in the book: a README is its folder's index.
fn staged(name: &str) -> String {
    match name.strip_suffix("README.md") {
        Some(folder) if folder.is_empty() || folder.ends_with('/') => format!("{folder}index.md"),
        _ => match name.strip_suffix("README.md)") {
            Some(folder) => format!("{folder}index.md)"),
            None => name.to_owned(),
        },
    }
}

/// The title of a page, without marks.
fn title(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("# ")).map(|title| title.replace('`', ""))
}

/// A page with links as they are in the book, and the files of the tree that they lead to. A page without a title gets one.
fn relinked(root: &Path, name: &str, text: &str) -> (String, Vec<String>) {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let (mut out, mut led, mut fenced) = (String::new(), Vec::new(), false);
    if title(text).is_none() {
        out = format!("# {name}\n\n");
    }
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let mut parts = line.split("](");
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            out.push_str("](");
            let target = part.split_once(')').filter(|_| !fenced);
            match target.and_then(|(link, rest)| Some((resolved(root, folder, link)?, link, rest))) {
                Some((file, link, rest)) => {
                    let fragment =
                        link.split_once('#').map_or(String::new(), |(_, fragment)| format!("#{fragment}"));
                    let up = "../".repeat(folder.components().count());
                    out.push_str(&format!("{up}{}{fragment}){rest}", staged(&file)));
                    led.push(file);
                }
                None => out.push_str(part),
            }
        }
        out.push('\n');
    }
    (out, led)
}

/// The file that a link leads to; a folder's is its README, or the next one above.
fn resolved(root: &Path, folder: &Path, link: &str) -> Option<String> {
    let path = link.split('#').next().filter(|path| !path.is_empty() && !path.contains(':'))?;
    let mut found = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            Component::Normal(part) => found.push(part),
            _ => {}
        }
    }
    if root.join(&found).is_dir() {
        // What says nothing of itself is told of by the folder above.
        while !root.join(&found).join("README.md").is_file() && found.pop() {}
        found.push("README.md");
    }
    root.join(&found).is_file().then(|| found.display().to_string())
}

/// Links in the pages of `html` that lead to no file, or to no place in one.
fn dead_links(html: &Path) -> Result<Vec<String>> {
    let mut dead = Vec::new();
    for page in files(html, "html")? {
        let name = page.strip_prefix(html)?.display().to_string();
        // One has all pages in it, and their links; the other is shown at any place.
        if ["print.html", "404.html", "toc.html"].contains(&name.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&page)?;
        for link in
            text.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(link, _)| link)
        {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            if path.contains(':') || path.starts_with('/') {
                continue;
            }
            let folder = page.parent().context("a page has a folder")?;
            let to = if path.is_empty() { page.clone() } else { folder.join(path) };
            let there = match fs::read_to_string(&to) {
                Ok(there) => fragment.is_empty() || there.contains(&format!("id=\"{fragment}\"")),
                Err(_) => to.is_file() && fragment.is_empty(),
            };
            if !there {
                dead.push(format!("{name}: {link}"));
            }
        }
    }
    dead.dedup();
    Ok(dead)
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_page_are_as_in_the_book_and_say_what_else_is_in_it() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::create_dir_all(root.join("docs/d")).unwrap();
        fs::create_dir_all(root.join("service")).unwrap();
        for file in ["README.md", "docs/a.md", "service/README.md"] {
            fs::write(root.join(file), "").unwrap();
        }
        let text = "# T\n[a](../a.md#x) [s](../../service) [r](../../README.md) [w](https://w) [l](#l)\n```\n[a](../a.md)\n```\n";
        let (text, led) = relinked(root, "docs/d/p.md", text);
        assert_eq!(
            text,
            "# T\n[a](../../docs/a.md#x) [s](../../service/index.md) [r](../../index.md) [w](https://w) [l](#l)\n```\n[a](../a.md)\n```\n"
        );
        assert_eq!(led, ["docs/a.md", "service/README.md", "README.md"]);
    }

    #[test]
    fn link_to_nowhere_is_found() {
        let place = tempfile::tempdir().unwrap();
        fs::write(
            place.path().join("a.html"),
            "<a href=\"b.html#x\"><a href=\"c.html\"><a href=\"b.html#y\">",
        )
        .unwrap();
        fs::write(place.path().join("b.html"), "<h1 id=\"x\">").unwrap();
        assert_eq!(dead_links(place.path()).unwrap(), ["a.html: c.html", "a.html: b.html#y"]);
    }
}
