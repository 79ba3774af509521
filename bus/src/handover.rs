//! What the router and a server say to each other, on the server's connection to its `/run/serve/INTERFACE`.
//!
//! A `SOCK_SEQPACKET` socket, so that a message is whole and its descriptor is its own; plain text, so that a server
//! in any language can read it.
//!
//! Router to server, one message per connection, with the connected `SOCK_STREAM` socket (blocking until the server
//! says otherwise) as its one descriptor:
//!
//! ```json
//! {"serial":17,"app":"com.example.display","uid":10003,"system":false,"interface":"com.example.Temperature",
//!  "methods":["Get","Watch"],"message_bytes":65536}
//! ```
//!
//! and without a descriptor: `{"monitor":true}` or `{"monitor":false}`: tell, or no longer tell, of every call.
//!
//! Server to router, one line of text per message, at most [`REPORT_MAX`] bytes; all are optional:
//!
//! ```text
//! refused SERIAL METHOD     a call was refused because its grant does not name the method
//! dropped SERIAL REASON     a connection was ended because it broke the rules; REASON is one word. The router ends it,
//!                           too: a server that got no descriptor could not
//! called SERIAL METHOD      a call, while monitored
//! ```
//!
//! What holds: a server ends a connection by `shutdown(2)` and then `close(2)`. The router has a duplicate, so `close`
//! alone would leave the caller waiting until the server ends. Closing this socket (or ending) ends every
//! connection that came over it: callers see end of file and connect again.
//!
//! When the *router* ends, the server sees end of file here and keeps its connections. It connects again at once: the
//! next router ends the connections of a server that is not back within ten seconds, or that connects a second time.
//! It may hand over again what it can not know to have arrived; `serial` is unique until the next boot, so a server
//! that has the number already closes the second descriptor, without `shutdown`, and goes on.

use crate::control::{Grant, Key};

/// Longest report of a server, bytes.
pub const REPORT_MAX: usize = 128;
/// Longest message to a server, bytes: a grant of 64 methods of 64 bytes, and the rest.
pub const HANDOVER_MAX: usize = 8 * 1024;
/// Longest method or reason in a report, bytes.
const WORD_MAX: usize = 64;

/// One connection for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover<'a> {
    /// The connection's number.
    pub serial: u64,
    /// The app that made it.
    pub app: &'a str,
    /// Its box, and the interface.
    pub key: &'a Key,
    /// Whether the box is one of the image's own.
    pub system: bool,
    /// What it may do.
    pub grant: &'a Grant,
}

impl Handover<'_> {
    /// The message: JSON in one line.
    pub fn encode(&self) -> String {
        let mut out = format!("{{\"serial\":{},\"app\":", self.serial);
        quote(&mut out, self.app);
        out.push_str(&format!(",\"uid\":{},\"system\":{},\"interface\":", self.key.uid, self.system));
        quote(&mut out, &self.key.interface);
        out.push_str(",\"methods\":[");
        for (index, method) in self.grant.methods.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            quote(&mut out, method);
        }
        out.push_str(&format!("],\"message_bytes\":{}}}", self.grant.limits.message_bytes));
        out
    }
}

/// The message that makes a server tell of every call, or no longer.
pub fn monitor(on: bool) -> String {
    format!("{{\"monitor\":{on}}}")
}

/// A JSON string. All texts here are checked names, for which this adds two quotes; that nobody can break out of the
/// string does not depend on it.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
}

/// What a server reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// A call was refused because its grant does not name the method.
    Refused,
    /// A connection was ended because it broke the rules.
    Dropped,
    /// A call.
    Called,
}

/// A server's report, as it came: that the connection is the server's is for the router to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// What about.
    pub kind: ReportKind,
    /// Which connection.
    pub serial: u64,
    /// The method, or the reason: letters, digits, `.`, `_` and `-`, 1 to 64 bytes.
    pub word: &'a str,
}

impl Report<'_> {
    /// The line, for servers.
    pub fn encode(&self) -> String {
        let kind = match self.kind {
            ReportKind::Refused => "refused",
            ReportKind::Dropped => "dropped",
            ReportKind::Called => "called",
        };
        format!("{kind} {} {}", self.serial, self.word)
    }

    /// Reads a message of a hostile server: exactly one line of three words, with or without its end.
    pub fn parse(message: &[u8]) -> Option<Report<'_>> {
        if message.len() > REPORT_MAX {
            return None;
        }
        let line = std::str::from_utf8(message).ok()?;
        let mut words = line.strip_suffix('\n').unwrap_or(line).split(' ');
        let kind = match words.next()? {
            "refused" => ReportKind::Refused,
            "dropped" => ReportKind::Dropped,
            "called" => ReportKind::Called,
            _ => return None,
        };
        let serial = number(words.next()?)?;
        let word = words.next().filter(|word| is_word(word))?;
        words.next().is_none().then_some(Report { kind, serial, word })
    }
}

/// A number as only one text writes it: no sign, no leading zero, not 0.
fn number(text: &str) -> Option<u64> {
    let plain =
        text.starts_with(|c: char| ('1'..='9').contains(&c)) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

fn is_word(text: &str) -> bool {
    (1..=WORD_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Limits;
    use proptest::prelude::*;

    fn grant(methods: &[&str]) -> Grant {
        Grant { server: 9, methods: methods.iter().map(|m| (*m).into()).collect(), limits: Limits::default() }
    }

    #[test]
    fn handover_is_the_documented_line() {
        let key = Key { uid: 10_003, interface: "com.example.Temperature".into() };
        let grant = grant(&["Get", "Watch"]);
        let message =
            Handover { serial: 17, app: "com.example.display", key: &key, system: false, grant: &grant };
        let expected = "{\"serial\":17,\"app\":\"com.example.display\",\"uid\":10003,\"system\":false,\
             \"interface\":\"com.example.Temperature\",\"methods\":[\"Get\",\"Watch\"],\"message_bytes\":65536}";
        assert_eq!(message.encode(), expected);
        assert_eq!(monitor(true), "{\"monitor\":true}");
    }

    #[test]
    fn handover_of_the_largest_grant_fits() {
        let key = Key { uid: u32::MAX, interface: "i".repeat(80) };
        let methods: Vec<String> = (0..64).map(|n| format!("{:M<64}", n)).collect();
        let grant = grant(&methods.iter().map(String::as_str).collect::<Vec<_>>());
        let message =
            Handover { serial: u64::MAX, app: &"a".repeat(64), key: &key, system: false, grant: &grant };
        assert!(message.encode().len() <= HANDOVER_MAX, "{}", message.encode().len());
    }

    #[test]
    fn quoted_text_can_not_leave_its_string() {
        let mut out = String::new();
        quote(&mut out, "a\"b\\c\nd\u{7f}\u{e9}\u{1f600}");
        assert_eq!(out, r#""a\"b\\c\u000ad\u007f\u00e9\ud83d\ude00""#);
    }

    #[test]
    fn report_encoded_parses_to_itself() {
        for kind in [ReportKind::Refused, ReportKind::Dropped, ReportKind::Called] {
            let report = Report { kind, serial: u64::MAX, word: &"w".repeat(WORD_MAX) };
            assert_eq!(Report::parse(report.encode().as_bytes()), Some(report));
            assert!(report.encode().len() < REPORT_MAX);
        }
        assert!(Report::parse(b"refused 1 Get\n").is_some());
    }

    #[test]
    fn report_that_is_not_one_line_of_three_words_is_refused() {
        let wrong: [&[u8]; 18] = [
            b"",
            b"\n",
            b"refused",
            b"refused 1",
            b"refused 1 ",
            b"refused 1  Get",
            b"refused 1 Get now",
            b"refused 1 Get\n\n",
            b"refused 1 Get\nrefused 2 Get",
            b"refused 0 Get",
            b"refused 01 Get",
            b"refused +1 Get",
            b"refused -1 Get",
            b"refused 18446744073709551616 Get",
            b"Refused 1 Get",
            b"refused 1 G\xff",
            b"refused 1 G\0",
            b"opened 1 Get",
        ];
        for message in wrong {
            assert_eq!(Report::parse(message), None, "{}", message.escape_ascii());
        }
        let long = format!("refused 1 {}", "w".repeat(WORD_MAX + 1));
        assert_eq!(Report::parse(long.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn report_any_bytes_give_none_or_something_printable(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(report) = Report::parse(&bytes) {
                prop_assert!(is_word(report.word) && report.serial != 0);
            }
        }

        #[test]
        fn report_nearly_right_parses_to_what_it_says(
            text in "(refused|dropped|called|x)[ \n]{0,2}[+0-9]{0,21}[ \n]{0,2}[A-Za-z. ]{0,70}\n?"
        ) {
            if let Some(report) = Report::parse(text.as_bytes()) {
                prop_assert_eq!(report.encode(), text.trim_end_matches('\n'));
            }
        }

        #[test]
        fn quoted_any_text_is_printable_ascii_between_two_quotes(text in any::<String>()) {
            let mut out = String::new();
            quote(&mut out, &text);
            let inner = &out[1..out.len() - 1];
            prop_assert!(out.bytes().all(|b| (b' '..=b'~').contains(&b)));
            prop_assert!(!inner.replace("\\\\", "").replace("\\\"", "").contains('"'));
        }
    }
}
