//! What people see on the console: our messages and the apps' lines, each a whole line with its origin in front.
//!
//! Nothing an app wrote gets here unescaped, and every line an app caused starts with `[id]`, so it cannot be
//! taken for one of ours. Nothing here waits for the console, which may be slow or stopped: what it does not take at
//! once waits in a [`Backlog`], and what does not fit there is dropped and counted.
//!
//! There is one console, as there is one standard output, so it is the process's own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::backlog::Backlog;
use crate::poller::{Poller, Ready};
use crate::rate::Bucket;

/// How long the last words may take, at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);

#[derive(Debug)]
struct Console {
    /// `None` when it is gone: no reason to stop.
    out: Option<OwnedFd>,
    backlog: Backlog,
    watched: bool,
}

impl Console {
    /// A description of our own of what standard output is, so that not waiting is no one else's affair. It appends,
    /// which matters where it is a file.
    fn open() -> Self {
        let flags =
            OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let out = open("/proc/self/fd/1", flags, Mode::empty()).ok();
        Self { out, backlog: Backlog::default(), watched: false }
    }

    /// Writes what goes without waiting longer than `patience` for each piece.
    fn flush(&mut self, patience: PollTimeout) {
        let Some(out) = &self.out else { return self.backlog.clear() };
        while !self.backlog.is_empty() {
            let mut fds = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut fds, patience) == Ok(0) {
                return;
            }
            match nix::unistd::write(out, self.backlog.piece()) {
                Ok(count) => self.backlog.written(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => return self.backlog.clear(),
            }
        }
    }
}

fn console<T>(work: impl FnOnce(&mut Console) -> T) -> T {
    let mut console = CONSOLE.lock().unwrap_or_else(PoisonError::into_inner);
    work(console.get_or_insert_with(Console::open))
}

/// Writes one message of ours; each of its lines gets the prefix.
pub fn say(text: impl std::fmt::Display) {
    let mut out = String::new();
    for line in text.to_string().lines() {
        out.push_str("gabion: ");
        out.push_str(line);
        out.push('\n');
    }
    write(&out);
}

/// Writes prepared lines of ours.
pub fn write(lines: &str) {
    console(|console| {
        console.backlog.ours(lines);
        console.flush(PollTimeout::ZERO);
    });
}

/// Takes a prepared line of an app, charged to its `budget` of bytes, to be written when [`attend`] is called. False
/// when it is not shown.
pub fn show(line: &str, budget: &mut Bucket, now_ms: u64) -> bool {
    let length = u32::try_from(line.len()).unwrap_or(u32::MAX);
    let left = budget.left(now_ms);
    budget.take(length, now_ms) && console(|console| console.backlog.app(line, left))
}

/// Something is wrong with `subject`; `help` is what to do about it.
pub fn problem(subject: &str, text: &str, help: &str) {
    let mut all = String::new();
    for line in text.lines() {
        all.push_str(&format!("problem id={subject} {line}\n"));
    }
    for line in help.lines() {
        all.push_str(&format!("problem id={subject}   help: {line}\n"));
    }
    say(all.trim_end());
}

/// Goes on writing what waits, and has `poller` say when there is room for more: [`Ready::Console`].
pub fn attend(poller: &Poller) {
    console(|console| {
        console.flush(PollTimeout::ZERO);
        let wanted = !console.backlog.is_empty();
        if let Some(out) = console.out.as_ref().filter(|_| wanted != console.watched) {
            // Taken out again rather than muted: a console that hangs up would wake us for ever.
            if wanted {
                // What can not be watched, such as a file, is written whenever we pass here.
                console.watched = poller.watch_room(out, Ready::Console).is_ok();
            } else {
                poller.forget(out);
                console.watched = false;
            }
        }
    });
}

/// Writes what waits before the process ends, for as long as the console makes progress and a second at most.
pub fn finish() {
    let deadline = Instant::now() + LAST_WORDS;
    console(|console| {
        while !console.backlog.is_empty() && Instant::now() < deadline {
            console.flush(PollTimeout::from(100_u8));
        }
    });
}
