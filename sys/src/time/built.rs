//! When this system was built, or a time before that: no clock of a device that runs it can be right and before it.
//!
//! It is part of the program and must not depend on when or where that is compiled, or no two builds would be the same: it
//! is written here, and raised with each release; `SOURCE_DATE_EPOCH` (reproducible-builds.org), if the build has it, is used
//! instead.

/// 2026-11-25.
const WRITTEN_S: i64 = 1_795_564_800;

/// Seconds since 1970.
pub const BUILT_S: i64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => seconds(text.as_bytes()),
    None => WRITTEN_S,
};

/// Does not compile if it is not a number.
const fn seconds(text: &[u8]) -> i64 {
    let (mut value, mut at) = (0, 0);
    while at < text.len() {
        assert!(text[at].is_ascii_digit(), "SOURCE_DATE_EPOCH is not a number of seconds");
        value = value * 10 + (text[at] - b'0') as i64;
        at += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_as_written() {
        assert_eq!(seconds(b"1795564800"), WRITTEN_S);
    }

    #[test]
    #[should_panic(expected = "not a number")]
    fn seconds_that_are_no_number_are_refused() {
        seconds(b"12x");
    }
}
