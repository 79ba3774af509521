//! What a developer's host and a device say to each other on the developer port: the bus, over a stream of bytes.
//!
//! The port is a virtio-serial port of a virtual machine. It has neither a beginning nor an end nor descriptors: whoever
//! opens it on the host may find the middle of what was meant for somebody before, and whoever was there before may
//! have gone in the middle of something. Therefore bytes are framed as RFC 1055 (SLIP) frames packets, where one byte
//! ends whatever was begun, and a connection begins with a token that only the two can know:
//!
//! ```text
//! host                               device
//! Open(token, interface) ──▶         ends the connection before, if there is one, and connects to the interface
//!                        ◀── Opened(token), or Refused(token, why); the host passes over everything before
//! File(bytes)*, FileEnd  ──▶         what is in a descriptor of the next message, at most [`FILE_MAX`] bytes
//! Data(bytes)            ──▶
//!                        ◀── Data(bytes)                  varlink, in pieces of any length
//!                        ◀── File(bytes)*, FileEnd        what is in a descriptor of the next message
//!                        ◀── Closed                       the server has ended the connection
//! ```
//!
//! A port carries one connection at a time, so that what holds a reader up on the host holds up nobody else: a
//! machine has [`PORTS`] of them. The host ends a connection by closing the port.
//!
//! What is not a frame, or longer than one may be, is passed over up to its end; nothing that a peer sends makes the
//! other side keep more than [`PAYLOAD_MAX`] bytes.

use std::path::{Path, PathBuf};

/// The box on the device, which has the grants.
pub const APP: &str = "os.gabion.devport";
/// The box with the grants of whoever comes through the door of a device in developer mode, where the same is said over TLS.
pub const DOOR: &str = "os.gabion.door";
/// The TCP port of that door.
pub const DOOR_PORT: u16 = 4226;
/// Ports that a developer's machine has.
pub const PORTS: usize = 4;
/// What the ports are called, with the number of each (from 1) at the end.
pub const PORT_NAME: &str = "os.gabion.dev.";
/// The host's sockets of the ports of a machine whose first one is at `first`: `first`, `first.2`, `first.3`, …
pub fn sockets(first: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=PORTS).map(|number| {
        let mut path = first.as_os_str().to_owned();
        if number > 1 {
            path.push(format!(".{number}"));
        }
        path.into()
    })
}

/// Most bytes in a frame, besides its kind.
pub const PAYLOAD_MAX: usize = 4096;
/// Most bytes of a file from the host: it is held until its message goes. What is longer goes in parts.
pub const FILE_MAX: usize = 256 << 10;
/// Bytes of a token.
const TOKEN: usize = 8;

/// RFC 1055: "END (192), ESC (219), ESC_END (220), ESC_ESC (221)". None but the last three can be in UTF-8 at all.
const END: u8 = 192;
const ESC: u8 = 219;
const ESC_END: u8 = 220;
const ESC_ESC: u8 = 221;

/// Names a connection, so that nobody takes another's bytes for its own.
pub type Token = [u8; TOKEN];

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Connect to an interface.
    Open(Token, &'a str),
    /// What follows is from there.
    Opened(Token),
    /// It could not be done; why, for people.
    Refused(Token, &'a str),
    /// Bytes of the connection.
    Data(&'a [u8]),
    /// Bytes of a file.
    File(&'a [u8]),
    /// The file is complete, or could not be read: why, for people.
    FileEnd(&'a str),
    /// The connection is over.
    Closed,
}

impl<'a> Frame<'a> {
    /// Adds the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, token, payload): (u8, &[u8], &[u8]) = match self {
            Self::Open(token, interface) => (b'O', token, interface.as_bytes()),
            Self::Opened(token) => (b'o', token, b""),
            Self::Refused(token, why) => (b'r', token, why.as_bytes()),
            Self::Data(bytes) => (b'D', b"", bytes),
            Self::File(bytes) => (b'f', b"", bytes),
            Self::FileEnd(why) => (b'e', b"", why.as_bytes()),
            Self::Closed => (b'c', b"", b""),
        };
        out.push(END);
        for &byte in [kind].iter().chain(token).chain(payload) {
            match byte {
                END => out.extend([ESC, ESC_END]),
                ESC => out.extend([ESC, ESC_ESC]),
                _ => out.push(byte),
            }
        }
        out.push(END);
    }

    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (kind, payload) = bytes.split_first()?;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let token = || payload.split_first_chunk::<TOKEN>();
        match kind {
            b'O' => token().and_then(|(token, rest)| Some(Self::Open(*token, text(rest)?))),
            b'o' => token().filter(|(_, rest)| rest.is_empty()).map(|(token, _)| Self::Opened(*token)),
            b'r' => token().and_then(|(token, rest)| Some(Self::Refused(*token, text(rest)?))),
            b'D' => Some(Self::Data(payload)),
            b'f' => Some(Self::File(payload)),
            b'e' => text(payload).map(Self::FileEnd),
            b'c' if payload.is_empty() => Some(Self::Closed),
            _ => None,
        }
    }
}

/// Finds frames in bytes as they come.
#[derive(Debug, Default)]
pub struct Frames {
    held: Vec<u8>,
    escaped: bool,
    /// What is being received is no frame; it is passed over.
    spoiled: bool,
}

impl Frames {
    /// Takes bytes, and gives each frame that ends in them to `each`.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) {
        for &byte in bytes {
            if byte == END {
                if let Some(frame) = Frame::decode(&self.held).filter(|_| !self.spoiled && !self.escaped) {
                    each(frame);
                }
                self.held.clear();
                (self.escaped, self.spoiled) = (false, false);
            } else if byte == ESC && !self.escaped {
                self.escaped = true;
            } else {
                self.keep(byte);
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        let meant = match (std::mem::take(&mut self.escaped), byte) {
            (false, byte) => Some(byte),
            (true, ESC_END) => Some(END),
            (true, ESC_ESC) => Some(ESC),
            (true, _) => None,
        };
        match meant.filter(|_| self.held.len() < PAYLOAD_MAX + 1 + TOKEN) {
            Some(byte) => self.held.push(byte),
            None => self.spoiled = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(frames: &mut Frames, bytes: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        frames.take(bytes, |frame| all.push(format!("{frame:?}")));
        all
    }

    fn every_kind<'a>(token: Token, text: &'a str, bytes: &'a [u8]) -> [Frame<'a>; 7] {
        [
            Frame::Open(token, text),
            Frame::Opened(token),
            Frame::Refused(token, text),
            Frame::Data(bytes),
            Frame::File(bytes),
            Frame::FileEnd(text),
            Frame::Closed,
        ]
    }

    #[test]
    fn frame_cut_short_is_passed_over_and_the_next_one_found() {
        let mut bytes = Vec::new();
        Frame::Data(b"from somebody before").encode(&mut bytes);
        bytes.truncate(bytes.len() - 5);
        bytes.push(ESC);
        Frame::Opened([7; TOKEN]).encode(&mut bytes);
        let expected = format!("{:?}", Frame::Opened([7; TOKEN]));
        assert_eq!(found(&mut Frames::default(), &bytes), [expected]);
    }

    #[test]
    fn frame_too_long_is_passed_over_and_not_kept() {
        let mut frames = Frames::default();
        assert!(found(&mut frames, &vec![b'D'; 10 * PAYLOAD_MAX]).is_empty());
        assert!(frames.held.len() <= PAYLOAD_MAX + 1 + TOKEN);
        let mut next = Vec::new();
        Frame::Closed.encode(&mut next);
        assert_eq!(found(&mut frames, &next), ["Closed"]);
    }

    proptest! {
        #[test]
        fn frames_are_found_whatever_came_before_and_however_they_are_cut(
            before in proptest::collection::vec(any::<u8>(), 0..40),
            token: Token,
            text in ".{0,20}",
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(END), Just(ESC)], 0..60),
            cut in 1_usize..9,
        ) {
            let sent = every_kind(token, &text, &bytes);
            let mut stream = before;
            // The first frame begins with what ends the noise; what the noise may say is not looked at.
            let mut frames = Frames::default();
            stream.push(END);
            found(&mut frames, &stream);
            let mut stream = Vec::new();
            sent.iter().for_each(|frame| frame.encode(&mut stream));
            let all: Vec<String> = stream.chunks(cut).flat_map(|piece| found(&mut frames, piece)).collect();
            let expected: Vec<String> = sent.iter().map(|frame| format!("{frame:?}")).collect();
            prop_assert_eq!(all, expected);
        }

        #[test]
        fn any_bytes_keep_no_more_than_a_frame(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let mut frames = Frames::default();
            found(&mut frames, &bytes);
            prop_assert!(frames.held.len() <= PAYLOAD_MAX + 1 + TOKEN);
        }
    }
}
