//! What one app writes to standard output and error, on its way to the disk and the console.
//!
//! Bounded and charged to the app: beyond its rate of bytes we stop reading, and the app waits in `write`; beyond
//! its rate of lines they are dropped and the number of dropped ones is said. The console gets fewer still, and what it
//! does not get is in the log all the same.
//! The pipes outlive the app's process and sandboxd itself: `init` keeps both ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::clock;
use crate::console;
use crate::line::{LineBuffer, escape};
use crate::logfile::LogFile;
use crate::rate::Bucket;

/// KiB per second, and at once, that are read from one app.
const KIB: (u32, u32) = (1024, 2048);
/// Lines that are kept.
const LINES: (u32, u32) = (200, 1000);
/// Bytes that are shown on the console: a fifth of what a serial line of 115,200 baud carries, and at once as much as
/// half of what may wait for it.
const SHOWN: (u32, u32) = (2048, 16_384);
/// How long reading pauses when the bytes are used up, milliseconds.
const PAUSE_MS: u64 = 100;
/// Most bytes that wait for who follows; more is in the log.
const FOLLOWED_MAX: usize = bus::desk::TEXT_MAX;
/// Read at once; on the stack.
const CHUNK: usize = 8192;

/// The two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// How a reading went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All that was there, or enough for now.
    Done,
    /// The app is over its rate: come back at this time, not before.
    Pause(u64),
    /// Nobody can write any more: stop polling and [`AppLog::detach`].
    Closed,
}

#[derive(Debug)]
struct Source {
    pipe: OwnedFd,
    buffer: LineBuffer,
}

/// One app's output.
#[derive(Debug)]
pub struct AppLog {
    id: String,
    file: Option<LogFile>,
    sources: [Option<Source>; 2],
    bytes: Bucket,
    lines: Bucket,
    shown: Bucket,
    dropped: u64,
    hidden: u64,
    lost: u64,
    /// Lines for who follows, since they were taken last.
    followed: Option<String>,
}

impl AppLog {
    /// Its files were taken away.
    pub fn begin_anew(&mut self) {
        if let Some(file) = &mut self.file {
            file.begin_anew();
        }
    }

    /// Of the app `id`, kept in `file` if there is a place.
    pub fn new(id: &str, file: Option<LogFile>) -> Self {
        Self {
            id: id.to_owned(),
            file,
            sources: [None, None],
            bytes: Bucket::new(KIB.0, KIB.1),
            lines: Bucket::new(LINES.0, LINES.1),
            shown: Bucket::new(SHOWN.0, SHOWN.1),
            dropped: 0,
            hidden: 0,
            lost: 0,
            followed: None,
        }
    }

    /// Reads from these pipes from now on.
    pub fn attach(&mut self, out: OwnedFd, err: OwnedFd) {
        self.sources = [out, err].map(|pipe| Some(Source { pipe, buffer: LineBuffer::default() }));
    }

    /// The pipe of `stream`, to be polled.
    pub fn pipe(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        self.sources.get(stream as usize)?.as_ref().map(|s| s.pipe.as_fd())
    }

    /// Lets go of `stream`.
    pub fn detach(&mut self, stream: Stream) {
        if let Some(source) = self.sources.get_mut(stream as usize) {
            *source = None;
        }
    }

    /// Reads what is there, up to the rate.
    pub fn read(&mut self, stream: Stream, now_ms: u64) -> Reading {
        let mut chunk = [0; CHUNK];
        let mut text = String::new();
        let mut reading = Reading::Done;
        for _ in 0..4 {
            if !self.bytes.take((CHUNK / 1024) as u32, now_ms) {
                reading = Reading::Pause(now_ms + PAUSE_MS);
                break;
            }
            let Some(Some(source)) = self.sources.get(stream as usize) else { break };
            let n = match nix::unistd::read(&source.pipe, &mut chunk) {
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                Ok(0) | Err(_) => {
                    reading = Reading::Closed;
                    break;
                }
                Ok(n) => n,
            };
            self.with_buffer(stream, |log, buffer| {
                buffer.push(chunk.get(..n).unwrap_or_default(), |line| {
                    log.line(stream, line, now_ms, &mut text)
                });
            });
            if n < CHUNK {
                break;
            }
        }
        self.write(&text);
        reading
    }

    /// The app's process ended: reads the rest, and takes what has no line break for a line.
    pub fn finish(&mut self, now_ms: u64) {
        for stream in [Stream::Out, Stream::Err] {
            self.read(stream, now_ms);
            let mut text = String::new();
            self.with_buffer(stream, |log, buffer| {
                buffer.finish(|line| log.line(stream, line, now_ms, &mut text));
            });
            self.write(&text);
        }
    }

    /// Says what was dropped since the last time. Called now and then, and at the end.
    pub fn settle(&mut self) {
        let (dropped, hidden) = (std::mem::take(&mut self.dropped), std::mem::take(&mut self.hidden));
        if dropped > 0 {
            let text = format!("{} -- {dropped} lines dropped\n", clock::stamp());
            if let Some(file) = &mut self.file {
                file.append(&text);
            }
        }
        if dropped + hidden > 0 {
            console::say(format_args!(
                "log id={} dropped={dropped} not_shown={hidden} lines (over the app's rate)",
                self.id
            ));
        }
    }

    /// Somebody follows from now on, or nobody any more.
    pub fn follow(&mut self, on: bool) {
        self.followed = on.then(|| self.followed.take().unwrap_or_default());
    }

    /// What is new for who follows, if there is something.
    pub fn take_followed(&mut self) -> Option<String> {
        self.followed.as_mut().filter(|text| !text.is_empty()).map(std::mem::take)
    }

    /// The newest lines on disk, at most `max` bytes of them.
    pub fn tail(&self, max: usize) -> String {
        self.file.as_ref().map(|file| file.tail(max)).unwrap_or_default()
    }

    /// All that is on disk; `None` where there is no place for it.
    pub fn whole(&self) -> Option<Vec<u8>> {
        self.file.as_ref().map(LogFile::whole)
    }

    /// Lines that were not kept since this sandboxd came up.
    pub fn lost(&self) -> u64 {
        self.lost + self.file.as_ref().map(LogFile::lost).unwrap_or_default()
    }

    /// Whether [`AppLog::settle`] has something to say.
    pub fn unsettled(&self) -> bool {
        self.dropped + self.hidden > 0
    }

    /// Lends out the unfinished line of `stream` together with the rest.
    fn with_buffer(&mut self, stream: Stream, work: impl FnOnce(&mut Self, &mut LineBuffer)) {
        let take = |s: &mut Source| std::mem::take(&mut s.buffer);
        let Some(mut buffer) = self.sources.get_mut(stream as usize).and_then(Option::as_mut).map(take)
        else {
            return;
        };
        work(self, &mut buffer);
        if let Some(Some(source)) = self.sources.get_mut(stream as usize) {
            source.buffer = buffer;
        }
    }

    fn line(&mut self, stream: Stream, raw: &[u8], now_ms: u64, text: &mut String) {
        if !self.lines.take(1, now_ms) {
            self.dropped = self.dropped.saturating_add(1);
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let line = escape(raw);
        if self.file.is_some() {
            let tag = if stream == Stream::Out { "out" } else { "err" };
            text.push_str(&format!("{} {tag} {line}\n", clock::stamp()));
        }
        let mark = if stream == Stream::Out { "" } else { "!" };
        if !console::show(&format!("[{}{mark}] {line}\n", self.id), &mut self.shown, now_ms) {
            self.hidden = self.hidden.saturating_add(1);
        }
    }

    fn write(&mut self, text: &str) {
        if let Some(file) = self.file.as_mut().filter(|_| !text.is_empty()) {
            file.append(text);
        }
        if let Some(followed) = self.followed.as_mut().filter(|f| f.len() + text.len() <= FOLLOWED_MAX) {
            followed.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;

    fn log(dir: &std::path::Path) -> (AppLog, OwnedFd, OwnedFd) {
        let (out, out_end) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let (err, err_end) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
        let mut log = AppLog::new("com.example.a", Some(LogFile::new(dir.into())));
        log.attach(out, err);
        (log, out_end, err_end)
    }

    #[test]
    fn log_keeps_stamp_stream_and_the_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, out, err) = log(dir.path());
        nix::unistd::write(&out, b"one\ntwo").unwrap();
        nix::unistd::write(&err, b"bad\x1b\n").unwrap();
        log.read(Stream::Out, 1);
        log.finish(2);
        let text = std::fs::read_to_string(dir.path().join("current")).unwrap();
        let lines: Vec<&str> = text.lines().map(|l| l.split_once(' ').unwrap().1).collect();
        assert_eq!(lines, ["out one", "out two", "err bad\\x1b"]);
    }

    #[test]
    fn log_flood_is_dropped_counted_and_slowed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, out, _err) = log(dir.path());
        let mut paused = 0;
        for _ in 0..1000 {
            let _ = nix::unistd::write(&out, &b"x\n".repeat(4096));
            paused += u32::from(log.read(Stream::Out, 1) == Reading::Pause(1 + PAUSE_MS));
        }
        assert!(paused > 500, "reading must pause: {paused}");
        assert!(log.unsettled());
        log.settle();
        let text = std::fs::read_to_string(dir.path().join("current")).unwrap();
        assert_eq!(text.lines().count(), LINES.1 as usize + 1);
        assert!(text.trim_end().ends_with("lines dropped"));
    }
}
