//! What the service is asked: which releases this device is meant to run, and whether that has changed.

use std::io;
use std::time::Duration;

use contact::http::{CallError, Connection};
use service_api::updates::{Answer, Check};

use crate::connect::Way;

/// How long the service may keep us waiting for something new: more than it does, less than what a router on the way forgets a
/// silent connection after.
const PATIENCE: Duration = Duration::from_secs(150);

/// Asks which releases it is meant to run.
///
/// # Errors
/// See [`CallError`].
pub async fn check(way: &Way, what: &Check) -> Result<Answer, CallError> {
    open(way).await?.post("/device/v1/updates", what).await
}

/// Waits until the answer may be another than that of `generation`: whether it is; or so long that it is worth asking again.
///
/// # Errors
/// See [`CallError`].
pub async fn wait(way: &Way, generation: u64) -> Result<(), CallError> {
    let mut connection = open(way).await?;
    loop {
        let path = format!("/device/v1/updates/wait?generation={generation}");
        if connection.get_within(&path, PATIENCE).await?.is_some() {
            return Ok(());
        }
    }
}

async fn open(way: &Way) -> Result<Connection, CallError> {
    let tls = way.tls().map_err(|e| CallError::Tls(io::Error::other(e)))?;
    Connection::open(&way.service, way.name_server, tls).await
}
