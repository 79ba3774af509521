//! What a new user does, from the README alone, and how long each step took: `docs/trial.md`.
//!
//! The steps are the README's own blocks, as the test of every page runs them; `make trial` keeps what came out. Times are one
//! machine's, and no test depends on them.

use crate::page::Block;
use crate::shell::Ran;

/// The page that it is about.
pub const OF: &str = "README.md";
/// The page that is made.
pub const PAGE: &str = "docs/trial.md";

const HEAD: &str = "# A new user's trial

<!-- Made by `make trial`. -->

The commands of the [README](../README.md), in its order, in an empty folder: what each printed, and how long it took. `make trial`
does it again and writes this page. Seconds are those of one machine, which had the kernel, the compiler and Debian's
packages already; they say what is slow beside what, and nothing about yours.
";

/// The page, of these steps.
pub fn page(steps: &[(&Block, &Ran)]) -> String {
    let mut page = HEAD.to_owned();
    for (number, (block, ran)) in steps.iter().enumerate() {
        page += &format!("\n## Step {}: {:.1} s\n\n", number + 1, ran.took.as_secs_f64());
        page += &format!("```sh norun: the README's, kept as it was\n{}```\n", block.text);
        let printed = shortened(&ran.printed);
        if !printed.is_empty() {
            page += &format!("\n```txt\n{printed}```\n");
        }
    }
    let all: f64 = steps.iter().map(|(_, ran)| ran.took.as_secs_f64()).sum();
    page + &format!("\nAll of it: {all:.0} s.\n")
}

/// At most forty lines, the first and the last; what would end the block, or colour it, left out.
fn shortened(printed: &str) -> String {
    let lines: Vec<&str> = printed.lines().filter(|line| !line.starts_with("```")).collect();
    let shown: Vec<&str> = match lines.len() {
        0..=40 => lines,
        many => [&lines[..20], &["…"], &lines[many - 19..]].concat(),
    };
    shown.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Page;
    use std::time::Duration;

    #[test]
    fn trial_shows_each_step_and_not_too_much() {
        let readme = Page::of(OF, "```sh run=host\nls\n```\n").unwrap();
        let ran = Ran { printed: "a\n".repeat(100), took: Duration::from_millis(1500) };
        let text = page(&[(&readme.blocks[0], &ran)]);
        assert!(
            text.contains("## Step 1: 1.5 s") && text.contains("```sh norun: ") && text.contains("\n…\n"),
            "{text}"
        );
    }
}
