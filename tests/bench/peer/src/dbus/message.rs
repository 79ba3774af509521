//! Messages: marshalling, and the fields of a header that somebody here reads.
//!
//! D-Bus specification 0.43, "Message Format": `yyyyuu`, an array of (code, variant), padding to 8, the body.

use anyhow::{Context, Result, ensure};

/// Bytes before the array of header fields, its length included.
pub(super) const FIXED: usize = 16;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;
const UNIX_FDS: u8 = 9;

/// Bytes in D-Bus order and alignment. Alignment counts from the beginning of what is written.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Zeroes up to a multiple of `to`.
    pub fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `y`.
    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// `u`, `h`.
    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// `b`.
    pub fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    /// `t`.
    pub fn u64(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    /// `s`, `o`.
    pub fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// `g`; with what follows it, a variant.
    pub fn signature(&mut self, signature: &str) {
        self.0.push(signature.len() as u8);
        self.0.extend(signature.as_bytes());
        self.0.push(0);
    }

    /// `ay`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.0.extend(bytes);
    }

    /// An array of structs or of 8-byte values, written by `content`.
    pub fn array(&mut self, content: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let length = self.0.len() - 4;
        self.align(8);
        let start = self.0.len();
        content(self);
        let bytes = (self.0.len() - start) as u32;
        if let Some(place) = self.0.get_mut(length..length + 4) {
            place.copy_from_slice(&bytes.to_le_bytes());
        }
    }

    fn field(&mut self, code: u8, signature: &str, value: impl FnOnce(&mut Writer)) {
        self.align(8);
        self.byte(code);
        self.signature(signature);
        value(self);
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A method call.
    Call = 1,
    /// A reply.
    Reply = 2,
}

/// A header to be written. Empty texts are left out.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Call or reply.
    pub kind: Kind,
    /// The call that is answered; 0 for a call.
    pub reply_serial: u32,
    /// To whom.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// Of the body.
    pub signature: &'a str,
    /// Descriptors that come along.
    pub fds: u32,
}

impl Head<'_> {
    /// The whole message under this serial, into `out`.
    pub fn write(&self, out: &mut Vec<u8>, serial: u32, body: &[u8]) {
        out.clear();
        let mut w = Writer(std::mem::take(out));
        w.0.extend([b'l', self.kind as u8, 0, 1]);
        w.u32(body.len() as u32);
        w.u32(serial);
        w.array(|w| self.fields(w));
        w.align(8);
        w.0.extend(body);
        *out = w.0;
    }

    fn fields(&self, w: &mut Writer) {
        let mut text = |code, signature, text: &str| {
            if !text.is_empty() {
                w.field(code, signature, |w| w.text(text));
            }
        };
        text(PATH, "o", self.path);
        text(INTERFACE, "s", self.interface);
        text(MEMBER, "s", self.member);
        text(DESTINATION, "s", self.destination);
        for (code, value) in [(REPLY_SERIAL, self.reply_serial), (UNIX_FDS, self.fds)] {
            if value != 0 {
                w.field(code, "u", |w| w.u32(value));
            }
        }
        if !self.signature.is_empty() {
            w.field(SIGNATURE, "g", |w| w.signature(self.signature));
        }
    }
}

/// A message that came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// 1 call, 2 reply, 3 error, 4 signal.
    pub kind: u8,
    /// Its own serial.
    pub serial: u32,
    /// The call that it answers, or 0.
    pub reply_serial: u32,
    /// Who sent it.
    pub sender: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// The length of the message that begins with these bytes, once there are enough of them to tell.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let fields = u32_at(bytes, 12)? as usize;
    Some((FIXED + fields).next_multiple_of(8) + u32_at(bytes, 4)? as usize)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

impl<'a> Received<'a> {
    /// Reads a whole message.
    pub(super) fn read(message: &'a [u8]) -> Result<Received<'a>> {
        let cut = "a message that is cut";
        ensure!(message.first() == Some(&b'l'), "not little-endian");
        let end = FIXED + u32_at(message, 12).context(cut)? as usize;
        let mut received = Received {
            kind: *message.get(1).context(cut)?,
            serial: u32_at(message, 8).context(cut)?,
            reply_serial: 0,
            sender: "",
            body: message.get(end.next_multiple_of(8)..).context(cut)?,
        };
        let fields = message.get(..end).context(cut)?;
        let mut at = FIXED;
        while at < end {
            at = received.field(fields, at).context("a header field")?;
        }
        Ok(received)
    }

    /// Reads the field at `at`; where the next one begins.
    fn field(&mut self, bytes: &'a [u8], at: usize) -> Option<usize> {
        let code = *bytes.get(at)?;
        let kind = *bytes.get(at + 2)?;
        let value = at + 4;
        let end = match kind {
            b'u' => value + 4,
            b'g' => value + 1 + usize::from(*bytes.get(value)?) + 1,
            _ => value + 4 + u32_at(bytes, value)? as usize + 1,
        };
        match code {
            REPLY_SERIAL => self.reply_serial = u32_at(bytes, value)?,
            SENDER => self.sender = std::str::from_utf8(bytes.get(value + 4..end - 1)?).ok()?,
            _ => {}
        }
        Some(end.next_multiple_of(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_read_as_it_was_written() {
        let head = Head {
            kind: Kind::Reply,
            reply_serial: 77,
            destination: ":1.5",
            path: "",
            interface: "",
            member: "",
            signature: "ay",
            fds: 0,
        };
        let mut body = Writer::default();
        body.bytes(b"abc");
        let (mut out, body) = (Vec::new(), body.into_bytes());
        head.write(&mut out, 9, &body);
        assert_eq!(length(&out), Some(out.len()));
        assert_eq!(length(&out[..15]), None);
        let read = Received::read(&out).unwrap();
        assert_eq!((read.kind, read.serial, read.reply_serial, read.body), (2, 9, 77, body.as_slice()));
    }

    #[test]
    fn array_counts_from_its_first_element() {
        let mut w = Writer::default();
        w.array(|w| w.u64(1));
        assert_eq!(w.into_bytes(), [8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
