//! `gabion completions` and `gabion man`: what a shell and `man` know of the command line, made of the command line itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, ValueEnum};
use clap_complete::Shell;
use serde_json::json;

use crate::output::{answer, print};

/// Arguments of `gabion completions`.
#[derive(clap::Args)]
#[command(after_help = "bash: gabion completions bash > ~/.local/share/bash-completion/completions/gabion\n\
                        zsh:  gabion completions zsh > DIR/_gabion, DIR being one of fpath\n\
                        fish: gabion completions fish > ~/.config/fish/completions/gabion.fish")]
pub(crate) struct CompletionsAsked {
    /// For which shell.
    shell: For,
}

/// The shells that Debian has.
#[derive(Clone, Copy, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Arguments of `gabion man`.
#[derive(clap::Args)]
pub(crate) struct ManAsked {
    /// Where to write them; made if it is not there. `man -l DIR/gabion.1` shows the first.
    directory: PathBuf,
}

/// Prints what completes the command line in a shell.
pub(crate) fn completions(asked: &CompletionsAsked, mut command: Command) -> Result<bool> {
    let shell = match asked.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "gabion", &mut script);
    Ok(print(&String::from_utf8(script)?))
}

/// Writes a manual page for each command.
pub(crate) fn man(asked: &ManAsked, mut command: Command) -> Result<bool> {
    let directory = &asked.directory;
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    command.build();
    let pages = page(directory, &command)?;
    answer(&json!({ "directory": directory, "pages": pages }), || {
        format!("{}: {pages} pages; man -l {0}/gabion.1\n", directory.display())
    })
}

/// Writes a command's page and those of the commands below it; how many that are.
fn page(directory: &Path, command: &Command) -> Result<usize> {
    let page = clap_mangen::Man::new(command.clone()).date("").manual("Gabion");
    let path = directory.join(page.get_filename());
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    let below = command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set());
    below.map(|below| self::page(directory, below)).sum::<Result<usize>>().map(|pages| pages + 1)
}
