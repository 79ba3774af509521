//! The service's repository: what it has published is fetched, what people signed is sent.
//!
//! The service is not believed: what is fetched is signed by whom the root here names, or refused. What is sent it checks itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use repository::Repository;
use repository::keys::KeyFile;
use serde_json::json;
use service_api::artefacts::Artefact;
use service_api::fleet::Page;
use service_api::publish::{Document, NewUpdates, OnlineKey, Published, SignedRole};
use service_api::release::{Blob, Release};
use service_api::{Bytes, Digest, Few, Name, Text};
use tuf::hex;
use tuf::key::Key;
use tuf::metadata::{MetaFile, Snapshot, Timestamp};
use tuf::name;

use crate::service::client::Client;
use crate::service::session;

/// Roots that may be new at once.
const ROOTS_MAX: u64 = 1000;

pub(super) fn online(public: &Path, new: bool) -> Result<()> {
    let client = session::resume()?;
    let keys: Vec<OnlineKey> = client.get("/v1/updates/keys")?;
    let key = match keys.into_iter().next().filter(|_| !new) {
        Some(key) => key,
        None => client.post("/v1/updates/keys", None::<&()>)?,
    };
    let bytes = hex::decode(key.public.as_str()).context("the service's key is none")?;
    let file = KeyFile::of_public(Key::ed25519(&bytes));
    ensure!(file.id()? == key.id.as_str(), "the service calls its key by another name than it has");
    file.write(public)?;
    super::say(&json!({ "key": key.id }), key.id.to_string())
}

/// Fetches what is published and new.
pub(crate) fn pull(client: &Client, folder: &Path, root: Option<&Path>) -> Result<()> {
    let now_s = super::now_s()?;
    if let Some(root) = root {
        let bytes = fs::read(root).with_context(|| root.display().to_string())?;
        Repository::elsewhere(folder, now_s)?.begin_with(&bytes)?;
    }
    let repository = super::open(folder)?;
    let fetch = |file: &str| client.file(&format!("/updates/v1/metadata/{}", name::url_path(file)));
    let missing = |file: &str| format!("the service says of {file} that it has it, and has not");
    let first = repository.newest_version("root")?.unwrap_or(0) + 1;
    for version in first..first + ROOTS_MAX {
        let Some(bytes) = fetch(&name::published("root", Some(version)))? else { break };
        repository.received("root", Some(version), &bytes)?;
    }
    // Before anything was published there is nothing to fetch.
    let Some(timestamp) = fetch("timestamp.json")? else { return Ok(()) };
    let head: Timestamp = tuf::envelope::Envelope::read(&timestamp)?.parse()?;
    let snapshot_version = head.meta.snapshot.version;
    let file = name::published("snapshot", Some(snapshot_version));
    let snapshot = fetch(&file)?.with_context(|| missing(&file))?;
    repository.received("snapshot", Some(snapshot_version), &snapshot)?;
    let snapshot: Snapshot = tuf::envelope::Envelope::read(&snapshot)?.parse()?;
    let roles: BTreeMap<&str, &MetaFile> =
        snapshot.meta.iter().filter_map(|(file, meta)| Some((file.strip_suffix(".json")?, meta))).collect();
    // Targets says who signs the others.
    for role in std::iter::once("targets").chain(roles.keys().copied().filter(|role| *role != "targets")) {
        let version = roles.get(role).context("the snapshot has no targets")?.version;
        if repository.newest_version(role)? == Some(version) {
            continue;
        }
        let file = name::published(role, Some(version));
        repository.received(role, Some(version), &fetch(&file)?.with_context(|| missing(&file))?)?;
    }
    repository.received("timestamp", None, &timestamp)?;
    documents(client, &repository)?;
    for role in repository.show()?.roles {
        if let (Some(published), Some(staged)) = (role.published, role.staged)
            && staged <= published
        {
            let role = role.role;
            eprintln!(
                "{role} {staged}, which waits here, was overtaken; `gabion repository drop` forgets it"
            );
        }
    }
    Ok(())
}

/// Documents of releases that others added.
fn documents(client: &Client, repository: &Repository) -> Result<()> {
    for role in repository.show()?.roles.into_iter().filter(|role| role.published.is_some()) {
        if ["root", "snapshot", "timestamp"].contains(&role.role.as_str()) {
            continue;
        }
        for (path, file) in repository.all_targets(&role.role)? {
            if file.exists() {
                continue;
            }
            let below = file.strip_prefix(repository.targets())?.to_str().context("a path")?.to_owned();
            let bytes = client.file(&format!("/updates/v1/targets/{}", name::url_path(&below)))?;
            let bytes = bytes.with_context(|| format!("the service has no {path}"))?;
            let digest =
                file.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
            let found = hex::encode(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
            ensure!(
                digest.is_some_and(|(digest, _)| digest == found),
                "{path} is another file than the signed one"
            );
            fs::create_dir_all(file.parent().context("a folder")?)?;
            fs::write(&file, bytes).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// Sends what is staged and signed, and takes in what became of it.
pub(crate) fn push(client: &Client, folder: &Path, catalog: &Name) -> Result<()> {
    let repository = super::open(folder)?;
    let (mut roles, mut documents, mut blobs) = (Vec::new(), Vec::new(), BTreeMap::new());
    for role in repository.show()?.roles {
        let (Some(version), Some(good), Some(needed)) = (role.staged, role.signatures, role.needed) else {
            continue;
        };
        if !usize::try_from(needed).is_ok_and(|needed| good >= needed) {
            eprintln!("{} {version} waits: {good} of {needed} signatures", role.role);
            continue;
        }
        let content =
            Bytes::new(repository.staged_file(&role.role)?).context("the role's file is too long")?;
        if role.role != "root" {
            for (path, file) in repository.new_targets(&role.role)? {
                let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
                let release = Release::read(&bytes, &path)?;
                blobs.extend(named(&release).map(|blob| (blob.sha256.clone(), blob.length)));
                let content = Bytes::new(bytes).context("the document is too long")?;
                documents.push(Document { target: Text::try_from(path)?, content });
            }
        }
        roles.push(SignedRole { role: role.role.parse()?, content });
    }
    ensure!(
        !roles.is_empty(),
        repository::Error::Asked("nothing that is staged has all its signatures".to_owned())
    );
    upload(client, &repository, catalog, &blobs)?;
    let new = NewUpdates {
        roles: Few::new(roles).context("too many roles at once")?,
        documents: Few::new(documents).context("too many releases at once")?,
    };
    let published: Published = client.post(&format!("/v1/catalogs/{catalog}/updates"), Some(&new))?;
    for role in &published.roles {
        let (role, version) = (&role.role, &role.version);
        super::say(&json!({ "published": role, "version": version }), format!("{role} {version} published"))?;
    }
    for release in &published.releases {
        super::say(&json!({ "published": release }), format!("{release} published"))?;
    }
    pull(client, folder, None)
}

fn named(release: &Release) -> impl Iterator<Item = &Blob> {
    let offers = release.images.iter().flat_map(|image| image.offers.iter());
    offers.flat_map(|offer| [&offer.index, &offer.body]).chain(&release.manifest)
}

fn upload(
    client: &Client,
    repository: &Repository,
    catalog: &Name,
    blobs: &BTreeMap<Digest, u64>,
) -> Result<()> {
    if blobs.is_empty() {
        return Ok(());
    }
    let there = artefacts(client, catalog)?;
    for (sha256, length) in blobs.iter().filter(|(sha256, _)| !there.contains(*sha256)) {
        let file = repository.targets().join("blobs").join(sha256.as_str());
        eprintln!("sending {sha256}, {length} bytes");
        client.put(&format!("/v1/catalogs/{catalog}/artefacts/{sha256}"), &file)?;
    }
    Ok(())
}

fn artefacts(client: &Client, catalog: &Name) -> Result<BTreeSet<Digest>> {
    let mut all = BTreeSet::new();
    let mut after = String::new();
    loop {
        let page: Page<Artefact> =
            client.get(&format!("/v1/catalogs/{catalog}/artefacts?limit=1000{after}"))?;
        let last = page.items.last().map(|last| format!("&after={}", last.sha256));
        all.extend(page.items.into_iter().map(|artefact| artefact.sha256));
        match last.filter(|_| page.more) {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}
