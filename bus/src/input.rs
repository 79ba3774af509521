//! Messages out of a stream of bytes: each ends with a NUL.
//!
//! What is kept of a peer is at most one message that is not complete, or complete ones that wait for their turn, and
//! never more than its grant allows. Bytes are looked at once, however they are cut up on their way.

/// Bytes of a peer that wait: for the rest of their message, or for the message before them to be answered.
#[derive(Debug)]
pub struct Input {
    held: Vec<u8>,
    /// So many bytes of `held` are known to have no NUL among them.
    scanned: usize,
    limit: usize,
    /// A message was taken since [`Input::restarted`] was last asked.
    taken: bool,
}

impl Input {
    /// Of messages of at most `limit` bytes, their NUL counted.
    pub fn new(limit: usize) -> Self {
        Self { held: Vec::new(), scanned: 0, limit, taken: false }
    }

    /// How many bytes may be received now. 0 when nothing fits, see [`Input::overlong`].
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.held.len())
    }

    /// Whether bytes wait here.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether bytes are held that nobody looked at yet.
    pub fn has_news(&self) -> bool {
        self.scanned < self.held.len()
    }

    /// Whether what is held is full, and yet no complete message.
    pub fn overlong(&self) -> bool {
        self.held.len() >= self.limit && self.scanned == self.held.len()
    }

    /// Whether what is held is the beginning of another message than when this was last asked.
    pub fn restarted(&mut self) -> bool {
        std::mem::take(&mut self.taken)
    }

    /// Keeps bytes behind those that are held.
    pub fn keep(&mut self, bytes: &[u8]) {
        if self.held.is_empty() {
            // What is small stays small: most peers never send half a message.
            self.held.reserve_exact(bytes.len());
        }
        self.held.extend_from_slice(bytes);
    }

    /// Takes everything that is held, to look for messages in it; [`Input::put_back`] what is left.
    pub fn take(&mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.held), std::mem::take(&mut self.scanned))
    }

    /// Holds `bytes` without their first `used`, of which `scanned` are known to have no NUL. Memory is kept only while
    /// something is held.
    pub fn put_back(&mut self, mut bytes: Vec<u8>, used: usize, scanned: usize) {
        self.taken |= used > 0;
        if used >= bytes.len() {
            return;
        }
        bytes.drain(..used);
        self.scanned = scanned;
        self.held = bytes;
    }

    /// As [`Input::put_back`], of bytes that are somebody else's.
    pub fn keep_rest(&mut self, bytes: &[u8], used: usize, scanned: usize) {
        self.taken |= used > 0;
        if let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            self.keep(rest);
            self.scanned = scanned;
        }
    }
}

/// The first message in `bytes`, without its NUL; the first `scanned` bytes are known to have none.
pub fn message(bytes: &[u8], scanned: usize) -> Option<&[u8]> {
    let rest = bytes.get(scanned..)?;
    bytes.get(..scanned + memchr::memchr(0, rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ends_before_its_nul() {
        assert_eq!(message(b"ab\0cd\0", 0), Some(&b"ab"[..]));
        assert_eq!(message(b"ab\0cd\0", 2), Some(&b"ab"[..]));
        assert_eq!(message(b"\0", 0), Some(&b""[..]));
        assert_eq!(message(b"ab", 0), None);
        assert_eq!(message(b"", 7), None);
        for at in 0..100 {
            let mut bytes = vec![0x80; 100];
            bytes[at] = 0;
            assert_eq!(message(&bytes, 0).map(<[u8]>::len), Some(at));
        }
    }

    #[test]
    fn input_holds_no_more_than_its_limit() {
        let mut input = Input::new(4);
        input.keep_rest(b"x\0abcd", 2, 4);
        assert_eq!(input.room(), 0);
        assert!(input.overlong());
        let (bytes, scanned) = input.take();
        assert_eq!((bytes.as_slice(), scanned), (&b"abcd"[..], 4));
        input.put_back(bytes, 4, 0);
        assert!(input.is_empty() && input.restarted() && !input.restarted());
    }
}
