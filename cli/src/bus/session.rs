//! A connection to an interface on the device: calls out, replies in, and the files that come with them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use bus::devport::{Frame, Frames, PAYLOAD_MAX, Token};
use bus::envelope::{self, Request};
use serde_json::{Map, Value};

use super::device::Claimed;
use super::error::Error;

/// Longest reply that is taken, bytes; as long as the library's own client takes.
const REPLY_MAX: usize = bus::client::REPLY_MAX;

/// What a device answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// A reply, and whether another one follows.
    Parameters(Value, bool),
    /// An error: its name, and what it says.
    Error(String, Value),
}

/// What came from the device, with what belongs to another session left out.
#[derive(Debug, PartialEq)]
enum Came {
    Opened,
    Refused(String),
    Bytes(Vec<u8>),
    File(Vec<u8>),
    FileEnd(String),
    Closed,
}

/// What becomes of files that come with replies.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Where the first one is written to; made when it comes.
    path: Option<PathBuf>,
    file: Option<File>,
    /// What came so far, bytes.
    pub(crate) bytes: u64,
    /// How many were complete.
    pub(crate) count: u32,
}

/// See the module.
pub(crate) struct Session {
    port: Claimed,
    frames: Frames,
    token: Token,
    opened: bool,
    came: VecDeque<Came>,
    message: Vec<u8>,
    pub(crate) files: Files,
}

impl Session {
    /// A session on a port. `patience` is how long the device may take over anything but the replies of a stream.
    pub(crate) fn new(port: Claimed, patience: Duration, files: Files) -> Result<Self, Error> {
        port.stream.set_timeouts(Some(patience), Some(patience))?;
        Ok(Self {
            port,
            frames: Frames::default(),
            token: Token::default(),
            opened: false,
            came: VecDeque::new(),
            message: Vec::new(),
            files,
        })
    }

    /// Connects to an interface, in place of the one before.
    pub(crate) fn open(&mut self, interface: &str) -> Result<(), Error> {
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut self.token))
            .map_err(Error::Io)?;
        self.opened = false;
        self.came.clear();
        self.message.clear();
        let token = self.token;
        self.send(&Frame::Open(token, interface))?;
        loop {
            match self.next()? {
                Came::Opened => return Ok(()),
                Came::Refused(why) => return Err(Error::Refused(why)),
                _ => {}
            }
        }
    }

    /// Asks; the answers come by [`Session::reply`].
    pub(crate) fn ask(
        &mut self,
        method: &str,
        parameters: &Map<String, Value>,
        more: bool,
    ) -> Result<(), Error> {
        let request = Request { method, parameters, oneway: false, more };
        let mut message = serde_json::to_vec(&request).map_err(|e| Error::Io(e.into()))?;
        message.push(0);
        message.chunks(PAYLOAD_MAX).try_for_each(|piece| self.send(&Frame::Data(piece)))
    }

    /// Sends what is in a descriptor of the next question, of at most [`FILE_MAX`](bus::devport::FILE_MAX) bytes.
    pub(crate) fn file(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut frames = Vec::with_capacity(bytes.len() + bytes.len() / 16);
        bytes.chunks(PAYLOAD_MAX).for_each(|piece| Frame::File(piece).encode(&mut frames));
        Frame::FileEnd("").encode(&mut frames);
        Ok(self.port.stream.write_all(&frames)?)
    }

    /// Waits no longer than this for what comes next; [`Error::Silent`] then, and nothing is lost.
    pub(crate) fn wait_for(&self, patience: Duration) -> Result<(), Error> {
        Ok(self.port.stream.set_timeouts(Some(patience), Some(patience))?)
    }

    /// Waits as long as it takes for what comes next: for a stream, which may be silent.
    pub(crate) fn wait_for_ever(&self) -> Result<(), Error> {
        Ok(self.port.stream.set_timeouts(None, None)?)
    }

    /// Waits for the next reply.
    pub(crate) fn reply(&mut self) -> Result<Reply, Error> {
        loop {
            if let Some(end) = self.message.iter().position(|byte| *byte == 0) {
                let rest = self.message.split_off(end + 1);
                let message = std::mem::replace(&mut self.message, rest);
                return read(message.get(..end).unwrap_or_default());
            }
            if self.message.len() > REPLY_MAX {
                return Err(Error::NotAReply("it is too long".to_owned()));
            }
            match self.next()? {
                Came::Bytes(bytes) => self.message.extend(bytes),
                Came::File(bytes) => self.files.take(&bytes)?,
                Came::FileEnd(why) if !why.is_empty() => {
                    return Err(Error::NotAReply(format!("a file that can not be read ({why})")));
                }
                Came::FileEnd(_) => self.files.end()?,
                Came::Opened | Came::Refused(_) => {}
                Came::Closed => return Err(Error::Closed),
            }
        }
    }

    fn send(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let sent = self.port.stream.write_all(&bytes).and_then(|()| self.port.stream.flush());
        sent.map_err(|e| self.port.stream.failed(e))
    }

    fn next(&mut self) -> Result<Came, Error> {
        loop {
            if let Some(came) = self.came.pop_front() {
                return Ok(came);
            }
            let mut buffer = [0; 2 * PAYLOAD_MAX];
            let length = match self.port.stream.read(&mut buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(|e| self.port.stream.failed(e))?,
            };
            if length == 0 {
                return Err(Error::Ended);
            }
            let Self { frames, came, opened, token, .. } = self;
            frames.take(buffer.get(..length).unwrap_or_default(), |frame| {
                came.extend(ours(&frame, token, opened));
            });
        }
    }
}

/// What a frame means to this session; nothing, if it was for somebody before.
fn ours(frame: &Frame<'_>, token: &Token, opened: &mut bool) -> Option<Came> {
    match frame {
        Frame::Opened(said) if said == token => {
            *opened = true;
            Some(Came::Opened)
        }
        Frame::Refused(said, why) if said == token => Some(Came::Refused((*why).to_owned())),
        _ if !*opened => None,
        Frame::Data(bytes) => Some(Came::Bytes(bytes.to_vec())),
        Frame::File(bytes) => Some(Came::File(bytes.to_vec())),
        Frame::FileEnd(why) => Some(Came::FileEnd((*why).to_owned())),
        Frame::Closed => Some(Came::Closed),
        Frame::Open(..) | Frame::Opened(_) | Frame::Refused(..) => None,
    }
}

impl Files {
    /// To be written to `path`; counted only if there is none.
    pub(crate) fn to(path: Option<PathBuf>) -> Self {
        Self { path, ..Self::default() }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        let Some(path) = self.path.as_ref().filter(|_| self.count == 0) else { return Ok(()) };
        if self.file.is_none() {
            self.file = Some(File::create(path).map_err(Error::Io)?);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes)).map_err(Error::Io)
    }

    fn end(&mut self) -> Result<(), Error> {
        // One without a byte is a file, too.
        self.take(&[])?;
        self.count += 1;
        Ok(())
    }
}

fn read(message: &[u8]) -> Result<Reply, Error> {
    let reply =
        envelope::reply(message).ok_or_else(|| Error::NotAReply("it is no JSON object".to_owned()))?;
    let parameters = match reply.parameters {
        None => Value::Object(Map::new()),
        Some(json) => serde_json::from_str(json.get()).map_err(|e| Error::NotAReply(e.to_string()))?,
    };
    Ok(match reply.error {
        Some(name) => Reply::Error(name.into_owned(), parameters),
        None => Reply::Parameters(parameters, reply.continues.unwrap_or(false)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::device;
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;
    use tempfile::TempDir;

    /// A device that sends `before` to whoever comes, then answers each `Open`, and each whole question with `answer`.
    fn device(before: &[u8], answer: Vec<Frame<'static>>) -> (TempDir, JoinHandle<Vec<u8>>) {
        let place = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(place.path().join("device.sock")).unwrap();
        let before = before.to_vec();
        let served = std::thread::spawn(move || {
            let (mut host, _) = listener.accept().unwrap();
            host.write_all(&before).unwrap();
            let (mut frames, mut heard, mut buffer) = (Frames::default(), Vec::new(), [0; 4096]);
            loop {
                let length = host.read(&mut buffer).unwrap_or(0);
                if length == 0 {
                    return heard;
                }
                let mut out = Vec::new();
                frames.take(&buffer[..length], |frame| match frame {
                    Frame::Open(token, "refused") => Frame::Refused(token, "why").encode(&mut out),
                    Frame::Open(token, _) => Frame::Opened(token).encode(&mut out),
                    Frame::Data(bytes) => {
                        heard.extend(bytes);
                        if bytes.ends_with(b"\0") {
                            answer.iter().for_each(|frame| frame.encode(&mut out));
                        }
                    }
                    _ => {}
                });
                if host.write_all(&out).is_err() {
                    return heard;
                }
            }
        });
        (place, served)
    }

    fn session(place: &TempDir, files: Files) -> Session {
        let port = device::claim(&place.path().join("device.sock")).unwrap();
        Session::new(port, Duration::from_secs(60), files).unwrap()
    }

    #[test]
    fn reply_is_put_together_and_what_was_for_others_passed_over() {
        let mut before = Vec::new();
        Frame::Opened([0; 8]).encode(&mut before);
        Frame::Data(b"{\"parameters\":{\"theirs\":1}}\0").encode(&mut before);
        Frame::Closed.encode(&mut before);
        before.extend(b"half a frame");
        let answer =
            vec![Frame::Data(b"{\"parameters\":{\"a\":1},"), Frame::Data(b"\"continues\":true}\0{}\0")];
        let (place, served) = device(&before, answer);
        let mut session = session(&place, Files::default());
        session.open("os.gabion.Time").unwrap();
        session.ask("os.gabion.Time.GetStatus", &Map::new(), true).unwrap();
        assert_eq!(session.reply().unwrap(), Reply::Parameters(serde_json::json!({"a": 1}), true));
        assert_eq!(session.reply().unwrap(), Reply::Parameters(serde_json::json!({}), false));
        drop(session);
        let asked = "{\"method\":\"os.gabion.Time.GetStatus\",\"parameters\":{},\"more\":true}\0";
        assert_eq!(String::from_utf8(served.join().unwrap()).unwrap(), asked);
    }

    #[test]
    fn file_of_a_reply_is_written_and_counted() {
        let answer =
            vec![Frame::File(b"one "), Frame::File(b"file"), Frame::FileEnd(""), Frame::Data(b"{}\0")];
        let (place, _served) = device(b"", answer);
        let path = place.path().join("log");
        let mut session = session(&place, Files::to(Some(path.clone())));
        session.open("os.gabion.Apps").unwrap();
        session.ask("os.gabion.Apps.ExportLog", &Map::new(), false).unwrap();
        session.reply().unwrap();
        assert_eq!((session.files.bytes, session.files.count), (8, 1));
        assert_eq!(std::fs::read(path).unwrap(), b"one file");
    }

    #[test]
    fn refusal_and_end_are_told_apart() {
        let (place, _served) = device(b"", vec![Frame::Closed]);
        let mut session = session(&place, Files::default());
        assert!(matches!(session.open("refused"), Err(Error::Refused(why)) if why == "why"));
        session.open("os.gabion.Time").unwrap();
        session.ask("os.gabion.Time.GetStatus", &Map::new(), false).unwrap();
        assert!(matches!(session.reply(), Err(Error::Closed)));
    }

    #[test]
    fn reply_that_is_none_or_never_ends_is_an_error() {
        for (answer, times) in [(&b"[]\0"[..], 1), (&[b'x'; PAYLOAD_MAX], 2 * REPLY_MAX / PAYLOAD_MAX)] {
            let (place, _served) = device(b"", vec![Frame::Data(answer); times]);
            let mut session = session(&place, Files::default());
            session.open("os.gabion.Time").unwrap();
            session.ask("os.gabion.Time.GetStatus", &Map::new(), false).unwrap();
            assert!(matches!(session.reply(), Err(Error::NotAReply(_))));
        }
    }
}
