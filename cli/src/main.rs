//! `gabion`: the app developer's tool. So far it answers questions about manifests, with the device's own code.
//!
//! Exit codes: 0 yes, 1 no (a manifest with problems, a denied act), 2 the question could not be asked.

mod act;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use policy::{Board, Manifest};

/// Gabion: ordinary Linux programs in boxes.
#[derive(Parser)]
#[command(name = "gabion", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a manifest and say what to write instead of what is wrong.
    Check {
        /// The manifest, or a directory that holds `manifest.toml`.
        #[arg(default_value = ".")]
        manifest: PathBuf,
    },
    /// Say whether an app may do something, and by which line of its manifest.
    Explain {
        /// The manifest, or a directory that holds `manifest.toml`.
        manifest: PathBuf,
        /// What the app would do.
        #[command(subcommand)]
        act: act::Asked,
    },
    /// Print the JSON Schema of the manifest.
    Schema,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("gabion: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::Check { manifest } => Ok(read(&manifest)?.inspect(|_| println!("ok")).is_some()),
        Command::Explain { manifest, act } => {
            let act = act.parse()?;
            let Some(manifest) = read(&manifest)? else { return Ok(false) };
            let verdict = policy::explain(&manifest, &act);
            println!("{}: {}", if verdict.allowed { "allowed" } else { "denied" }, verdict.because);
            Ok(verdict.allowed)
        }
        Command::Schema => {
            print!("{}", policy::schema());
            Ok(true)
        }
    }
}

/// The checked manifest, or `None` after its problems were printed.
fn read(path: &Path) -> anyhow::Result<Option<Manifest>> {
    let file = if path.is_dir() { path.join("manifest.toml") } else { path.to_owned() };
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    match policy::check(&text, &Board::default()) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln!("{problem}"));
            Ok(None)
        }
    }
}
