//! `gabion image`: what a build made becomes a release: payloads and a document, signed, and published by the service.
//!
//! It is done in a folder of those who release (`gabion repository`), which keeps the images, so that the next release has patches
//! against them. Signing keys are there or elsewhere; the service has none of them.

mod document;
mod kernel;
mod payload;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use service_api::fleet::NewRelease;
use service_api::problem::Problem;
use service_api::publish::ReleaseEntry;
use service_api::release::What;
use service_api::{Name, Text, Version};

use crate::output::{is_json, printable};
use crate::repository::{Opened, open, remote, signer};
use crate::service::client::Client;
use crate::service::{line, session, show, told};
use document::Made;

/// What `gabion image` does.
#[derive(Subcommand)]
pub(crate) enum Asked {
    /// Make a release of an image, sign it, and have the service publish it.
    Add(Box<Add>),
    /// List the releases that may be deployed.
    List {
        /// The catalog.
        catalog: Name,
    },
}

/// A release.
#[derive(Args)]
pub(crate) struct Add {
    /// The catalog that it is published by.
    catalog: Name,
    /// A packed app: a directory with manifest.toml, root.img and root.verity, as `gabion-image pack` makes it.
    #[arg(required_unless_present = "product", conflicts_with = "product")]
    app: Option<PathBuf>,
    /// The repository's folder, of `gabion repository`.
    #[arg(long, value_name = "FOLDER", env = "GABION_REPOSITORY")]
    repository: PathBuf,
    /// A key that signs it; if others have to sign as well, it waits for them and `gabion repository push`.
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    opened: Opened,
    /// The system, for devices of this product.
    #[arg(long, requires_all = ["release", "root", "kernel"])]
    product: Option<Name>,
    /// The system's version.
    #[arg(long, value_name = "VERSION", requires = "product")]
    release: Option<Version>,
    /// Its root image with the hash tree, as `gabion-image release` makes it; root.verity lies beside it.
    #[arg(long, value_name = "IMAGE", requires = "product")]
    root: Option<PathBuf>,
    /// Its kernel image.
    #[arg(long, value_name = "IMAGE", requires = "product")]
    kernel: Option<PathBuf>,
    /// What a device that runs it reports, which is published too. The file beside the kernel image unless told.
    #[arg(long, value_name = "FILE", requires = "product")]
    reference: Option<PathBuf>,
    /// No device goes back behind a greater number than this.
    #[arg(long, default_value_t = 0)]
    floor: u32,
    /// What is new, for people.
    #[arg(long, default_value = "")]
    notes: String,
    /// Against how many of the last releases patches are made.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(..=32))]
    patches: u8,
    /// Leave it signed in the folder, and send nothing.
    #[arg(long)]
    keep: bool,
}

/// `gabion image`. False: it can't be done as it is asked for.
pub(crate) fn run(asked: Asked) -> Result<bool> {
    let done = told(match asked {
        Asked::Add(add) => add.run(),
        Asked::List { catalog } => list(&catalog),
    });
    match done {
        Err(error) => match error.downcast_ref() {
            Some(repository::Error::Asked(why)) => {
                eprintln!("gabion: {why}");
                Ok(false)
            }
            _ => Err(error),
        },
        done => done,
    }
}

impl Add {
    fn run(&self) -> Result<()> {
        let client = (!self.keep).then(session::resume).transpose()?;
        if let Some(client) = &client {
            // Others may have released meanwhile: this one follows theirs.
            remote::pull(client, &self.repository, None)?;
        }
        let repository = open(&self.repository)?;
        let notes = Text::try_from(self.notes.clone()).context("--notes")?;
        let what = (self.floor, notes, usize::from(self.patches));
        let made = match (&self.app, &self.product, &self.release, &self.root, &self.kernel) {
            (Some(app), ..) => document::of_app(&self.repository, &self.catalog, app, what)?,
            (None, Some(product), Some(version), Some(root), Some(kernel)) => {
                document::of_system(&self.repository, (product, version), (root, kernel), what)?
            }
            _ => anyhow::bail!("a release is of an app, or of a product with --release, --root and --kernel"),
        };
        let role = repository.add(&made.target, &made.file, &made.custom)?;
        let passphrase = self.opened.passphrase()?;
        let mut waits = true;
        for key in &self.keys {
            for waiting in repository.sign(&signer(key, &passphrase)?, Some(&role))? {
                let enough = usize::try_from(waiting.needed).is_ok_and(|needed| waiting.good >= needed);
                waits = !enough;
                println!("{role} {}: {} of {} signatures", waiting.version, waiting.good, waiting.needed);
            }
        }
        match (client, waits) {
            (Some(client), false) => {
                self.publish_reference(&client, &made)?;
                remote::push(&client, &self.repository, &self.catalog)
            }
            (Some(_), true) => {
                line(&format!("{} waits for signatures, and `gabion repository push`", made.target))
            }
            (None, _) => line(&format!("{} is in {}", made.target, self.repository.display())),
        }
    }

    /// Before the release itself: a device that runs it is to be known.
    fn publish_reference(&self, client: &Client, made: &Made) -> Result<()> {
        let (Some(product), Some(kernel), Some(version)) = (&self.product, &self.kernel, &self.release)
        else {
            return Ok(());
        };
        let beside = document::beside(kernel, "reference.json");
        let reference = match &self.reference {
            Some(reference) => reference.clone(),
            None if beside.exists() => beside,
            None => {
                eprintln!("gabion: no {}: devices that run {} will not pass", beside.display(), made.target);
                return Ok(());
            }
        };
        let name: Name = format!("{product}-{version}").parse().context("the release's name")?;
        let new = NewRelease { name: name.clone(), reference_values: read_reference(&reference)? };
        let path = format!("/v1/catalogs/{}/releases", self.catalog);
        match client.post::<service_api::fleet::Release>(&path, Some(&new)) {
            Ok(_) => line(&format!("release {name}: reference values published")),
            // Payloads may be added to a release; what its devices report stays.
            Err(error) if error.downcast_ref::<Problem>().is_some_and(|problem| problem.status == 409) => {
                eprintln!("gabion: reference values of {name} are there already");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn read_reference(path: &Path) -> Result<serde_json::Map<String, serde_json::Value>> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

fn list(catalog: &Name) -> Result<()> {
    let releases: Vec<ReleaseEntry> = session::resume()?.get(&format!("/v1/catalogs/{catalog}/updates"))?;
    if is_json() {
        return show(&releases);
    }
    for release in releases {
        let what = match &release.what {
            What::Os(product) => format!("the system of {product}"),
            What::App(app) => app.to_string(),
        };
        let (version, size, notes) = (&release.version, release.size, printable(release.notes.as_str()));
        line(&format!("{}  {} {version}, {size} bytes  {notes}", release.target, printable(&what)))?;
    }
    Ok(())
}
