//! A stream of TLS that says that it ends, however its connection does.
//!
//! hyper drops a connection that was idle for too long, or whose request it can not read, as it is. The peer's TLS then sees an end
//! that an attacker could have made, and its program an error where there is none: a client that keeps connections asks again
//! over a new one if the old one ended in order, and fails if not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
pub(crate) struct Orderly<S: AsyncWrite + Unpin> {
    stream: S,
    ended: bool,
}

impl<S: AsyncWrite + Unpin> Orderly<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ended: false }
    }
}

impl<S: AsyncWrite + Unpin> Drop for Orderly<S> {
    fn drop(&mut self) {
        if !self.ended {
            // Once, without waiting: a few bytes, for which there is room, unless the peer reads nothing. Then it is its own affair.
            let mut context = Context::from_waker(Waker::noop());
            let _tried = Pin::new(&mut self.stream).poll_shutdown(&mut context);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Orderly<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Orderly<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.ended |= ended.is_ready();
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;
    use tokio::io::AsyncWriteExt;

    /// Counts how often it was told to end.
    struct Ends(Rc<Cell<u32>>);

    impl AsyncWrite for Ends {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.set(self.0.get() + 1);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn stream_that_is_dropped_ends_first_and_once() -> io::Result<()> {
        for ends_itself in [false, true] {
            let ends = Rc::new(Cell::new(0));
            let mut stream = Orderly::new(Ends(ends.clone()));
            if ends_itself {
                stream.shutdown().await?;
            }
            drop(stream);
            assert_eq!(ends.get(), 1);
        }
        Ok(())
    }
}
