//! The service's own keys, of snapshot and timestamp: made here, kept sealed in the database, opened when they sign.
//!
//! Which of them count, root says; so that one can be replaced by another, several may be there.

use crate::http::Service;
use crate::refusal::Refusal;
use crate::store::audit::{self, Change};
use crate::store::updates::{self, KeyRow};
use repository::keys::Signer;
use service_api::Digest;
use service_api::publish::OnlineKey;

const PURPOSE: &str = "updates";

/// Makes another key.
///
/// # Errors
/// No chance; too many.
pub async fn make_key(service: &Service, who: String) -> Result<OnlineKey, Refusal> {
    let (signer, private) = Signer::make()?;
    let sealed = service.authority.seal(&format!("{PURPOSE} {}", signer.id()), &private)?;
    let (id, at) = (signer.id().to_owned(), service.now());
    let created = u64::try_from(at).unwrap_or(0);
    let write = service.store.write(move |connection| {
        Box::pin(async move {
            updates::add_key(connection, &id, sealed, at).await?;
            let (action, object) = ("updates.key", format!("updates/keys/{id}"));
            audit::note(
                connection,
                Change { at, catalog: None, who: &who, action, object, before: None, after: None },
            )
            .await
        })
    });
    write.await?;
    shown(&signer, created)
}

/// The keys that there are, newest first.
///
/// # Errors
/// The database, or one is damaged.
pub async fn public_keys(service: &Service) -> Result<Vec<OnlineKey>, Refusal> {
    let rows = updates::keys(&mut *service.store.read().await?).await?;
    rows.iter().map(|row| shown(&open(service, row)?, row.created)).collect()
}

/// All of them, opened.
///
/// # Errors
/// As [`public_keys`].
pub async fn signers(service: &Service) -> Result<Vec<Signer>, Refusal> {
    let rows = updates::keys(&mut *service.store.read().await?).await?;
    rows.iter().map(|row| open(service, row)).collect()
}

fn open(service: &Service, row: &KeyRow) -> Result<Signer, Refusal> {
    let private = service.authority.open(&format!("{PURPOSE} {}", row.id), &row.sealed)?;
    Ok(Signer::of(&private)?)
}

fn shown(signer: &Signer, created: u64) -> Result<OnlineKey, Refusal> {
    let digest = |text: &str| text.parse::<Digest>().map_err(|_| Refusal::unavailable("a key is damaged"));
    Ok(OnlineKey { id: digest(signer.id())?, public: digest(&signer.public().keyval.public)?, created })
}
