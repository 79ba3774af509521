//! When what people signed expires: said before it does, in the log and among the metrics.
//!
//! Snapshot and timestamp the service renews by itself. Root, targets and delegated roles only their holders can.

use crate::http::Service;
use crate::refusal::Refusal;
use crate::store::updates::{self, MetadataFile};
use repository::show::SOON_S;
use serde::Deserialize;
use tuf::date::Date;
use tuf::envelope::Envelope;

/// Of any role.
#[derive(Deserialize)]
struct Ends {
    expires: Date,
}

/// Has the metrics say when each role's newest version expires.
///
/// # Errors
/// What the database said.
pub async fn measure(service: &Service) -> Result<(), Refusal> {
    let known = updates::newest(&mut *service.store.read().await?).await?;
    service.metrics.roles(known.iter().filter_map(|file| Some((file.role.as_str(), expires(file)?.unix()))));
    Ok(())
}

/// Writes those into the log that have expired, or will soon.
///
/// # Errors
/// What the database said.
pub async fn warn(service: &Service) -> Result<(), Refusal> {
    let (known, now) = (updates::newest(&mut *service.store.read().await?).await?, service.now());
    let signed = known.iter().filter(|file| !["snapshot", "timestamp"].contains(&file.role.as_str()));
    for file in signed {
        let (role, Some(date)) = (&file.role, expires(file)) else { continue };
        if date.unix() <= now {
            tracing::warn!(role, expired = %date, "devices refuse this role of the updates until its holders renew it");
        } else if date.unix() <= now.saturating_add(SOON_S) {
            tracing::warn!(role, expires = %date, "this role of the updates expires soon: its holders have to renew it");
        }
    }
    Ok(())
}

fn expires(file: &MetadataFile) -> Option<Date> {
    let envelope = Envelope::read(&file.content).ok()?;
    serde_json::from_str::<Ends>(envelope.signed_text()).ok().map(|ends| ends.expires)
}
