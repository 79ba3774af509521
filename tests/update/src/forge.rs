//! Forging consistent chains: a role's file changed, and a snapshot and timestamp that say so, with the online keys.

use anyhow::Result;
use tuf::hex;
use tuf::metadata::{Hashes, MetaFile, Snapshot, Timestamp};

use crate::site::file;
use crate::{Between, Site};

/// What is said of a file of metadata.
pub fn described(version: u64, bytes: &[u8]) -> MetaFile {
    let sha256 = hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    MetaFile {
        version,
        length: Some(bytes.len() as u64),
        hashes: Some(Hashes::from([("sha256".into(), sha256)])),
    }
}

/// Somebody who has the online keys, and gives `bytes` as version `version` of a role: snapshot and timestamp fit.
///
/// # Errors
/// The disk.
pub fn chain(site: &Site, role: &str, version: u64, bytes: Vec<u8>) -> Result<Between> {
    chain_with(site, role, described(version, &bytes), version, bytes)
}

/// The same, saying of it whatever is said.
///
/// # Errors
/// The disk.
pub fn chain_with(site: &Site, role: &str, meta: MetaFile, version: u64, bytes: Vec<u8>) -> Result<Between> {
    let newest = newest(site)?;
    let snapshot = site.forged::<Snapshot>(
        &file("snapshot", newest),
        |snapshot| {
            snapshot.version = newest + 1;
            snapshot.meta.insert(format!("{role}.json"), meta);
        },
        &["snapshot"],
    )?;
    let timestamp = site.forged::<Timestamp>(
        "timestamp.json",
        |timestamp| {
            timestamp.version += 1;
            timestamp.meta.snapshot = described(newest + 1, &snapshot);
        },
        &["timestamp"],
    )?;
    let between = Between::new(site.path()).instead(&file(role, version), bytes);
    Ok(between.instead(&file("snapshot", newest + 1), snapshot).instead("timestamp.json", timestamp))
}

/// The newest snapshot's version.
///
/// # Errors
/// The disk.
pub fn newest(site: &Site) -> Result<u64> {
    let timestamp = repository::document::Document::<Timestamp>::read(site.file("timestamp.json")?)?;
    Ok(timestamp.value.meta.snapshot.version)
}
