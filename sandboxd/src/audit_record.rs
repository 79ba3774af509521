//! The kernel's audit records of calls that were refused, one message at a time.
//!
//! ```text
//! audit(1700000000.123:45): auid=… uid=10000 gid=10000 ses=… pid=77 comm="evil" exe="/bin/evil" sig=31 arch=c000003e
//!   syscall=101 compat=0 ip=0x7f code=0x80000000                                                 AUDIT_SECCOMP
//! audit(1700000000.123:46): arch=c000003e syscall=257 success=no exit=-13 a0=… a1=… a2=… a3=… items=1 ppid=… pid=77
//!   auid=… uid=10000 … comm="evil" exe="/bin/evil" subj=? key=(null)                             AUDIT_SYSCALL
//! audit(1700000000.123:46): item=0 name="/etc/x" inode=9 dev=fd:00 mode=0100600 ouid=0 ogid=0 …  AUDIT_PATH
//! audit(1700000000.123:46): saddr=02001F90…                                                      AUDIT_SOCKADDR
//! ```
//!
//! The app chose `comm`, `exe`, `name` and the address. The kernel writes text in quotes, or in hex when it has a quote,
//! a space or a control character in it, so it cannot make a word of its own; even so, of words that stand before that
//! text the *first* is taken, of those behind it the *last*.

use nix::libc;

/// Bytes of a path that are kept.
const PATH_MAX: usize = 120;

/// Who answered a call, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The box's filter, with this signal.
    Killed(u32),
    /// The box's filter, with EPERM: the record does not have the errno, and filters have no other that is logged.
    Filtered,
    /// The kernel behind the filter, with this errno.
    Failed(i32),
}

/// A call that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Records of one call have one number.
    pub serial: u64,
    /// The process, as PID 1 sees it.
    pub pid: u32,
    /// Its uid, which tells the app.
    pub uid: u32,
    /// The call's number.
    pub number: u64,
    /// Its first arguments; zero when the filter answered.
    pub args: [u64; 4],
    /// How it was answered.
    pub answer: Answer,
}

/// What a call was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A path, cut, with the file's mode and owner when it exists.
    Path {
        /// As the app wrote it.
        name: Vec<u8>,
        /// `st_mode`, uid, gid.
        owner: Option<(u32, u32, u32)>,
    },
    /// A `sockaddr`.
    Address(Vec<u8>),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The call itself.
    Call(Call),
    /// What the call with this number was about.
    Object(u64, Object),
    /// All records of the call with this number were told.
    End(u64),
}

/// Reads a message of type `kind`; `None` when it says nothing that is of use.
pub fn parse(kind: u16, record: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(record.split(|b| *b == 0).next()?).ok()?;
    let serial = text.strip_prefix("audit(")?.split_once(':')?.1.split_once(')')?.0.parse().ok()?;
    let words = Words(text);
    match kind {
        sys::audit::SECCOMP => words.filtered(serial).map(Record::Call),
        sys::audit::SYSCALL => words.failed(serial).map(Record::Call),
        sys::audit::PATH => words.path().map(|object| Record::Object(serial, object)),
        sys::audit::SOCKADDR => {
            let address = unhex(words.first("saddr=")?)?;
            Some(Record::Object(serial, Object::Address(address)))
        }
        sys::audit::END => Some(Record::End(serial)),
        _ => None,
    }
}

struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn first(&self, key: &str) -> Option<&'a str> {
        self.0.split(' ').find_map(|word| word.strip_prefix(key))
    }

    fn last(&self, key: &str) -> Option<&'a str> {
        self.0.rsplit(' ').find_map(|word| word.strip_prefix(key))
    }

    fn filtered(&self, serial: u64) -> Option<Call> {
        let code = u32::from_str_radix(self.last("code=")?.strip_prefix("0x")?, 16).ok()?;
        let answer = match code & libc::SECCOMP_RET_ACTION_FULL {
            libc::SECCOMP_RET_ERRNO => Answer::Filtered,
            // Answered as if the kernel did not have it, which is no event: a device's kernel does not even record it
            // (`audit_rules`), another may.
            libc::SECCOMP_RET_TRACE => return None,
            _ => Answer::Killed(self.last("sig=")?.parse().ok()?),
        };
        Some(Call {
            serial,
            pid: self.first("pid=")?.parse().ok()?,
            uid: self.first("uid=")?.parse().ok()?,
            number: self.last("syscall=")?.parse().ok()?,
            args: [0; 4],
            answer,
        })
    }

    fn failed(&self, serial: u64) -> Option<Call> {
        let exit: i32 = self.first("exit=")?.parse().ok()?;
        let arg = |key| u64::from_str_radix(self.first(key)?, 16).ok();
        Some(Call {
            serial,
            pid: self.first("pid=")?.parse().ok()?,
            uid: self.first("uid=")?.parse().ok()?,
            number: self.first("syscall=")?.parse().ok()?,
            args: [arg("a0=")?, arg("a1=")?, arg("a2=")?, arg("a3=")?],
            answer: Answer::Failed(exit.checked_neg().filter(|errno| *errno > 0)?),
        })
    }

    fn path(&self) -> Option<Object> {
        let name = self.first("name=")?;
        let mut name = match name.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?.as_bytes().to_vec(),
            None => unhex(name)?,
        };
        name.truncate(PATH_MAX);
        let mode = self.last("mode=").and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let number = |key| self.last(key).and_then(|id| id.parse().ok());
        let owner = mode.zip(number("ouid=")).zip(number("ogid=")).map(|((mode, uid), gid)| (mode, uid, gid));
        Some(Object::Path { name, owner })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: &str = "audit(1700000000.123:45): auid=4294967295 uid=10000 gid=10000 ses=4294967295 subj=? \
        pid=77 comm=COMM exe=\"/bin/evil\" sig=31 arch=c000003e syscall=101 compat=0 ip=0x7f code=0x80000000\0";
    const FAILED: &str = "audit(1700000000.123:46): arch=c000003e syscall=257 success=no exit=-13 a0=ffffff9c \
        a1=7ffd a2=0 a3=0 items=1 ppid=1 pid=77 auid=4294967295 uid=10000 gid=10000 euid=10000 tty=(none) \
        comm=\"evil\" exe=\"/bin/evil\" subj=? key=(null)";

    fn call(number: u64, answer: Answer) -> Call {
        Call { serial: 45, pid: 77, uid: 10_000, number, args: [0; 4], answer }
    }

    #[test]
    fn record_of_the_filter_is_read() {
        let killed = parse(sys::audit::SECCOMP, KILLED.replace("COMM", "\"evil\"").as_bytes());
        assert_eq!(killed, Some(Record::Call(call(101, Answer::Killed(31)))));
        let refused = KILLED.replace("sig=31", "sig=0").replace("0x80000000", "0x50000");
        let refused = parse(sys::audit::SECCOMP, refused.as_bytes());
        assert_eq!(refused, Some(Record::Call(call(101, Answer::Filtered))));
        let absent = KILLED.replace("sig=31", "sig=0").replace("0x80000000", "0x7ff00000");
        assert_eq!(parse(sys::audit::SECCOMP, absent.as_bytes()), None);
    }

    #[test]
    fn record_comm_that_tries_to_be_a_field_changes_nothing() {
        // The kernel would write this in hex; assume it did not.
        let killed = KILLED.replace("COMM", "\"x pid=1 uid=0 syscall=0 sig=0 code=0x50001\"");
        let read = parse(sys::audit::SECCOMP, killed.as_bytes());
        assert_eq!(read, Some(Record::Call(call(101, Answer::Killed(31)))));
        let failed = FAILED.replace("comm=\"evil\"", "comm=\"x pid=1 uid=0 syscall=0 exit=-1 a0=0\"");
        assert_eq!(
            parse(sys::audit::SYSCALL, failed.as_bytes()),
            parse(sys::audit::SYSCALL, FAILED.as_bytes())
        );
    }

    #[test]
    fn record_of_a_failed_call_and_what_it_was_about_are_read() {
        let Some(Record::Call(call)) = parse(sys::audit::SYSCALL, FAILED.as_bytes()) else { panic!() };
        assert_eq!((call.serial, call.number, call.answer), (46, 257, Answer::Failed(13)));
        assert_eq!(call.args, [0xffff_ff9c, 0x7ffd, 0, 0]);
        let path = "audit(1.2:46): item=0 name=\"/etc/x\" inode=9 dev=fd:00 mode=0100600 ouid=0 ogid=7 rdev=00:00 \
            nametype=NORMAL";
        let object = Object::Path { name: b"/etc/x".to_vec(), owner: Some((0o100_600, 0, 7)) };
        assert_eq!(parse(sys::audit::PATH, path.as_bytes()), Some(Record::Object(46, object)));
        let odd = "audit(1.2:46): item=0 name=2F2022 nametype=UNKNOWN";
        let object = Object::Path { name: b"/ \"".to_vec(), owner: None };
        assert_eq!(parse(sys::audit::PATH, odd.as_bytes()), Some(Record::Object(46, object)));
        let address = parse(sys::audit::SOCKADDR, b"audit(1.2:46): saddr=02001F90");
        assert_eq!(address, Some(Record::Object(46, Object::Address(vec![2, 0, 0x1f, 0x90]))));
    }

    #[test]
    fn record_broken_is_nothing() {
        for kind in [sys::audit::SECCOMP, sys::audit::SYSCALL, sys::audit::PATH, sys::audit::SOCKADDR] {
            assert_eq!(parse(kind, b""), None);
            assert_eq!(parse(kind, b"audit(1.0:1): uid=1 pid=x sig=31 syscall=1"), None);
            assert_eq!(parse(kind, b"audit(1.0:1): saddr=123 name=\"x"), None);
            assert_eq!(parse(kind, &[0xff; 40]), None);
        }
        for end in 0..KILLED.len() - 80 {
            assert_eq!(parse(sys::audit::SECCOMP, &KILLED.as_bytes()[..end]), None);
        }
    }
}
