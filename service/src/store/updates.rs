//! The repository of updates: signed metadata, documents of releases, which artefacts anybody may have, the service's own keys.
//!
//! What is published goes together in one write, which holds only if nobody published in between: the timestamp is replaced by
//! its version.

use super::{checked, damaged, time, whole};
use crate::refusal::{Kind, Refusal};
use service_api::publish::ReleaseEntry;
use service_api::release::{Blob, Release};
use service_api::{Digest, Name, Text};
use sqlx::AnyConnection;

/// Versions of a role that stay: a device may be in the middle of the one before. Roots stay for good.
const VERSIONS: i64 = 4;
/// Most releases of a catalog.
const RELEASES_MAX: i64 = 5000;

/// A file of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataFile {
    /// What it is called.
    pub file: String,
    /// Whose.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// The file.
    pub content: Vec<u8>,
}

/// A file of metadata by its name.
///
/// # Errors
/// What the database said.
pub async fn file(connection: &mut AnyConnection, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let found: Option<(Vec<u8>,)> = sqlx::query_as("SELECT content FROM update_metadata WHERE file = $1")
        .bind(name.to_owned())
        .fetch_optional(connection)
        .await?;
    Ok(found.map(|(content,)| content))
}

/// The newest file of each role.
///
/// # Errors
/// What the database said.
pub async fn newest(connection: &mut AnyConnection) -> Result<Vec<MetadataFile>, Refusal> {
    let rows: Vec<(String, String, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT file, role, version, content FROM update_metadata AS one
         WHERE version = (SELECT MAX(version) FROM update_metadata AS other WHERE other.role = one.role)",
    )
    .fetch_all(connection)
    .await?;
    let file = |(file, role, version, content)| MetadataFile { file, role, version: time(version), content };
    Ok(rows.into_iter().map(file).collect())
}

/// When the newest timestamp was made; none if there is none.
///
/// # Errors
/// What the database said.
pub async fn refreshed(connection: &mut AnyConnection) -> Result<Option<i64>, Refusal> {
    let found: Option<(i64,)> = sqlx::query_as("SELECT made FROM update_metadata WHERE role = 'timestamp'")
        .fetch_optional(connection)
        .await?;
    Ok(found.map(|(made,)| made))
}

/// Takes new files in. `before`: the version of the timestamp that they were made beside; nought if there was none.
///
/// # Errors
/// Somebody else published meanwhile.
pub async fn publish(
    connection: &mut AnyConnection,
    files: &[MetadataFile],
    before: u64,
    now: i64,
) -> Result<(), Refusal> {
    let late =
        || Refusal::new(Kind::Conflict, "something else was published meanwhile; fetch it, and come again");
    if before > 0 {
        let gone = sqlx::query("DELETE FROM update_metadata WHERE role = 'timestamp' AND version = $1")
            .bind(whole(before)?)
            .execute(&mut *connection)
            .await?;
        (gone.rows_affected() == 1).then_some(()).ok_or_else(late)?;
    }
    for file in files {
        let added = sqlx::query(
            "INSERT INTO update_metadata (file, role, version, made, content) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(file.file.clone())
        .bind(file.role.clone())
        .bind(whole(file.version)?)
        .bind(now)
        .bind(file.content.clone())
        .execute(&mut *connection)
        .await?;
        (added.rows_affected() == 1).then_some(()).ok_or_else(late)?;
        if file.role != "root" {
            sqlx::query("DELETE FROM update_metadata WHERE role = $1 AND version <= $2")
                .bind(file.role.clone())
                .bind(whole(file.version)? - VERSIONS)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// A document that is published, by its target and digest.
///
/// # Errors
/// What the database said.
pub async fn document(
    connection: &mut AnyConnection,
    target: &str,
    sha256: &str,
) -> Result<Option<Vec<u8>>, Refusal> {
    let found: Option<(Vec<u8>,)> =
        sqlx::query_as("SELECT content FROM update_release WHERE target = $1 AND sha256 = $2")
            .bind(target.to_owned())
            .bind(sha256.to_owned())
            .fetch_optional(connection)
            .await?;
    Ok(found.map(|(content,)| content))
}

/// The newest document of a target.
///
/// # Errors
/// It cannot be read.
pub async fn release(connection: &mut AnyConnection, target: &str) -> Result<Option<Release>, Refusal> {
    let found: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT content FROM update_release WHERE target = $1 ORDER BY published DESC, sha256 LIMIT 1",
    )
    .bind(target.to_owned())
    .fetch_optional(connection)
    .await?;
    let read = |(content,): (Vec<u8>,)| Release::read(&content, target).map_err(|_| damaged());
    found.map(read).transpose()
}

/// Takes a document in. What it names must be among the catalog's artefacts, and may be had by anybody from now on.
///
/// # Errors
/// Something that it names is not there, or there are too many releases.
pub async fn add(
    connection: &mut AnyConnection,
    catalog: &Name,
    (target, sha256): (&Text<256>, &str),
    (content, release): (&[u8], &Release),
    now: i64,
) -> Result<(), Refusal> {
    super::fleet::lock(connection, catalog).await?;
    let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM update_release WHERE catalog = $1")
        .bind(catalog.as_str())
        .fetch_one(&mut *connection)
        .await?;
    if count >= RELEASES_MAX {
        let reason = format!(
            "the catalog has {count} documents of releases, which is the most, and what was published stays; releases of \
             the system may come by another catalog"
        );
        return Err(Refusal::new(Kind::Conflict, reason));
    }
    for blob in blobs(release) {
        let artefact = super::artefacts::find(connection, catalog, &blob.sha256).await;
        let missing = |_| {
            Refusal::new(Kind::Conflict, format!("{target} names {}, which the catalog has not", blob.sha256))
        };
        let artefact = artefact.map_err(missing)?;
        if artefact.size != blob.length {
            let says = format!("{target} says that {} has {} bytes", blob.sha256, blob.length);
            return Err(Refusal::new(Kind::Malformed, says));
        }
        sqlx::query(
            "INSERT INTO update_blob (sha256, catalog, size) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(blob.sha256.as_str())
        .bind(catalog.as_str())
        .bind(whole(blob.length)?)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "INSERT INTO update_release (target, sha256, catalog, published, content) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
    )
    .bind(target.as_str())
    .bind(sha256.to_owned())
    .bind(catalog.as_str())
    .bind(now)
    .bind(content.to_vec())
    .execute(connection)
    .await?;
    Ok(())
}

/// What a release names that is fetched: indexes, bodies, a manifest. Of the images themselves it only says what they are.
pub fn blobs(release: &Release) -> impl Iterator<Item = &Blob> {
    let offers = release.images.iter().flat_map(|image| image.offers.iter());
    offers.flat_map(|offer| [&offer.index, &offer.body]).chain(&release.manifest)
}

/// The releases that came by a catalog, and those of the system for all, newest first.
///
/// # Errors
/// What the database said.
pub async fn releases(connection: &mut AnyConnection, catalog: &Name) -> Result<Vec<ReleaseEntry>, Refusal> {
    let rows: Vec<(String, String, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT target, catalog, published, content FROM update_release
         WHERE catalog = $1 OR target LIKE 'os/%' ORDER BY published DESC, target LIMIT 5000",
    )
    .bind(catalog.as_str())
    .fetch_all(connection)
    .await?;
    let mut entries: Vec<ReleaseEntry> = Vec::new();
    for (target, catalog, published, content) in rows {
        if entries.iter().any(|entry| entry.target.as_str() == target) {
            continue;
        }
        let release = Release::read(&content, &target).map_err(|_| damaged())?;
        entries.push(ReleaseEntry {
            target: checked(target)?,
            size: release.images.iter().map(|image| image.content.length).sum(),
            what: release.what,
            version: release.version,
            floor: release.floor,
            notes: release.notes,
            catalog: checked(catalog)?,
            published: time(published),
        });
    }
    Ok(entries)
}

/// Whose artefact may be had by anybody, and its length.
///
/// # Errors
/// What the database said.
pub async fn blob(connection: &mut AnyConnection, sha256: &Digest) -> Result<Option<(Name, u64)>, Refusal> {
    let found: Option<(String, i64)> =
        sqlx::query_as("SELECT catalog, size FROM update_blob WHERE sha256 = $1")
            .bind(sha256.as_str())
            .fetch_optional(connection)
            .await?;
    found.map(|(catalog, size)| Ok((checked(catalog)?, time(size)))).transpose()
}

/// A signing key as it is kept.
#[derive(Clone, Debug)]
pub struct KeyRow {
    /// What metadata calls it.
    pub id: String,
    /// PKCS#8, sealed.
    pub sealed: Vec<u8>,
    /// Since when.
    pub created: u64,
}

/// The service's keys, newest first.
///
/// # Errors
/// What the database said.
pub async fn keys(connection: &mut AnyConnection) -> Result<Vec<KeyRow>, Refusal> {
    let rows: Vec<(String, Vec<u8>, i64)> =
        sqlx::query_as("SELECT id, sealed, created FROM update_key ORDER BY created DESC, id")
            .fetch_all(connection)
            .await?;
    let key = |(id, sealed, created)| KeyRow { id, sealed, created: time(created) };
    Ok(rows.into_iter().map(key).collect())
}

/// Keeps another key.
///
/// # Errors
/// There are too many.
pub async fn add_key(
    connection: &mut AnyConnection,
    id: &str,
    sealed: Vec<u8>,
    now: i64,
) -> Result<(), Refusal> {
    let added = sqlx::query(
        "INSERT INTO update_key (id, sealed, created) SELECT $1, $2, $3 WHERE (SELECT COUNT(*) FROM update_key) < 16",
    )
    .bind(id.to_owned())
    .bind(sealed)
    .bind(now)
    .execute(connection)
    .await?;
    let many = || Refusal::new(Kind::Conflict, "there are 16 keys already");
    (added.rows_affected() == 1).then_some(()).ok_or_else(many)
}

/// Counts on: what a device is meant to run changes.
///
/// # Errors
/// What the database said.
pub async fn next_generation(connection: &mut AnyConnection) -> Result<i64, Refusal> {
    let (generation,): (i64,) = sqlx::query_as(
        "INSERT INTO update_generation (one, generation) VALUES (1, 1)
         ON CONFLICT (one) DO UPDATE SET generation = update_generation.generation + 1 RETURNING generation",
    )
    .fetch_one(connection)
    .await?;
    Ok(generation)
}

/// The last one.
///
/// # Errors
/// What the database said.
pub async fn generation(connection: &mut AnyConnection) -> Result<i64, Refusal> {
    let found: Option<(i64,)> =
        sqlx::query_as("SELECT generation FROM update_generation").fetch_optional(connection).await?;
    Ok(found.map_or(0, |(generation,)| generation))
}

/// For whom something changed after a generation: groups by catalog, product and name, and devices.
///
/// # Errors
/// What the database said.
pub async fn changed_since(
    connection: &mut AnyConnection,
    generation: i64,
) -> Result<(Vec<(String, String, String)>, Vec<String>), Refusal> {
    let groups = sqlx::query_as("SELECT catalog, product, name FROM device_group WHERE generation > $1")
        .bind(generation)
        .fetch_all(&mut *connection)
        .await?;
    let devices: Vec<(String,)> = sqlx::query_as("SELECT id FROM device WHERE generation > $1")
        .bind(generation)
        .fetch_all(connection)
        .await?;
    Ok((groups, devices.into_iter().map(|(id,)| id).collect()))
}

/// Has a device ask at once; gives its new generation.
///
/// # Errors
/// What the database said.
pub async fn stir_device(connection: &mut AnyConnection, device: &str) -> Result<i64, Refusal> {
    let generation = next_generation(connection).await?;
    sqlx::query("UPDATE device SET generation = $2 WHERE id = $1")
        .bind(device.to_owned())
        .bind(generation)
        .execute(connection)
        .await?;
    Ok(generation)
}
