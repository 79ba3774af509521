//! What the program writes, passed on while it runs, and what it says on its notify socket.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sandboxd::notify;

/// Most that is kept of one program's output; the rest is passed on only.
const KEPT_MAX: usize = 1 << 20;
/// How long to wait before looking whether the box is gone, in milliseconds.
const LOOK_MS: u16 = 100;

/// Waits until `fd` has something; false when there is nothing yet.
fn waits(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::from(LOOK_MS)) {
            // A Ctrl-C, at which there may be something all the same.
            Err(Errno::EINTR) => {}
            ready => return ready.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Copies what comes out of `pipe` to `to` until the box is `gone` and the pipe is empty; gives back the beginning.
pub(crate) fn pass_on(pipe: OwnedFd, mut to: impl Write, gone: impl Fn() -> bool) -> Vec<u8> {
    let mut pipe = File::from(pipe);
    let (mut kept, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let over = gone();
        let read = if waits(pipe.as_fd()) { pipe.read(&mut buffer).unwrap_or(0) } else { 0 };
        if read == 0 && over {
            return kept;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        // Nobody may be reading: the program goes on all the same.
        let _ = to.write_all(bytes);
        kept.extend_from_slice(bytes.get(..bytes.len().min(KEPT_MAX - kept.len())).unwrap_or_default());
    }
}

/// What was said on the notify socket until the box is `gone`.
pub(crate) fn notices(socket: OwnedFd, gone: impl Fn() -> bool) -> Vec<&'static str> {
    let (mut said, mut message) = (Vec::new(), [0; notify::MAX_MESSAGE]);
    loop {
        let over = gone();
        if !waits(socket.as_fd()) {
            if over {
                return said;
            }
            continue;
        }
        let Ok(length) = nix::unistd::read(&socket, &mut message) else { continue };
        let notice = notify::parse(message.get(..length).unwrap_or_default());
        for (text, is) in [("READY=1", notice.ready), ("WATCHDOG=1", notice.alive)] {
            if is && !said.contains(&text) {
                said.push(text);
            }
        }
    }
}
