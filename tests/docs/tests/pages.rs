//! What the book's pages say of themselves: every block of commands is run or says why not, every file in one is what it is
//! said to be, and every page is in the book.

#![expect(clippy::unwrap_used, reason = "tests")]

use docs_test::mark::Mark;
use docs_test::page::{Block, Page};
use docs_test::{summary, tree, trial};
use std::fs;
use std::process::Command;

/// Every page, with its blocks.
fn pages() -> Vec<Page> {
    let root = tree::root();
    tree::pages().unwrap().iter().map(|name| Page::read(&root, name).unwrap()).collect()
}

/// The blocks of a language.
fn blocks<'a>(pages: &'a [Page], language: &str) -> Vec<(&'a Page, &'a Block)> {
    let all = pages.iter().flat_map(|page| page.blocks.iter().map(move |block| (page, block)));
    all.filter(|(_, block)| block.language == language).collect()
}

#[test]
fn every_block_of_commands_is_run_or_says_why_not() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut run = 0;
    for (page, block) in blocks(&pages, "sh") {
        match Mark::read(&block.words) {
            Ok(Mark::Run(..)) => run += 1,
            Ok(Mark::NotRun(_)) => {}
            Err(error) => wrong.push(format!("{}: {error:#}", page.at(block))),
        }
    }
    for language in ["bash", "shell", "console"] {
        wrong.extend(
            blocks(&pages, language).iter().map(|(page, block)| format!("{}: write `sh`", page.at(block))),
        );
    }
    assert!(wrong.is_empty(), "blocks of commands:\n{}", wrong.join("\n"));
    assert!(run > 30, "only {run} blocks are run");
}

/// Whole manifests as they are; some tables of one as the rest of a small one; lines of none as those of `[uses]`.
#[test]
fn every_manifest_is_accepted() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut manifests = 0;
    for (page, block) in blocks(&pages, "toml") {
        let named = block.file().unwrap_or("manifest.toml");
        if !named.ends_with("manifest.toml") || !(block.words.is_empty() || block.file().is_some()) {
            continue;
        }
        manifests += 1;
        let head = "[app]\nid = \"com.example.page\"\nversion = \"1.0.0\"\nexec = [\"/bin/page\"]\n";
        let within = if block.text.starts_with(['[', '#', '\n']) { "" } else { "[uses]\n" };
        let text = match block.text.contains("[app]") {
            true => block.text.clone(),
            false => format!("{head}{within}{}", block.text),
        };
        if let Err(problems) = policy::check(&text, &policy::Board::default()) {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            wrong.push(format!("{}:\n{}", page.at(block), problems.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "manifests:\n{}", wrong.join("\n"));
    assert!(manifests > 10, "only {manifests} manifests");
}

#[test]
fn every_python_program_compiles() {
    let place = tempfile::tempdir().unwrap();
    let pages = pages();
    let programs = blocks(&pages, "python");
    assert!(!programs.is_empty(), "no Python");
    for (page, block) in programs {
        let file = place.path().join("page.py");
        fs::write(&file, &block.text).unwrap();
        let output = Command::new("python3").args(["-m", "py_compile"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}: {}", page.at(block), String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_page_is_in_the_book_once() {
    let faults = summary::faults(&tree::root().join("docs")).unwrap();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What the trial shows is what the README says now.
#[test]
fn trial_is_of_the_readme_as_it_is() {
    let root = tree::root();
    let shown = Page::read(&root, trial::PAGE).unwrap();
    let shown: Vec<&str> =
        blocks(std::slice::from_ref(&shown), "sh").iter().map(|(_, b)| b.text.as_str()).collect();
    let readme = Page::read(&root, trial::OF).unwrap();
    let commands = docs_test::shell::commands(&readme).unwrap();
    let commands: Vec<&str> = commands.iter().map(|(block, ..)| block.text.as_str()).collect();
    assert_eq!(shown, commands, "docs/trial.md is not of this README: run `make trial`");
}
