//! The kernel's record of a call that a seccomp filter answered with death (`AUDIT_SECCOMP`).
//!
//! ```text
//! audit(1700000000.123:45): auid=4294967295 uid=10000 gid=10000 ses=4294967295 subj=? pid=77 comm="evil"
//!   exe="/bin/evil" sig=31 arch=c000003e syscall=101 compat=0 ip=0x7f code=0x80000000
//! ```
//!
//! The app chose `comm` and `exe`. The kernel writes them in quotes, or in hex when they contain a quote, a space
//! or a control character, so they cannot make a word of their own; even so, the *first* `uid` and `pid` and the
//! *last* `syscall` are taken, which lie outside of them.

/// Who was killed for which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The process, as PID 1 sees it.
    pub pid: u32,
    /// Its uid, which tells the app.
    pub uid: u32,
    /// The call's number.
    pub syscall: u64,
    /// The signal it got, 0 when it was only refused.
    pub signal: u32,
}

/// Reads one record.
pub fn parse(record: &[u8]) -> Option<Denied> {
    let text = std::str::from_utf8(record.split(|b| *b == 0).next()?).ok()?;
    let first = |key: &str| text.split(' ').find_map(|word| word.strip_prefix(key));
    let last = |key: &str| text.split(' ').rev().find_map(|word| word.strip_prefix(key));
    Some(Denied {
        pid: first("pid=")?.parse().ok()?,
        uid: first("uid=")?.parse().ok()?,
        syscall: last("syscall=")?.parse().ok()?,
        signal: last("sig=")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "audit(1700000000.123:45): auid=4294967295 uid=10000 gid=10000 ses=4294967295 subj=? \
        pid=77 comm=COMM exe=\"/bin/evil\" sig=31 arch=c000003e syscall=101 compat=0 ip=0x7f code=0x80000000\0";

    #[test]
    fn record_is_read() {
        let denied = parse(RECORD.replace("COMM", "\"evil\"").as_bytes()).unwrap();
        assert_eq!(denied, Denied { pid: 77, uid: 10_000, syscall: 101, signal: 31 });
    }

    #[test]
    fn record_comm_that_tries_to_be_a_field_changes_nothing() {
        // The kernel would write this in hex; assume it did not.
        let denied = parse(RECORD.replace("COMM", "\"x pid=1 uid=0 syscall=0 sig=0\"").as_bytes()).unwrap();
        assert_eq!(denied, Denied { pid: 77, uid: 10_000, syscall: 101, signal: 31 });
    }

    #[test]
    fn record_broken_is_nothing() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"audit(1.0:1): uid=1 pid=x sig=31 syscall=1"), None);
        assert_eq!(parse(&[0xff; 40]), None);
        for end in 0..RECORD.len() - 80 {
            assert_eq!(parse(&RECORD.as_bytes()[..end]), None);
        }
    }
}
