//! A connection to a broker: authentication, `Hello`, messages in and out.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::message::{Head, Kind, Received, Writer, length};

/// Large enough that a message up to 4 KiB comes with one `read`.
const BUFFER: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// Received: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    serial: u32,
}

impl Connection {
    /// To the broker at a path, as the user `uid`.
    ///
    /// # Errors
    /// The broker cannot be reached or refuses.
    pub fn open(path: &Path, uid: u32) -> Result<Self> {
        let mut connection = Self::over(UnixStream::connect(path)?, uid)?;
        connection.call_driver("Hello", "", &[])?;
        Ok(connection)
    }

    /// Authenticates over a connected socket, and says nothing else.
    ///
    /// # Errors
    /// The other end refuses.
    pub fn over(stream: UnixStream, uid: u32) -> Result<Self> {
        let mut this = Self { stream, buffer: vec![0; BUFFER], start: 0, end: 0, serial: 0 };
        let hex: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        this.say(&format!("\0AUTH EXTERNAL {hex}\r\n"), "OK ")?;
        this.say("NEGOTIATE_UNIX_FD\r\n", "AGREE_UNIX_FD")?;
        this.stream.write_all(b"BEGIN\r\n")?;
        Ok(this)
    }

    fn say(&mut self, line: &str, expected: &str) -> Result<()> {
        self.stream.write_all(line.as_bytes())?;
        let got = self.stream.read(&mut self.buffer)?;
        let answer = String::from_utf8_lossy(self.buffer.get(..got).unwrap_or_default());
        ensure!(answer.starts_with(expected), "{line:?} was answered by {answer:?}");
        Ok(())
    }

    /// The socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Takes a name.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn own(&mut self, name: &str) -> Result<()> {
        let mut body = Writer::default();
        body.text(name);
        body.u32(0);
        let reply = self.call_driver("RequestName", "su", &body.into_bytes())?;
        ensure!(reply == [1, 0, 0, 0], "{name} is not ours: {reply:?}");
        Ok(())
    }

    fn call_driver(&mut self, member: &str, signature: &str, body: &[u8]) -> Result<Vec<u8>> {
        let name = "org.freedesktop.DBus";
        let path = "/org/freedesktop/DBus";
        let head = Head {
            kind: Kind::Call,
            reply_serial: 0,
            destination: name,
            path,
            interface: name,
            member,
            signature,
            fds: 0,
        };
        let (mut message, serial) = (Vec::new(), self.next_serial());
        head.write(&mut message, serial, body);
        self.send(&message)?;
        Ok(self.reply(serial)?.to_vec())
    }

    /// A serial that was not used yet.
    pub fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(message)?)
    }

    /// Waits for the reply to a call; its body. Signals are passed over.
    ///
    /// # Errors
    /// The reply is an error, or the connection ended.
    pub fn reply(&mut self, serial: u32) -> Result<&[u8]> {
        loop {
            let (start, end) = self.next()?;
            let message = Received::read(self.message(start, end))?;
            let body = end - message.body.len();
            match (message.kind, message.reply_serial == serial) {
                (2, true) => return Ok(self.message(body, end)),
                (3, true) => bail!("the call failed: {:?}", String::from_utf8_lossy(message.body)),
                _ => {}
            }
        }
    }

    /// Waits for the next message, whatever it is.
    ///
    /// # Errors
    /// The connection ended.
    pub fn receive(&mut self) -> Result<Received<'_>> {
        let (start, end) = self.next()?;
        Received::read(self.message(start, end))
    }

    fn message(&self, start: usize, end: usize) -> &[u8] {
        self.buffer.get(start..end).unwrap_or_default()
    }

    /// Where the next whole message is in the buffer.
    fn next(&mut self) -> Result<(usize, usize)> {
        loop {
            let held = self.buffer.get(self.start..self.end).unwrap_or_default();
            let whole = length(held);
            if let Some(length) = whole.filter(|length| *length <= held.len()) {
                let start = self.start;
                self.start += length;
                return Ok((start, self.start));
            }
            self.make_room(whole.unwrap_or(0));
            let room = self.buffer.get_mut(self.end..).context("buffer")?;
            let got = self.stream.read(room)?;
            ensure!(got > 0, "the broker closed the connection");
            self.end += got;
        }
    }

    /// Makes room for a message of `length` bytes.
    fn make_room(&mut self, length: usize) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
    }
}
