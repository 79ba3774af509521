//! What a page says that a command prints, against what it printed.
//!
//! `…` in a line stands for anything in that line; a line that is `…` alone for any number of lines. Spaces at the end of a
//! line, colours, and empty lines at both ends of the whole count for nothing; everything else does.

/// Whether `printed` is what `said` says.
pub fn fits(said: &str, printed: &str) -> bool {
    lines_fit(&lines(said), &lines(printed))
}

/// Whether `printed` begins with what `said` says.
pub fn begins(said: &str, printed: &str) -> bool {
    let mut said = lines(said);
    said.push("…".to_owned());
    lines_fit(&said, &lines(printed))
}

/// The same without colours and spaces at the ends of lines.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = plain(text).lines().map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
    lines.split_off(first)
}

/// Without the terminal's `ESC [ … letter`.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => drop(rest.by_ref().skip(1).find(char::is_ascii_alphabetic)),
            '\r' => {}
            c => out.push(c),
        }
    }
    out
}

fn lines_fit(said: &[String], printed: &[String]) -> bool {
    match said.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=printed.len()).any(|from| lines_fit(rest, printed.get(from..).unwrap_or_default()))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_fits(first, line) && lines_fit(rest, others)),
    }
}

fn line_fits(said: &str, line: &str) -> bool {
    match said.split_once('…') {
        None => said == line,
        Some((before, behind)) => line.strip_prefix(before).is_some_and(|line| {
            let ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            ends.into_iter().any(|at| line_fits(behind, line.get(at..).unwrap_or_default()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_fits_by_line_and_by_dots() {
        assert!(fits("a\nb …ms\n", "\na\nb 12 ms \n"));
        assert!(fits("a\n…\nd", "a\nb\nc\nd\n"));
        assert!(fits("…\nd", "d\n"));
        assert!(fits("…", ""));
        assert!(fits("\u{1b}[1mred\u{1b}[0m", "red"));
    }

    #[test]
    fn output_that_differs_does_not_fit() {
        for (said, printed) in [("a", "a\nb"), ("a\nb", "a"), ("a …c", "a b"), ("", "a"), ("a\n…\nd", "a\nb")]
        {
            assert!(!fits(said, printed), "{said:?} {printed:?}");
        }
    }

    #[test]
    fn output_that_goes_on_begins_as_said() {
        assert!(begins("a\n", "a\nb\nc\n") && !begins("b\n", "a\nb\n"));
    }
}
