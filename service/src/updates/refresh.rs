//! A new timestamp each day, so that devices see that what they see is the newest.

use super::{bench, signers};
use crate::http::Service;
use crate::refusal::{Kind, Refusal};
use crate::store::updates;

/// How old a timestamp gets; it is good for fourteen times as long.
const REFRESH_S: i64 = 86_400;

/// Makes a new timestamp if it is time. Of several processes one does it.
///
/// # Errors
/// The service's keys are no longer root's, or the database.
pub async fn refresh(service: &Service) -> Result<(), Refusal> {
    let now = service.now();
    let made = updates::refreshed(&mut *service.store.read().await?).await?;
    if made.is_none_or(|made| made + REFRESH_S > now) {
        return Ok(());
    }
    let known = updates::newest(&mut *service.store.read().await?).await?;
    let signers = signers(service).await?;
    let made = tokio::task::spawn_blocking(move || bench::publish(&known, &[], &signers, now)).await;
    let made = made.map_err(|_| Refusal::unavailable("the timestamp was not made"))??;
    let write = service.store.write(move |connection| {
        Box::pin(async move { updates::publish(connection, &made.files, made.before, now).await })
    });
    match write.await {
        Err(refusal) if refusal.kind() == Kind::Conflict => Ok(()),
        other => other,
    }
}
