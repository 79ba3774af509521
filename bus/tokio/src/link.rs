//! The socket to `sandboxd`, which is a daemon's standard input.
//!
//! Messages go out in order; what does not fit waits here, bounded: sandboxd reads as long as it lives, and the one that
//! follows it asks for nothing that waits here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use bus::{attest_link, network_link, update_link};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::watched;

/// Messages that may wait. More than one for each box, and refusals beside them.
const WAITING_MAX: usize = 1024;

/// A message of a link.
pub trait Message: Sized {
    /// As bytes, without its descriptors.
    fn encode(&self) -> Vec<u8>;
    /// Reads a message; `None` when it is not one.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! messages {
    ($($message:ty),*) => {$(
        impl Message for $message {
            fn encode(&self) -> Vec<u8> {
                <$message>::encode(self)
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                <$message>::decode(bytes)
            }
        }
    )*};
}
messages!(
    network_link::FromNetd,
    network_link::ToNetd,
    attest_link::FromAttestd,
    attest_link::ToAttestd,
    update_link::FromUpdated,
    update_link::ToUpdated
);

/// See the module.
#[derive(Debug)]
pub struct Link<In, Out> {
    socket: AsyncFd<OwnedFd>,
    waiting: RefCell<VecDeque<(Vec<u8>, Vec<OwnedFd>)>>,
    full: Notify,
    speaks: PhantomData<(In, Out)>,
}

impl<In: Message, Out: Message> Link<In, Out> {
    /// On this socket (`SOCK_SEQPACKET`, non-blocking).
    ///
    /// # Errors
    /// It can't be waited for.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = watched(socket)?;
        Ok(Self { socket, waiting: RefCell::default(), full: Notify::new(), speaks: PhantomData })
    }

    /// The next message and its descriptors. One that is none is passed over.
    ///
    /// # Errors
    /// The other end is gone for good, or the socket fails.
    pub async fn receive(&self) -> io::Result<(In, Vec<OwnedFd>)> {
        loop {
            let received =
                self.socket.async_io(Interest::READABLE, |socket| sys::channel::receive(socket)).await?;
            let (bytes, fds) = received.ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(message) = In::decode(&bytes) {
                return Ok((message, fds.unwrap_or_default()));
            }
        }
    }

    /// Sends it, now or when there is room; when far too much waits, the message is lost.
    pub fn send(&self, message: &Out) {
        self.send_with(message, Vec::new());
    }

    /// The same with descriptors.
    pub fn send_with(&self, message: &Out, fds: Vec<OwnedFd>) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < WAITING_MAX {
            waiting.push_back((message.encode(), fds));
        }
        drop(waiting);
        if self.send_some(self.socket.get_ref()).is_err() {
            self.full.notify_one();
        }
    }

    /// Sends what found no room when there is some, for ever.
    ///
    /// # Errors
    /// The socket fails.
    pub async fn flush(&self) -> io::Result<()> {
        loop {
            self.full.notified().await;
            self.socket.async_io(Interest::WRITABLE, |socket| self.send_some(socket)).await?;
        }
    }

    fn send_some(&self, socket: &OwnedFd) -> io::Result<()> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some((message, fds)) = waiting.front() {
            let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
            sys::channel::send(socket, message, &fds)?;
            waiting.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bus::attest_link::{FromAttestd, ToAttestd};

    use super::*;

    #[test]
    fn messages_beyond_what_fits_arrive_in_order_with_their_descriptors() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = sys::channel::pair().unwrap();
            let here = Link::<ToAttestd, FromAttestd>::new(ours).unwrap();
            let there = Link::<FromAttestd, ToAttestd>::new(theirs).unwrap();
            for uid in 0..1000 {
                let file = std::fs::File::open("/dev/null").unwrap();
                here.send_with(
                    &FromAttestd::Measured(uid),
                    if uid % 100 == 0 { vec![file.into()] } else { vec![] },
                );
            }
            let all = async {
                for uid in 0..1000 {
                    let (message, fds) = there.receive().await.unwrap();
                    assert_eq!(
                        (message, fds.len()),
                        (FromAttestd::Measured(uid), usize::from(uid % 100 == 0))
                    );
                }
            };
            tokio::select! {
                () = all => {}
                ended = here.flush() => panic!("{ended:?}"),
            }
        });
    }
}
