//! Systems and apps, as they are published: images with hash trees, payloads, documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use delta::make::Payload;
use ring::digest::{SHA256, digest};
use service_api::release::{Blob, Image, Offer, Release, Role, What};
use service_api::{Few, Text};
use tuf::hex;
use update_test::Site;

/// Bytes of the data of a system's root, and of its kernel image.
const ROOT: usize = 600 << 10;
const KERNEL: usize = 150 << 10;
const APP: usize = 100 << 10;

/// A system.
#[derive(Clone)]
pub(crate) struct System {
    pub(crate) version: String,
    pub(crate) root: Verified,
    pub(crate) kernel: Vec<u8>,
}

/// An image with its hash tree.
#[derive(Clone)]
pub(crate) struct Verified {
    pub(crate) bytes: Vec<u8>,
    pub(crate) data: usize,
    pub(crate) words: String,
}

impl System {
    /// Version `n`: most of it is as in the others.
    pub(crate) fn new(n: u32) -> Result<Self> {
        Self::of(n, ROOT)
    }

    /// The same with a root of so many bytes.
    pub(crate) fn of(n: u32, root: usize) -> Result<Self> {
        let root = Verified::new(&changed(1, root, n))?;
        Ok(Self { version: format!("1.{n}"), root, kernel: changed(2, KERNEL, n) })
    }

    /// The same but for its version, and the first bytes of its root: one segment of a whole payload.
    pub(crate) fn touched(&self, version: &str) -> Result<Self> {
        let mut data = self.root.bytes[..self.root.data].to_vec();
        data[..8].copy_from_slice(b"touched!");
        Ok(Self { version: version.to_owned(), root: Verified::new(&data)?, kernel: self.kernel.clone() })
    }

    pub(crate) fn path(&self) -> String {
        format!("os/box/{}.json", self.version)
    }
}

/// An app.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) image: Verified,
    pub(crate) manifest: Vec<u8>,
}

impl App {
    pub(crate) fn new(id: &str, n: u32) -> Result<Self> {
        let image = Verified::new(&changed(id.len() as u64, APP, n))?;
        let version = format!("{n}.0");
        let manifest = format!("[app]\nid = \"{id}\"\nversion = \"{version}\"\n").into_bytes();
        Ok(Self { id: id.to_owned(), version, image, manifest })
    }

    pub(crate) fn path(&self) -> String {
        format!("apps/acme/{}/{}.json", self.id, self.version)
    }
}

impl Verified {
    fn new(data: &[u8]) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), data)?;
        let salt = hex::encode(&[7; 32]);
        let path = file.path().to_str().context("a path")?;
        let said = Command::new("veritysetup")
            .args(["format", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096"])
            .args(["--uuid=67616269-6f6e-4000-8000-617070730000", &format!("--salt={salt}")])
            .args([&format!("--data-blocks={}", data.len() / 4096), &format!("--hash-offset={}", data.len())])
            .args([path, path])
            .output()?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let said = String::from_utf8(said.stdout)?;
        let hash =
            said.lines().find_map(|line| line.strip_prefix("Root hash:")).context("a root hash")?.trim();
        let blocks = data.len() / 4096;
        let words =
            format!("data_blocks={blocks} hash_start_block={} root_hash={hash} salt={salt}", blocks + 1);
        Ok(Self { bytes: fs::read(file.path())?, data: data.len(), words })
    }

    pub(crate) fn root_hash(&self) -> [u8; 32] {
        let word = self.words.split_whitespace().find_map(|word| word.strip_prefix("root_hash="));
        hex::decode(word.unwrap()).unwrap().try_into().unwrap()
    }
}

/// Publishes a system, with patches from others.
pub(crate) fn publish(site: &Site, system: &System, from: &[&System], floor: u32) -> Result<()> {
    let root = image(
        site,
        Role::Root,
        &system.root.bytes,
        Some(&system.root.words),
        &from.iter().map(|from| from.root.bytes.as_slice()).collect::<Vec<_>>(),
    )?;
    let kernel = image(
        site,
        Role::Kernel,
        &system.kernel,
        None,
        &from.iter().map(|from| from.kernel.as_slice()).collect::<Vec<_>>(),
    )?;
    let release = Release {
        what: What::Os("box".parse()?),
        version: system.version.parse()?,
        floor,
        images: Few::new(vec![root, kernel]).context("two")?,
        manifest: None,
        notes: Text::default(),
    };
    site.add(&system.path(), &serde_json::to_vec(&release)?, &system.version)?;
    site.sign(&["os-1", "os-2"])?;
    site.refresh()
}

/// Publishes an app.
pub(crate) fn publish_app(site: &Site, app: &App, from: &[&App]) -> Result<()> {
    let image = image(
        site,
        Role::App,
        &app.image.bytes,
        Some(&app.image.words),
        &from.iter().map(|from| from.image.bytes.as_slice()).collect::<Vec<_>>(),
    )?;
    let release = Release {
        what: What::App(Text::shown(&app.id)),
        version: app.version.parse()?,
        floor: 0,
        images: Few::new(vec![image]).context("one")?,
        manifest: Some(blob(site.path(), &app.manifest)?),
        notes: Text::default(),
    };
    site.add(&app.path(), &serde_json::to_vec(&release)?, &app.version)?;
    site.sign(&["acme"])?;
    site.refresh()
}

fn image(site: &Site, role: Role, new: &[u8], words: Option<&str>, from: &[&[u8]]) -> Result<Image> {
    let mut offers = vec![offer(site.path(), None, &payload(None, new)?)?];
    for old in from {
        offers.push(offer(site.path(), Some(old), &payload(Some(old), new)?)?);
    }
    Ok(Image {
        role,
        content: described(new)?,
        verity: words.map(Text::shown),
        offers: Few::new(offers).context("few")?,
    })
}

/// A payload, which is made once for all tests.
fn payload(old: Option<&[u8]>, new: &[u8]) -> Result<Payload> {
    type Made = BTreeMap<(Vec<u8>, Vec<u8>), Payload>;
    static MADE: Mutex<Made> = Mutex::new(BTreeMap::new());
    let name = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
    let key = (old.map(name).unwrap_or_default(), name(new));
    let mut made = MADE.lock().unwrap();
    if let Some(payload) = made.get(&key) {
        return Ok(payload.clone());
    }
    let quiet = &mut |_: &str, _: u64, _: u64| ();
    let payload = match old {
        Some(old) => delta::make::patch(old, new, quiet)?,
        None => delta::make::full(new, quiet)?,
    };
    made.insert(key, payload.clone());
    Ok(payload)
}

fn offer(site: &Path, old: Option<&[u8]>, payload: &Payload) -> Result<Offer> {
    let old = old.map(described).transpose()?;
    Ok(Offer { old, index: blob(site, &payload.index)?, body: blob(site, &payload.body)? })
}

fn described(bytes: &[u8]) -> Result<Blob> {
    let sha256 = hex::encode(digest(&SHA256, bytes).as_ref()).parse()?;
    Ok(Blob { sha256, length: bytes.len() as u64 })
}

fn blob(site: &Path, bytes: &[u8]) -> Result<Blob> {
    let blob = described(bytes)?;
    let path = site.join("targets").join(blob.path());
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(path, bytes)?;
    Ok(blob)
}

/// Bytes that look like nothing, of which a few places differ by `n`.
fn changed(seed: u64, length: usize, n: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes: Vec<u8> = (0..length / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    bytes.resize(length / 4096 * 4096, 0);
    for at in (0..bytes.len()).step_by(bytes.len() / 6) {
        bytes[at..at + 4].copy_from_slice(&n.to_le_bytes());
    }
    bytes
}
