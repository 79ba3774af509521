//! `gabion update offline`: releases for devices without a network, in one file.
//!
//! What goes into it is what a device asks for: a device's own client reads the repository's folder here, and what it opened is
//! archived, with the payloads of the releases. So what no device would take is refused where it is made.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::future::Future;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use ring::digest::{Context as Sum, SHA256};
use serde_json::json;
use service_api::release::{Blob, Release};
use tuf::archive::{Writer, named};
use tuf::source::{Folders, Opened, Place, Source, SourceError};
use tuf::store::Store;
use tuf::{Client, Limits, hex};

use crate::output::answer;
use crate::scratch::Scratch;

/// What is done for devices without a network.
#[derive(Subcommand)]
pub(crate) enum Offline {
    /// Write signed releases into one file: copied to a disk as it is, with `dd`, it is an update for devices whose update.toml
    /// says `disks = true`.
    Make(Make),
    /// Send such a file to a device that you may deploy to. It is taken as if it came on a disk, whatever `disks` in its update.toml
    /// says; `gabion update status` says how far it is.
    Send {
        /// The file, as `make` has written it.
        file: PathBuf,
    },
}

/// Which releases, and whose.
#[derive(Args)]
pub(crate) struct Make {
    /// The file; nothing may be there.
    file: PathBuf,
    /// The releases, by their paths: os/PRODUCT/VERSION.json, apps/CATALOG/APP/VERSION.json.
    #[arg(required = true)]
    releases: Vec<String>,
    /// The repository's folder, of `gabion repository`. Of one that a service publishes, `gabion repository pull` it first.
    #[arg(long, value_name = "FOLDER", env = "GABION_REPOSITORY")]
    repository: PathBuf,
}

/// Folders of which is known what was opened.
struct Recorded {
    folders: Folders,
    opened: BTreeSet<String>,
}

impl Source for Recorded {
    type Body = Opened;

    async fn open(&mut self, place: Place<'_>, from: u64) -> Result<Option<Opened>, SourceError> {
        let opened = self.folders.open(place, from).await?;
        if opened.is_some() {
            self.opened.insert(named(place));
        }
        Ok(opened)
    }
}

/// Makes it.
pub(super) fn make(asked: &Make) -> Result<()> {
    let folder = &asked.repository;
    let mut source = Recorded {
        folders: Folders { metadata: folder.join("metadata"), targets: folder.join("targets") },
        opened: BTreeSet::new(),
    };
    // Devices begin with the root that they were made with, which may be any.
    let mut root = 1;
    while let Some(file) =
        Some(format!("{root}.root.json")).filter(|file| folder.join("metadata").join(file).exists())
    {
        source.opened.insert(named(Place::Metadata(&file)));
        root += 1;
    }
    let place = Scratch::new()?;
    let releases = looked_up(&mut source, place.path(), &asked.releases)?;
    let mut files = source.opened;
    for blob in releases.iter().flat_map(blobs) {
        files.insert(named(Place::Target(&verified(folder, blob)?)));
    }
    let list = serde_json::to_vec(&json!({ "releases": asked.releases }))?;
    let out = File::create_new(&asked.file).with_context(|| asked.file.display().to_string())?;
    let mut writer = Writer::new(BufWriter::new(out), &list)?;
    for file in &files {
        let content = File::open(folder.join(file)).with_context(|| file.clone())?;
        writer.add(file, content.metadata()?.len(), content)?;
    }
    let out = writer.finish()?.into_inner().map_err(|e| e.into_error())?;
    out.sync_all()?;
    let (file, bytes) = (asked.file.display().to_string(), out.metadata()?.len());
    let made = json!({ "file": file, "bytes": bytes, "releases": asked.releases });
    answer(&made, || format!("{file}: {bytes} bytes, for {}\n", asked.releases.join(", "))).map(drop)
}

/// The documents, as a device takes them.
fn looked_up(source: &mut Recorded, place: &Path, paths: &[String]) -> Result<Vec<Release>> {
    let first =
        fs::read(source.folders.metadata.join("1.root.json")).context(
        "the repository's first root, which is there once one is published: `gabion repository refresh` signs a timestamp",
    )?;
    let store = Store::open(place)?;
    Client::init(&store, &first)?;
    let now_s = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    at_once(async {
        let mut client = Client::refresh(store, source, now_s, Limits::default()).await.context(
            "the repository: `gabion repository refresh` signs a timestamp, `pull` fetches the service's",
        )?;
        let mut releases = Vec::new();
        for path in paths {
            let found = client.find(source, path).await.with_context(|| path.clone())?;
            let mut bytes = Vec::new();
            Client::download(source, &found, &mut bytes).await.with_context(|| path.clone())?;
            releases.push(Release::read(&bytes, path)?);
        }
        Ok(releases)
    })?
}

fn blobs(release: &Release) -> impl Iterator<Item = &Blob> {
    let offers = release.images.iter().flat_map(|image| image.offers.iter());
    offers.flat_map(|offer| [&offer.index, &offer.body]).chain(&release.manifest)
}

/// The path of a blob that is there, and is it.
fn verified(folder: &Path, blob: &Blob) -> Result<String> {
    let path = blob.path();
    let mut sum = Sum::new(&SHA256);
    let bytes = fs::read(folder.join("targets").join(&path)).with_context(|| path.clone())?;
    sum.update(&bytes);
    ensure!(hex::encode(sum.finish().as_ref()) == blob.sha256.as_str(), "{path} is not what was signed");
    Ok(path)
}

/// A future that waits for nobody: its files are here.
fn at_once<F: Future>(future: F) -> Result<F::Output> {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => bail!("the repository's files are not here"),
    }
}
