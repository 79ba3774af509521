//! Artefacts: images and whatever else a release is made of, by their SHA-256, in a folder or in a store that speaks S3.
//!
//! What holds:
//! * A name in the store is the SHA-256 of what is under it, and that was computed here before the name appeared: an upload is
//!   staged (a file beside, or a multipart upload) and put under its name whole, or dropped.
//! * An upload takes two parts of memory, whatever its length, and there are few at a time.
//! * Each catalog has its own folder, so that nobody learns by an upload what another catalog has.
//!
//! What exists is what the database lists: a file without a row (the service died in between) is seen by nobody, and the
//! same upload again makes it whole. Files are never removed here.

mod connect;

use crate::outgoing::Outgoing;
use axum::body::Bytes;
use axum::http::Method;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use ring::digest::{Context, SHA256};
use service_api::{Digest, Name};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The largest artefact.
pub const SIZE_MAX: u64 = 8 << 30;
/// One part: S3 takes no smaller ones than 5 MiB, and at most 10,000 of them.
const PART: usize = 8 << 20;
/// For how long an address at the store is good.
const ELSEWHERE: Duration = Duration::from_secs(3600);
/// Uploads at a time. Each holds two parts.
const UPLOADS: usize = 4;

/// Why an artefact was not put or had.
#[derive(Debug)]
pub enum ArtefactError {
    /// The address is no folder and no `s3://`.
    Address(String),
    /// The store said no.
    Store(object_store::Error),
    /// Who sent it stopped in the middle.
    Cut,
    /// It is longer than [`SIZE_MAX`].
    TooLarge,
    /// It is not what it was said to be, but has this SHA-256.
    Other(String),
    /// Too many uploads go on.
    Busy,
}

impl fmt::Display for ArtefactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => {
                write!(f, "{address} is no store of artefacts: a folder, or s3://BUCKET/PREFIX")
            }
            Self::Store(_) => f.write_str("the store of artefacts"),
            Self::Cut => f.write_str("the upload was cut off"),
            Self::TooLarge => write!(f, "an artefact has at most {SIZE_MAX} bytes"),
            Self::Other(sha256) => write!(f, "what was sent has the SHA-256 {sha256}"),
            Self::Busy => f.write_str("too many uploads go on"),
        }
    }
}

impl std::error::Error for ArtefactError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<object_store::Error> for ArtefactError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

/// The store.
#[derive(Clone, Debug)]
pub struct Artefacts {
    store: Arc<dyn ObjectStore>,
    /// Makes addresses at the store that are good for a while, if it can.
    signer: Option<Arc<dyn Signer>>,
    prefix: Path,
    uploads: Arc<Semaphore>,
}

impl Artefacts {
    /// The one at a folder's path, which is made, or at `s3://BUCKET/PREFIX`.
    ///
    /// S3's credentials, region and endpoint are in `environment`, as its other tools have them (`AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`); an endpoint at `http://` needs `AWS_ALLOW_HTTP=true`.
    ///
    /// # Errors
    /// The address, the folder, or what is in the environment.
    pub fn open(
        address: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        outgoing: &Outgoing,
    ) -> Result<Self, ArtefactError> {
        let wrong = || ArtefactError::Address(address.to_owned());
        type Opened = (Arc<dyn ObjectStore>, Option<Arc<dyn Signer>>, Path);
        let (store, signer, prefix): Opened = match address.split_once("://") {
            Some(("s3", rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let builder = amazon(environment).with_bucket_name(bucket);
                let store = builder.with_http_connector(connect::Connector(outgoing.clone())).build()?;
                let store = Arc::new(store);
                (store.clone(), Some(store), Path::parse(prefix).map_err(|_| wrong())?)
            }
            Some(_) => return Err(wrong()),
            None => {
                std::fs::create_dir_all(address).map_err(|_| wrong())?;
                let folder = LocalFileSystem::new_with_prefix(address)?.with_fsync(true);
                (Arc::new(folder), None, Path::default())
            }
        };
        Ok(Self { store, signer, prefix, uploads: Arc::new(Semaphore::new(UPLOADS)) })
    }

    fn path(&self, catalog: &Name, sha256: &Digest) -> Path {
        let parts = [catalog.as_str(), "sha256", sha256.as_str()];
        parts.into_iter().fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Puts what `body` says under its SHA-256, if it has that. Comes back with its length, when it is there to stay.
    ///
    /// # Errors
    /// It is cut off, too long or something else, or the store; then nothing is there that was not.
    pub async fn put<E>(
        &self,
        catalog: &Name,
        sha256: &Digest,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<u64, ArtefactError> {
        let _place = self.uploads.try_acquire().map_err(|_| ArtefactError::Busy)?;
        let mut upload = Upload { store: self, path: self.path(catalog, sha256), parts: None };
        let (mut digest, mut size, mut part) = (Context::new(&SHA256), 0, Vec::new());
        let mut body = std::pin::pin!(body);
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|_| ArtefactError::Cut)?;
            size += bytes.len() as u64;
            if size > SIZE_MAX {
                return Err(ArtefactError::TooLarge);
            }
            digest.update(&bytes);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PART - part.len()));
                part.extend_from_slice(now);
                rest = later;
                if part.len() == PART {
                    upload.part(std::mem::take(&mut part)).await?;
                }
            }
        }
        let found = crate::secrets::hex(digest.finish().as_ref());
        if found != sha256.as_str() {
            return Err(ArtefactError::Other(found));
        }
        upload.finish(part).await?;
        Ok(size)
    }

    /// Where an artefact may be had from the store itself, for an hour; none if the store is a folder.
    ///
    /// # Errors
    /// The store's credentials.
    pub async fn elsewhere(&self, catalog: &Name, sha256: &Digest) -> Result<Option<String>, ArtefactError> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let url = signer.signed_url(Method::GET, &self.path(catalog, sha256), ELSEWHERE).await?;
        Ok(Some(url.to_string()))
    }

    /// A part of an artefact, as it comes from the store.
    ///
    /// # Errors
    /// The store has none, or is gone.
    pub async fn get(
        &self,
        catalog: &Name,
        sha256: &Digest,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, ArtefactError> {
        // No store has a range of nothing.
        if range.is_empty() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.store.get_opts(&self.path(catalog, sha256), options).await?;
        Ok(found.into_stream().into_stream().boxed())
    }
}

/// With what the environment's variables of S3 say; others are none of its business.
fn amazon(environment: impl IntoIterator<Item = (String, String)>) -> AmazonS3Builder {
    let known = environment.into_iter().filter(|(name, _)| name.starts_with("AWS_"));
    let known = known.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)));
    known.fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value))
}

/// An upload that is not there yet. Dropped, whoever stopped it, its parts are given up.
struct Upload<'a> {
    store: &'a Artefacts,
    path: Path,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload<'_> {
    async fn part(&mut self, bytes: Vec<u8>) -> Result<(), ArtefactError> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(self.store.store.put_multipart(&self.path).await?),
        };
        parts.put_part(PutPayload::from(bytes)).await?;
        Ok(())
    }

    async fn finish(&mut self, last: Vec<u8>) -> Result<(), ArtefactError> {
        if self.parts.is_none() {
            self.store.store.put(&self.path, PutPayload::from(last)).await?;
            return Ok(());
        }
        if !last.is_empty() {
            self.part(last).await?;
        }
        if let Some(parts) = &mut self.parts {
            parts.complete().await?;
        }
        self.parts = None;
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else { return };
        // A store keeps parts until it is told, or until the bucket's own rule removes them.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = parts.abort().await {
                    tracing::warn!(%error, "the parts of an upload that ended are still in the store");
                }
            });
        }
    }
}
