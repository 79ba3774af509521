//! Replies on their way to a peer: bytes, and which descriptors go with which of them.
//!
//! A message with descriptors is sent alone, by one `sendmsg`, so that nobody can take them for another message's
//! (readers that coalesce have got this wrong). All others that are ready go out together.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use serde::Serialize;

use crate::json::{self, NotJson};

/// Most bytes that wait for one peer. A daemon's own replies must be shorter than this; a peer that lets so much
/// pile up does not read.
pub const OUTPUT_MAX: usize = 128 * 1024;

/// What is to be sent to one peer.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    attached: VecDeque<Attached>,
}

/// Descriptors that go with the message in `bytes[start..end]`.
#[derive(Debug)]
struct Attached {
    start: usize,
    end: usize,
    fds: Vec<OwnedFd>,
}

impl Output {
    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Takes a buffer to write into, when there is none here.
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        if self.bytes.capacity() == 0 {
            std::mem::swap(&mut self.bytes, buffer);
        }
    }

    /// Gives the buffer back, when everything was sent. A peer that reads keeps no memory of ours.
    pub fn give_back(&mut self, buffer: &mut Vec<u8>) {
        if self.is_empty() && buffer.capacity() == 0 {
            self.bytes.clear();
            self.sent = 0;
            std::mem::swap(&mut self.bytes, buffer);
        }
    }

    /// Adds a reply.
    ///
    /// # Errors
    /// It is not JSON; nothing was added.
    pub fn reply(
        &mut self,
        reply: &impl Serialize,
        continues: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<(), NotJson> {
        let tail: &[u8] = if continues { b",\"continues\":true}" } else { b"}" };
        self.message(b"{\"parameters\":", reply, tail, fds)
    }

    /// Adds an error: something that is `{"error":NAME,"parameters":{…}}`.
    ///
    /// # Errors
    /// It is not JSON; nothing was added.
    pub fn error(&mut self, error: &impl Serialize) -> Result<(), NotJson> {
        self.message(b"", error, b"", Vec::new())
    }

    /// Adds any message.
    ///
    /// # Errors
    /// It is not JSON; nothing was added.
    pub fn message(
        &mut self,
        head: &[u8],
        body: &impl Serialize,
        tail: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<(), NotJson> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(head);
        if let Err(error) = json::write(&mut self.bytes, body) {
            self.bytes.truncate(start);
            return Err(error);
        }
        self.bytes.extend_from_slice(tail);
        self.bytes.push(0);
        if !fds.is_empty() {
            self.attached.push_back(Attached { start, end: self.bytes.len(), fds });
        }
        Ok(())
    }

    /// What is to be sent next, by one call. Empty when everything was.
    pub fn next(&self) -> (&[u8], &[OwnedFd]) {
        let part = |to: usize| self.bytes.get(self.sent..to).unwrap_or_default();
        match self.attached.front() {
            None => (part(self.bytes.len()), &[]),
            Some(attached) if attached.start > self.sent => (part(attached.start), &[]),
            Some(attached) => (part(attached.end), &attached.fds),
        }
    }

    /// So many bytes of [`Output::next`] were sent; descriptors go with the first.
    pub fn advance(&mut self, sent: usize) {
        if sent == 0 {
            return;
        }
        if self.attached.front().is_some_and(|attached| attached.start <= self.sent) {
            self.attached.pop_front();
        }
        self.sent = self.bytes.len().min(self.sent + sent);
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent >= OUTPUT_MAX {
            self.compact();
        }
    }

    /// Sent bytes must not pile up in front of a stream that never runs dry.
    fn compact(&mut self) {
        self.bytes.drain(..self.sent);
        for attached in &mut self.attached {
            attached.start -= self.sent;
            attached.end -= self.sent;
        }
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn null() -> Vec<OwnedFd> {
        vec![File::open("/dev/null").unwrap().into()]
    }

    fn text(output: &Output) -> (String, usize) {
        let (bytes, fds) = output.next();
        (String::from_utf8_lossy(bytes).into_owned(), fds.len())
    }

    #[test]
    fn replies_go_together_and_one_with_descriptors_alone() {
        let mut output = Output::default();
        output.reply(&1, true, Vec::new()).unwrap();
        output.reply(&2, false, Vec::new()).unwrap();
        output.reply(&3, false, null()).unwrap();
        output.reply(&4, false, Vec::new()).unwrap();
        let both = "{\"parameters\":1,\"continues\":true}\0{\"parameters\":2}\0";
        assert_eq!(text(&output), (both.to_owned(), 0));
        output.advance(both.len() - 1);
        assert_eq!(text(&output), ("\0".to_owned(), 0));
        output.advance(1);
        assert_eq!(text(&output), ("{\"parameters\":3}\0".to_owned(), 1));
        output.advance(1);
        assert_eq!(text(&output), ("\"parameters\":3}\0{\"parameters\":4}\0".to_owned(), 0));
        output.advance(output.len());
        assert!(output.is_empty() && text(&output).0.is_empty());
    }

    #[test]
    fn value_that_is_not_json_adds_nothing() {
        let mut output = Output::default();
        let map = std::collections::BTreeMap::from([(vec![1], 2)]);
        assert!(output.reply(&map, false, null()).is_err());
        assert!(output.is_empty());
    }

    #[test]
    fn sent_bytes_are_given_up_while_others_wait() {
        let mut output = Output::default();
        for _ in 0..8 {
            output.reply(&"x".repeat(OUTPUT_MAX / 2), true, Vec::new()).unwrap();
        }
        output.reply(&5, false, null()).unwrap();
        let all = output.len();
        output.advance(OUTPUT_MAX + 7);
        assert_eq!((output.bytes.len(), output.len()), (all - OUTPUT_MAX - 7, all - OUTPUT_MAX - 7));
        output.advance(output.next().0.len());
        assert_eq!(text(&output), ("{\"parameters\":5}\0".to_owned(), 1));
    }
}
