//! The bus's server in a daemon's one thread.
//!
//! The server has an epoll of its own, and the runtime watches that. The runtime is told of changes alone, so whether there
//! is still something is asked of the epoll itself, before each wait.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use bus::server::{CallId, Event, Server};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::watched;

/// Answers that may wait to be sent; whoever has one more waits with it.
const ANSWERS_MAX: usize = 16;

/// An answer that had to be waited for.
pub type Done<Handler> = Box<dyn FnOnce(&mut Server<Handler>)>;

/// Where answers that had to be waited for go, and where [`run`] takes them from.
pub fn answers<Handler>() -> (mpsc::Sender<Done<Handler>>, mpsc::Receiver<Done<Handler>>) {
    mpsc::channel(ANSWERS_MAX)
}

/// Serves for ever.
///
/// # Errors
/// The server's descriptors fail.
pub async fn run<Handler>(
    server: Server<Handler>,
    handler: Handler,
    answers: mpsc::Receiver<Done<Handler>>,
) -> io::Result<()> {
    run_until(server, handler, answers, |_| ()).await
}

/// Serves for ever, and says when the caller of a call that is kept goes away.
///
/// # Errors
/// The server's descriptors fail.
pub async fn run_until<Handler>(
    mut server: Server<Handler>,
    mut handler: Handler,
    mut answers: mpsc::Receiver<Done<Handler>>,
    mut ended: impl FnMut(CallId),
) -> io::Result<()> {
    let ready = watched(server.as_fd().try_clone_to_owned()?)?;
    let mut events = Vec::new();
    loop {
        tokio::select! {
            answer = answers.recv() => if let Some(answer) = answer { answer(&mut server) },
            came = comes(&ready) => came?,
            () = due(server.due_ms()) => {}
        }
        server.turn(&mut handler, Some(0), &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::BadHandover(interface, why) => eprintln!("{interface}: {why}"),
                Event::Ended(call) => ended(call),
                Event::Ready(_) => {}
            }
        }
    }
}

/// Waits until the epoll has something.
async fn comes(epoll: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let is_ready = |epoll: &OwnedFd| {
        let mut asked = [PollFd::new(epoll.as_fd(), PollFlags::POLLIN)];
        match poll(&mut asked, PollTimeout::ZERO)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    };
    epoll.async_io(Interest::READABLE, is_ready).await
}

async fn due(after_ms: Option<u64>) {
    match after_ms {
        Some(after_ms) => tokio::time::sleep(Duration::from_millis(after_ms)).await,
        None => std::future::pending().await,
    }
}
