//! Writing that is tried again for a while.

use crate::refusal::{Kind, Refusal};
use std::time::Duration;
use tokio::time::Instant;

/// How long something may wait to be written, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(500);

/// Writes. If too much waits to be written, or the database gave this one up for another, it is tried again: whoever asks has a
/// connection anyway, and a fleet that was woken comes together and is not to come again. Only what may be written twice is
/// written so: a write of which nobody knows whether it was made is made again.
pub(crate) async fn patiently<T, W>(write: impl Fn() -> W) -> Result<T, Refusal>
where
    W: Future<Output = Result<T, Refusal>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        match write().await {
            Err(refusal) if refusal.kind() == Kind::Unavailable && Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}
