//! Rust source, read just far enough: comments and literals blanked, test items marked, then searched.
//!
//! This is no parser. It knows comments (nested too), strings (raw and byte too), character literals against lifetimes,
//! and items under `#[cfg(test)]` or behind the feature `weak` up to their closing brace, semicolon or comma. Code made by
//! macros is not seen.

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// From 1.
    pub number: usize,
    /// What is written there, comments and the inside of literals replaced by spaces.
    pub code: String,
    /// Whether anything is written there at all, be it a comment.
    pub blank: bool,
    /// Whether it is for tests alone: it belongs to an item under `#[cfg(test)]`, or to one behind the feature `weak`,
    /// which no release can be built with (`sys/src/weak.rs`).
    pub test: bool,
}

/// The lines of a file.
pub fn lines(text: &str) -> Vec<Line> {
    let code = blanked(text);
    let tests = test_items(text, &code);
    let mut at = 0;
    let pairs = text.lines().zip(code.split('\n')).zip(1..);
    let line = |((raw, code), number): ((&str, &str), usize)| {
        let test = tests.iter().any(|(from, to)| (*from..*to).contains(&at));
        at += code.len() + 1;
        Line { number, code: code.to_owned(), blank: raw.trim().is_empty(), test }
    };
    pairs.map(line).collect()
}

/// The text with comments and the inside of literals as spaces, of the same lines. Whatever is not ASCII becomes `?`.
pub fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let skipped = skip(&bytes[at..], out.as_bytes().last().copied());
        if skipped == 0 {
            out.push(if bytes[at].is_ascii() { char::from(bytes[at]) } else { '?' });
            at += 1;
        } else {
            out.extend(bytes[at..at + skipped].iter().map(|b| if *b == b'\n' { '\n' } else { ' ' }));
            at += skipped;
        }
    }
    out
}

/// How many bytes from here on are a comment or a literal.
fn skip(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(word);
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'\'', ..] => character(rest),
        [b'r', b'"' | b'#', ..] if !in_word => raw(rest),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => 1 + raw(&rest[1..]),
        _ => 0,
    }
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], end: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == end => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal; 0 for a lifetime.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => quoted(rest, b'\''),
        [_, first, ..] if !first.is_ascii() => quoted(rest, b'\''),
        [_, _, b'\'', ..] => 3,
        _ => 0,
    }
}

/// `r"…"`, `r#"…"#`; 0 for a raw identifier.
fn raw(rest: &[u8]) -> usize {
    let hashes = rest.iter().skip(1).take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let inside = &rest[2 + hashes..];
    let length = inside.windows(end.len()).position(|w| w == end).unwrap_or(inside.len());
    (2 + hashes + length + end.len()).min(rest.len())
}

/// Byte ranges of items that are for tests alone. `code` is the text blanked, so that a mark in a comment is none.
fn test_items(text: &str, code: &str) -> Vec<(usize, usize)> {
    let marks = ["#[cfg(test)]", "#[cfg(feature = \"weak\")]"];
    let starts = marks.into_iter().flat_map(|mark| text.match_indices(mark)).map(|(at, _)| at);
    let starts = starts.filter(|at| code[*at..].starts_with("#[cfg("));
    // From the beginning of its line, by which lines are looked up.
    let line = |at: usize| code[..at].rfind('\n').map_or(0, |end| end + 1);
    starts.map(|at| (line(at), at + item(&code[at..]))).collect()
}

/// Length of the item, statement or field that begins here with its attributes.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && c == '}' {
                    return at + 1;
                }
            }
            ';' | ',' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Modules of `lib.rs` that are there whatever features are chosen, and not for tests alone.
pub fn unconditional_modules(text: &str) -> Vec<String> {
    let code = blanked(text);
    let mut conditional = false;
    let mut found = Vec::new();
    for line in code.lines().map(str::trim) {
        if line.starts_with("#[cfg(") {
            conditional = true;
        } else if let Some(rest) = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod ")) {
            if !std::mem::take(&mut conditional) {
                found.extend(rest.strip_suffix(';').map(str::to_owned));
            }
        } else if !line.is_empty() && !line.starts_with("#[") {
            conditional = false;
        }
    }
    found
}

/// Lines outside tests where the program may panic: the word, and the line's number.
pub fn panics(lines: &[Line]) -> Vec<(usize, &'static str)> {
    const CALLS: [&str; 10] = [
        ".unwrap(",
        ".expect(",
        ".unwrap_err(",
        ".expect_err(",
        "panic!",
        "unreachable!",
        "todo!",
        "unimplemented!",
        "assert!",
        "assert_eq!",
    ];
    let mut found = Vec::new();
    for line in lines.iter().filter(|line| !line.test) {
        let calls = CALLS.iter().filter(|call| has_call(&line.code, call));
        found.extend(calls.map(|call| (line.number, *call)));
        if indexes(&line.code) {
            found.push((line.number, "[index]"));
        }
    }
    found
}

/// `debug_assert!` is not `assert!`.
fn has_call(code: &str, call: &str) -> bool {
    code.match_indices(call)
        .any(|(at, _)| call.starts_with('.') || !code[..at].bytes().last().is_some_and(word))
}

/// Whether something is indexed or sliced: `[` right behind a value. An attribute, a type, an array or a macro's
/// bracket follows something else.
fn indexes(code: &str) -> bool {
    let value = |b: u8| word(b) || matches!(b, b')' | b']' | b'?');
    code.as_bytes().windows(2).any(|pair| pair[1] == b'[' && value(pair[0]))
}

/// Lines with the keyword `unsafe`.
pub fn unsafe_lines(lines: &[Line]) -> Vec<usize> {
    let keyword =
        |code: &str| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == "unsafe");
    lines.iter().filter(|line| keyword(&line.code)).map(|line| line.number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&'static str> {
        panics(&lines(text)).into_iter().map(|(_, word)| word).collect()
    }

    #[test]
    fn panics_in_code_are_found() {
        assert_eq!(found("fn a() { b().unwrap(); }"), [".unwrap("]);
        assert_eq!(found("let a = b\n    .expect(\"c\");"), [".expect("]);
        assert_eq!(found("let a = b[1];"), ["[index]"]);
        assert_eq!(found("f(&b()[..n])"), ["[index]"]);
        assert_eq!(found("let a = [[0; 2]; 2][1];"), ["[index]"]);
        assert_eq!(found("panic!(\"no\")"), ["panic!"]);
        assert_eq!(found("const A: () = assert!(true);"), ["assert!"]);
    }

    #[test]
    fn panics_in_comments_strings_and_tests_are_not_found() {
        assert_eq!(
            found("// a.unwrap()\n/* b[1] /* c[2] */ d[3] */ let a = \"x.unwrap() \\\" y[0]\";"),
            [""; 0]
        );
        assert_eq!(found("let a = r#\"b[1]\"#; let c = '\"'; let d: &'static [u8] = &[b'['];"), [""; 0]);
        assert_eq!(found("#[cfg(test)]\nmod tests {\n fn a() { b.unwrap() }\n}\n"), [""; 0]);
        assert_eq!(found("#[derive(Debug)] struct A { b: [u8; 4] } vec![1]; debug_assert!(true)"), [""; 0]);
        assert_eq!(found("a.unwrap_or(1).expect_none()"), [""; 0]);
    }

    #[test]
    fn code_behind_a_test_item_is_code_again() {
        assert_eq!(panics(&lines("#[cfg(test)]\nmod tests;\nfn a() { b.unwrap() }")), [(3, ".unwrap(")]);
        assert_eq!(panics(&lines("#[cfg(test)]\nfn t() { {} }\nlet a = b[0];")), [(3, "[index]")]);
    }

    #[test]
    fn weak_fields_and_statements_end_where_they_end() {
        let text = "struct A {\n    #[cfg(feature = \"weak\")]\n    b: (C, D),\n    e: F,\n}\n\
            // #[cfg(feature = \"weak\")]\n#[cfg(feature = \"weak\")]\nlet a = b(c, d);\nlet e = [0; 2];\n\
            #[cfg(feature = \"builder\")]\nmod f;\n";
        let aside: Vec<usize> = lines(text).iter().filter(|line| line.test).map(|line| line.number).collect();
        assert_eq!(aside, [2, 3, 7, 8]);
    }

    #[test]
    fn unsafe_is_found_as_a_keyword_only() {
        assert_eq!(unsafe_lines(&lines("// unsafe\nlet unsafely = \"unsafe\";\nunsafe { a() }")), [3]);
    }

    #[test]
    fn modules_behind_a_feature_are_not_unconditional() {
        let text =
            "//! a\npub mod one;\nmod two;\n\n#[cfg(feature = \"builder\")]\npub mod three;\npub mod four;\n";
        assert_eq!(unconditional_modules(text), ["one", "two", "four"]);
    }

    #[test]
    fn blanked_text_keeps_its_lines() {
        let text = "a \"x\ny\" // é\nb 'é' '\\'' 'a\n";
        assert_eq!(blanked(text).matches('\n').count(), 3);
        assert!(blanked(text).ends_with("'a\n"));
    }
}
