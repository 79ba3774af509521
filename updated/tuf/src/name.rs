//! Names of roles and targets, and the names of their files.
//!
//! What an attacker controls: names of roles are their delegator's, who may be hostile; paths of targets too. A role's name
//! becomes one name of a file whatever is in it; a target's path leads nowhere but down.

use crate::metadata::Role;

/// The longest name of a role: with `.json`, all of it quoted, it is a name that file systems take.
pub const ROLE_MAX: usize = 80;
/// The longest path of a target.
pub const PATH_MAX: usize = 512;

/// Percent-encoded, but for what URLs and file systems take as it is (RFC 3986, 2.3), and for `keep`.
fn quoted(text: &str, keep: &[u8]) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted.push('%');
            quoted.push_str(&crate::hex::encode(&[byte]).to_ascii_uppercase());
        }
    }
    quoted
}

/// The file that a device keeps of a role.
pub fn kept(role: &str) -> String {
    format!("{}.json", quoted(role, b""))
}

/// The file that a repository has of a role's version; the newest that it has, without a version.
pub fn published(role: &str, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("{version}.{}.json", quoted(role, b"")),
        None => kept(role),
    }
}

/// The path of a URL to a target's file.
pub fn url_path(file: &str) -> String {
    quoted(file, b"/")
}

/// Where a target's file is: beside its name, after a digest of it, if the repository keeps versions apart.
pub fn target_file(path: &str, digest: Option<&str>) -> String {
    match (digest, path.rsplit_once('/')) {
        (None, _) => path.to_owned(),
        (Some(digest), Some((folder, name))) => format!("{folder}/{digest}.{name}"),
        (Some(digest), None) => format!("{digest}.{path}"),
    }
}

/// Whether a delegated role may be called so: not like one of the four.
pub fn is_role(name: &str) -> bool {
    (1..=ROLE_MAX).contains(&name.len()) && Role::ALL.iter().all(|role| role.name() != name)
}

/// Whether a target may have this path: it leads down, by names.
pub fn is_path(path: &str) -> bool {
    (1..=PATH_MAX).contains(&path.len())
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !path.contains(['\0', '\\'])
}

/// Whether a pattern of a delegation matches: part by part, `*` for anything in a part, `?` for one character.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if matches_part(pattern, part) => {}
            _ => return false,
        }
    }
}

/// Goes back to the last `*` alone, so that it takes no longer than the product of both lengths.
fn matches_part(pattern: &str, part: &str) -> bool {
    let (mut pattern, mut part) = (pattern.chars(), part.chars());
    // What is after the last `*`, and where what that stands for ends.
    let mut last = None;
    loop {
        let here = part.clone();
        match (pattern.next(), part.next()) {
            (Some('*'), _) => {
                last = Some((pattern.clone(), here.clone()));
                part = here;
            }
            (Some('?'), Some(_)) => {}
            (Some(a), Some(b)) if a == b => {}
            (None, None) => return true,
            _ => {
                let Some((after, end)) = &mut last else { return false };
                if end.next().is_none() {
                    return false;
                }
                (pattern, part) = (after.clone(), end.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As slow as it is plain.
    fn plainly(pattern: &[char], part: &[char]) -> bool {
        match (pattern, part) {
            ([], []) => true,
            (['*', pattern @ ..], _) if plainly(pattern, part) => true,
            (['*', ..], [_, part @ ..]) => plainly(pattern, part),
            (['?', pattern @ ..], [_, part @ ..]) => plainly(pattern, part),
            ([a, pattern @ ..], [b, part @ ..]) => a == b && plainly(pattern, part),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn pattern_matches_what_plain_words_say(pattern in "[ab?*]{0,7}", part in "[ab*]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches_part(&pattern, &part), plainly(&chars(&pattern), &chars(&part)));
        }
    }

    #[test]
    fn role_is_one_file_whatever_it_is_called() {
        assert_eq!(kept("../a"), "..%2Fa.json");
        assert_eq!(published("?#", Some(3)), "3.%3F%23.json");
        assert!(kept(&"é".repeat(ROLE_MAX / 2)).len() < 256);
        assert!(!is_role("root") && !is_role("") && !is_role(&"a".repeat(81)) && is_role("apps"));
    }

    #[test]
    fn path_leads_down_only() {
        assert!(is_path("a/b.c"));
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b", "a\\b", "a\0"] {
            assert!(!is_path(bad), "{bad:?}");
        }
        assert_eq!(target_file("a/b/c", Some("12")), "a/b/12.c");
        assert_eq!(target_file("c", Some("12")), "12.c");
    }

    #[test]
    fn pattern_matches_part_by_part() {
        for (pattern, path) in
            [("*", "a"), ("a/*/c?", "a/b/cd"), ("*.b*b", "a.bxb"), ("**", ""), ("a*a*a", "aaa")]
        {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [("*", "a/b"), ("a?", "a"), ("*.b", "a.bc"), ("a*a*a", "aa"), ("A", "a"), ("a/*", "a")]
        {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }
}
