//! The `sd_notify` protocol: what an app says about itself on its own datagram socket.
//!
//! Who speaks is known from which socket it came on; nothing in the message is believed about that. Unknown
//! keys are ignored, as the protocol asks; descriptors sent along are dropped by the kernel because no room is
//! given for them. A message can set three flags and one bounded status text, nothing else.

use crate::line::escape;

/// Longest datagram read; what is longer is cut.
pub const MAX_MESSAGE: usize = 2048;
const MAX_STATUS: usize = 120;

/// One message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// `READY=1`.
    pub ready: bool,
    /// `STOPPING=1`.
    pub stopping: bool,
    /// `WATCHDOG=1`.
    pub alive: bool,
    /// `WATCHDOG=trigger`: the app says it is broken.
    pub trigger: bool,
    /// `STATUS=`, escaped and bounded.
    pub status: Option<String>,
}

/// Reads one datagram.
pub fn parse(message: &[u8]) -> Notice {
    let mut notice = Notice::default();
    for line in message.split(|b| *b == b'\n') {
        match line {
            b"READY=1" => notice.ready = true,
            b"STOPPING=1" => notice.stopping = true,
            b"WATCHDOG=1" => notice.alive = true,
            b"WATCHDOG=trigger" => notice.trigger = true,
            _ => {
                if let Some(text) = line.strip_prefix(b"STATUS=") {
                    notice.status = Some(escape(text.get(..MAX_STATUS).unwrap_or(text)));
                }
            }
        }
    }
    notice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_reads_what_it_knows_and_ignores_the_rest() {
        let notice = parse(b"READY=1\nSTATUS=up \x1b[1m\nMAINPID=1\nFDSTORE=1\nWATCHDOG=1");
        assert!(notice.ready && notice.alive && !notice.stopping && !notice.trigger);
        assert_eq!(notice.status.as_deref(), Some("up \\x1b[1m"));
    }

    #[test]
    fn notice_near_misses_are_nothing() {
        assert_eq!(parse(b"READY=0\nready=1\nWATCHDOG=2\nREADY=1 \n=\n"), Notice::default());
        assert_eq!(parse(b""), Notice::default());
    }

    #[test]
    fn notice_status_is_bounded() {
        let mut message = b"STATUS=".to_vec();
        message.extend_from_slice(&[b'x'; 2000]);
        assert_eq!(parse(&message).status.unwrap().len(), MAX_STATUS);
    }
}
