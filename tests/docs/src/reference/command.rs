//! The page of `gabion`: what it says of itself, each command after those it belongs to.

use super::Made;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

const HEAD: &str = "# gabion

<!-- Made from `gabion --help` by `cargo run -p gabion-docs-test -- reference`. -->

What `gabion COMMAND --help` says of each command. What holds for all of them, exit codes and JSON among it, is in
[The gabion command](../cli.md).
";

/// The page.
pub(super) fn page(gabion: &Path) -> Result<Made> {
    let mut page = HEAD.to_owned();
    write(&mut page, gabion, &mut Vec::new())?;
    Ok(("docs/reference/cli.md".to_owned(), page))
}

fn write(page: &mut String, gabion: &Path, words: &mut Vec<String>) -> Result<()> {
    let said = help(gabion, words)?;
    let name = [&["gabion".to_owned()], &words[..]].concat().join(" ");
    // Headings of Markdown go six deep; a command of a command is the deepest here.
    page.push_str(&format!(
        "\n{} `{name}`\n\n```txt\n{}\n```\n",
        "#".repeat(2 + words.len().min(2)),
        said.trim_end()
    ));
    for command in commands(&said) {
        words.push(command.to_owned());
        write(page, gabion, words)?;
        words.pop();
    }
    Ok(())
}

/// What a command says of itself, as wide as any terminal has it.
fn help(gabion: &Path, words: &[String]) -> Result<String> {
    let mut command = Command::new(gabion);
    // Values of the environment would be in the text.
    command.args(words).arg("--help").env_clear().env("COLUMNS", "100").env("NO_COLOR", "1");
    let output = command.output().with_context(|| gabion.display().to_string())?;
    ensure!(output.status.success(), "gabion {words:?} --help: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(|line| format!("{}\n", line.trim_end())).collect())
}

/// The commands that a help text lists: first words of the lines below `Commands:`.
fn commands(help: &str) -> Vec<&str> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_a_help_text_are_its_list() {
        let help = "A tool\n\nUsage: a <COMMAND>\n\nCommands:\n  check  Check it,\n         all of it\n  run    Run it\n  help   This\n\nOptions:\n  -h\n";
        assert_eq!(commands(help), ["check", "run"]);
        assert!(commands("Usage: a\n\nOptions:\n  -h  Help\n").is_empty());
    }
}
