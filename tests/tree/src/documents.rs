//! What the documents say about the tree, read just far enough to hold them to it.

/// Names in the first column of the tables of `docs/dependencies.md`: lines that begin with ``| `name` |``.
pub fn table_names(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.trim().strip_prefix("| `"));
    rows.filter_map(|row| row.split_once("` |")).map(|(name, _)| name.to_owned()).collect()
}

/// Targets of links to other files: `](target)`, without a `#fragment`; none that lead out of the tree (`https:`, `mailto:`).
pub fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let files =
        targets.map(|t| t.split('#').next().unwrap_or(t)).filter(|t| !t.is_empty() && !t.contains(':'));
    files.map(str::to_owned).collect()
}

/// The fenced blocks of a language.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = text.split(&opening).skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(block, _)| format!("{block}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_table_are_its_first_column() {
        let text = "| crate | for |\n|---|---|\n| `libc` | `nix` lacks it |\nsee `serde`\n";
        assert_eq!(table_names(text), ["libc"]);
    }

    #[test]
    fn links_out_of_the_tree_are_left_out() {
        assert_eq!(links("[a](b/c.md#d) [e](https://f) [g](#h) [i](../j)"), ["b/c.md", "../j"]);
    }

    #[test]
    fn blocks_of_another_language_are_left_out() {
        assert_eq!(blocks("```sh\na\n```\n```toml\nb = 1\n```\n", "toml"), ["b = 1\n"]);
    }
}
