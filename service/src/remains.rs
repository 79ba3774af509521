//! What was refused before its body was read: the rest of the body is taken in before the answer goes out.
//!
//! hyper ends a connection whose request it has answered and not read. A client that is still writing then has an error of its
//! connection and no answer, and so has one that has written and asks again on it. Within bounds the body is read to its end: then
//! the answer arrives, and the connection stays.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::timeout;

/// The most that is read for nobody, bytes.
const MOST: u64 = 1 << 20;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);

type Left = Arc<Mutex<Option<Incoming>>>;

/// A request's body, which comes back when its reader has done with it.
pub(crate) struct Lent {
    body: Option<Incoming>,
    left: Left,
}

/// What comes back.
pub(crate) struct Remains(Left);

impl Lent {
    pub(crate) fn new(body: Incoming) -> (Self, Remains) {
        let left = Left::default();
        (Self { body: Some(body), left: left.clone() }, Remains(left))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

impl Remains {
    /// Reads what is left, as far as it is not too much.
    pub(crate) async fn read(self) {
        let Some(mut body) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // What is known to be too much is not begun with.
        let mut bytes = if body.size_hint().lower() > MOST { return } else { 0 };
        let whole = async {
            while bytes <= MOST
                && let Some(Ok(frame)) = body.frame().await
            {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
        };
        // What comes too slowly is given up, as what is too long.
        let _ended = timeout(PATIENCE, whole).await;
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
