//! `gabion-docs`: makes what of the book is made.

use anyhow::{Context, Result, bail, ensure};
use docs_test::{book, reference, tree};
use packing::command::cargo;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The mdBook that `book` uses.
const MDBOOK: &str = "0.5.4";

const USAGE: &str = "usage: gabion-docs reference | book\n\n  \
    reference  write the pages of docs/reference anew\n  \
    book       make the book in target/book/html, and follow its links\n";

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("reference") => write(),
        Some("book") => build(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gabion-docs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<()> {
    let root = tree::root();
    reference::write(&root, &reference::pages(&root, &gabion(&root)?)?)
}

fn build() -> Result<()> {
    println!("{}", book::build(&tree::root(), &mdbook()?)?.display());
    Ok(())
}

/// The tree's own `gabion`, and beside it the service, which some of its commands become.
fn gabion(root: &Path) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let arguments = ["build", "--quiet", "-p", "gabion-cli", "-p", "gabion-service", "--bins"];
    let status = cargo().current_dir(root).args(arguments).status().context("cargo")?;
    ensure!(status.success(), "gabion was not built");
    Ok(target.join("debug/gabion"))
}

/// mdBook: in PATH, or where it was installed to, or installed now.
fn mdbook() -> Result<PathBuf> {
    if Command::new("mdbook").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok("mdbook".into());
    }
    let cache = match std::env::var_os("GABION_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set; set it or GABION_CACHE")?)
            .join(".cache/gabion"),
    };
    let place = cache.join(format!("mdbook-{MDBOOK}"));
    let program = place.join("bin/mdbook");
    if !program.exists() {
        eprintln!(
            "mdBook {MDBOOK} is compiled once, which takes some minutes; it is kept in {}",
            place.display()
        );
        let arguments = [
            "install",
            "mdbook",
            "--locked",
            "--no-default-features",
            "--features",
            "search",
            "--version",
            MDBOOK,
            "--root",
        ];
        let status = cargo().args(arguments).arg(&place).status().context("cargo")?;
        if !status.success() {
            bail!("mdBook was not installed");
        }
    }
    Ok(program)
}
