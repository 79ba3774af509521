//! Which manifest, configuration and layers an image has, by the OCI image specification or as `docker save` writes it.
//!
//! A blob is what its digest says, or the image is refused: blobs of a layout by their names, layers by the digests that the
//! configuration has of them uncompressed.

use std::collections::BTreeMap;
use std::io::{self, Read};

use ring::digest::{Context, SHA256, digest};
use serde::Deserialize;

use crate::error::Error;
use crate::store::{Store, decompressed};

/// Layers, and indexes within indexes.
const LAYERS_MAX: usize = 512;
const DEPTH: usize = 3;
/// Bytes of all layers together, uncompressed.
const LAYER_MAX: u64 = 8 << 30;

/// An image.
#[derive(Debug)]
pub struct Image {
    /// What it is started with.
    pub config: Config,
    /// Names of its layers' files, the lowest first.
    pub layers: Vec<Layer>,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    name: String,
    /// Of the tar file, uncompressed.
    digest: String,
}

/// What is read of an image's configuration; the rest is not for us.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    /// How it is run.
    #[serde(default)]
    pub config: Run,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// How an image is run.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Run {
    /// Whose processes.
    pub user: String,
    /// `8080/tcp` and so on.
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// The program and its first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// The program, or its further arguments.
    pub cmd: Option<Vec<String>>,
    /// Directories that are kept.
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// Where it starts.
    pub working_dir: String,
    /// What is said about it.
    pub labels: Option<BTreeMap<String, String>>,
    /// What ends it.
    pub stop_signal: String,
    /// Whether it is well.
    pub healthcheck: Option<serde_json::Value>,
    /// A shell for its commands.
    pub shell: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// A manifest, or an index in its place.
#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

impl Image {
    /// Finds the image for this machine.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn find(store: &Store) -> Result<Self, Error> {
        let (config, layers) = if store.has("index.json") {
            let index: Index = json("index.json", &store.text("index.json")?)?;
            let manifest = Self::manifest(store, index.manifests, 0)?;
            let config = manifest
                .config
                .ok_or_else(|| Error::Damaged("the manifest names no configuration".to_owned()))?;
            let layers = manifest.layers.iter().map(|layer| blob(&layer.digest)).collect::<Result<_, _>>()?;
            (blob_text(store, &config.digest)?, layers)
        } else if store.has("manifest.json") {
            let saved: Vec<Saved> = json("manifest.json", &store.text("manifest.json")?)?;
            let [saved] = <[Saved; 1]>::try_from(saved)
                .map_err(|all| Error::NotAnImage(format!("{} images in one file; save one", all.len())))?;
            (store.text(&saved.config)?, saved.layers)
        } else {
            return Err(Error::NotAnImage("there is neither index.json nor manifest.json".to_owned()));
        };
        Self::of(&config, layers)
    }

    fn of(config: &[u8], layers: Vec<String>) -> Result<Self, Error> {
        let config: Config = json("the configuration", config)?;
        if (config.os.as_str(), config.architecture.as_str()) != ("linux", here()) {
            return Err(Error::Platform(format!("{}/{}", config.os, config.architecture)));
        }
        if layers.len() != config.rootfs.diff_ids.len() || layers.len() > LAYERS_MAX {
            return Err(Error::Damaged(
                "the manifest has other layers than the configuration (rootfs.diff_ids)".to_owned(),
            ));
        }
        let digests = config.rootfs.diff_ids.iter().cloned();
        let layers = layers.into_iter().zip(digests).map(|(name, digest)| Layer { name, digest }).collect();
        Ok(Self { config, layers })
    }

    fn manifest(store: &Store, of: Vec<Descriptor>, depth: usize) -> Result<Manifest, Error> {
        let ours = |platform: &Platform| platform.os == "linux" && platform.architecture == here();
        let one = of.len() == 1;
        let found = of.into_iter().find(|one_of| one_of.platform.as_ref().map_or(one, ours));
        let found = found.ok_or_else(|| Error::Platform("other machines, or several images".to_owned()))?;
        let manifest: Manifest = json("the manifest", &blob_text(store, &found.digest)?)?;
        if manifest.manifests.is_empty() {
            return Ok(manifest);
        }
        if depth == DEPTH {
            return Err(Error::Damaged("an index within an index within an index".to_owned()));
        }
        Self::manifest(store, manifest.manifests, depth + 1)
    }

    /// A layer's tar file, checked as it is read: its end is an error if it is not what the configuration says.
    ///
    /// # Errors
    /// There is none; the disk's.
    pub fn layer(&self, store: &Store, layer: &Layer) -> Result<impl Read + use<>, Error> {
        let file = decompressed(store.read(&layer.name)?).map_err(|e| Error::io(&layer.name, e))?;
        let wanted = layer.digest.clone();
        Ok(Checked { file: file.take(LAYER_MAX), context: Some(Context::new(&SHA256)), wanted })
    }
}

/// This machine, as container images call it.
fn here() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn json<T: for<'a> Deserialize<'a>>(part: &str, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|e| Error::Damaged(format!("{part}: {e}")))
}

/// Where a blob is, by its digest.
fn blob(digest: &str) -> Result<String, Error> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && is_hex(hex));
    let hex = hex.ok_or_else(|| Error::Damaged(format!("\"{digest}\" is no SHA-256 digest")))?;
    Ok(format!("blobs/sha256/{hex}"))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn blob_text(store: &Store, of: &str) -> Result<Vec<u8>, Error> {
    let text = store.text(&blob(of)?)?;
    if format!("sha256:{}", hex(digest(&SHA256, &text).as_ref())) != of {
        return Err(Error::Damaged(format!("the blob {of} is not what its name says")));
    }
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A reader whose end is an error unless what was read has the digest.
struct Checked<R> {
    file: R,
    context: Option<Context>,
    wanted: String,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let Some(context) = &mut self.context else { return Ok(0) };
        context.update(buffer.get(..read).unwrap_or_default());
        if read == 0 && !buffer.is_empty() {
            let context = self.context.take().map(Context::finish);
            let is = context.is_some_and(|is| format!("sha256:{}", hex(is.as_ref())) == self.wanted);
            if !is {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a layer that is not what its digest says",
                ));
            }
        }
        Ok(read)
    }
}
