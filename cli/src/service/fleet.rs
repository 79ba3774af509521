//! `gabion catalog`, `gabion product`, `gabion group` and `gabion release`: what there has to be before a device is claimed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_api::fleet::{Entry, Group, GroupPolicy, New, NewGroup, NewRelease, Release, Withdrawal};
use service_api::{Name, Text};

use super::{session, show, told};

/// The longest file of reference values, or policy, that is read.
const FILE_MAX: u64 = 1 << 20;

/// What `gabion catalog` does.
#[derive(Subcommand)]
pub(crate) enum CatalogAsked {
    /// Make a catalog, of which you are the administrator. For operators.
    Add {
        /// Its name.
        catalog: Name,
    },
}

/// What `gabion product` does.
#[derive(Subcommand)]
pub(crate) enum ProductAsked {
    /// List a catalog's products.
    List {
        /// The catalog.
        catalog: Name,
    },
    /// Make a product.
    Add {
        /// The catalog.
        catalog: Name,
        /// Its name.
        product: Name,
    },
}

/// What `gabion group` does.
#[derive(Subcommand)]
pub(crate) enum GroupAsked {
    /// List a product's groups, and what their devices must be.
    List {
        /// The catalog.
        catalog: Name,
        /// The product.
        product: Name,
    },
    /// Make a group, with the strict policy: every release that is not withdrawn, Secure Boot on, no debug build.
    Add {
        /// The catalog.
        catalog: Name,
        /// The product.
        product: Name,
        /// Its name.
        group: Name,
    },
    /// Say what the group's devices must be.
    Policy {
        /// The catalog.
        catalog: Name,
        /// The product.
        product: Name,
        /// The group.
        group: Name,
        /// The policy (JSON), as `gabion group list` shows it.
        file: PathBuf,
    },
}

/// What `gabion release` does.
#[derive(Subcommand)]
pub(crate) enum ReleaseAsked {
    /// List a catalog's releases.
    List {
        /// The catalog.
        catalog: Name,
    },
    /// Publish what a device that runs a release measures, as the image's build wrote it (`….reference.json`).
    Publish {
        /// The catalog.
        catalog: Name,
        /// What it is called.
        release: Name,
        /// The reference values.
        reference: PathBuf,
    },
    /// From now on no device may run it.
    Withdraw {
        /// The catalog.
        catalog: Name,
        /// Which.
        release: Name,
    },
    /// Take that back.
    Restore {
        /// The catalog.
        catalog: Name,
        /// Which.
        release: Name,
    },
}

/// `gabion catalog`.
pub(crate) fn catalog(asked: CatalogAsked) -> Result<bool> {
    let CatalogAsked::Add { catalog } = asked;
    told(make::<Entry>("/v1/catalogs", &new(catalog)))
}

/// `gabion product`.
pub(crate) fn product(asked: ProductAsked) -> Result<bool> {
    let path = |catalog: &Name| format!("/v1/catalogs/{catalog}/products");
    told(match asked {
        ProductAsked::List { catalog } => look::<Vec<Entry>>(&path(&catalog)),
        ProductAsked::Add { catalog, product } => make::<Entry>(&path(&catalog), &new(product)),
    })
}

/// `gabion group`.
pub(crate) fn group(asked: GroupAsked) -> Result<bool> {
    let path = |catalog: &Name, product: &Name| format!("/v1/catalogs/{catalog}/products/{product}/groups");
    told(match asked {
        GroupAsked::List { catalog, product } => look::<Vec<Group>>(&path(&catalog, &product)),
        GroupAsked::Add { catalog, product, group } => {
            let (description, policy) = (Text::default(), GroupPolicy::default());
            make::<Group>(&path(&catalog, &product), &NewGroup { name: group, description, policy })
        }
        GroupAsked::Policy { catalog, product, group, file } => {
            set::<GroupPolicy>(&format!("{}/{group}/policy", path(&catalog, &product)), &file)
        }
    })
}

/// `gabion release`.
pub(crate) fn release(asked: ReleaseAsked) -> Result<bool> {
    let path = |catalog: &Name| format!("/v1/catalogs/{catalog}/releases");
    let withdraw = |catalog: &Name, release: &Name, withdrawn| {
        let path = format!("{}/{release}/withdrawal", path(catalog));
        session::resume()?.act("PUT", &path, Some(&Withdrawal { withdrawn }))
    };
    told(match asked {
        ReleaseAsked::List { catalog } => list(&path(&catalog)),
        ReleaseAsked::Publish { catalog, release, reference } => {
            publish(&path(&catalog), release, &reference)
        }
        ReleaseAsked::Withdraw { catalog, release } => withdraw(&catalog, &release, true),
        ReleaseAsked::Restore { catalog, release } => withdraw(&catalog, &release, false),
    })
}

fn new(name: Name) -> New {
    New { name, description: Text::default() }
}

fn look<T: DeserializeOwned + Serialize>(path: &str) -> Result<()> {
    show(&session::resume()?.get::<T>(path)?)
}

fn make<T: DeserializeOwned + Serialize>(path: &str, body: &impl Serialize) -> Result<()> {
    show(&session::resume()?.post::<T>(path, Some(body))?)
}

fn set<T: DeserializeOwned + Serialize>(path: &str, file: &Path) -> Result<()> {
    let body: T =
        serde_json::from_slice(&read(file)?).with_context(|| format!("reading {}", file.display()))?;
    session::resume()?.act("PUT", path, Some(&body))
}

fn list(path: &str) -> Result<()> {
    for release in session::resume()?.get::<Vec<Release>>(path)? {
        let state = if release.withdrawn { "withdrawn" } else { "published" };
        println!("{} {state}", release.name);
    }
    Ok(())
}

fn publish(path: &str, name: Name, reference: &Path) -> Result<()> {
    let text = read(reference)?;
    let reference_values =
        serde_json::from_slice(&text).with_context(|| format!("reading {}", reference.display()))?;
    let new = NewRelease { name, reference_values };
    let release: Release = session::resume()?.post(path, Some(&new))?;
    println!("{} published", release.name);
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= FILE_MAX, "{} has more than {FILE_MAX} bytes", path.display());
    Ok(bytes)
}
