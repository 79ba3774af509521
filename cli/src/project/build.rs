//! `gabion build`: an app's source to its package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use packing::app::{self, Sources};
use packing::gab::{self, Signer};
use packing::recipe::{Faults, Recipe};
use packing::verity::Verified;
use packing::{debian, sbom, stage};
use serde_json::json;

use crate::diagnostic::{self, Faulty};
use crate::output::answer;
use crate::progress;

/// Make the package of an app, one file that devices and other image tools open.
#[derive(clap::Args)]
#[command(after_help = RECIPE)]
pub(crate) struct Asked {
    /// The app's directory: `manifest.toml`, and either `app.list` or `root/`.
    #[arg(default_value = ".")]
    app: PathBuf,
    /// Where to write it. By default `.gabion/ID-VERSION.gab` in the app's directory.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Sign it with this private key, PEM.
    #[arg(long, requires = "certificate", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The key's certificate, PEM.
    #[arg(long, requires = "key", value_name = "FILE")]
    certificate: Option<PathBuf>,
}

const RECIPE: &str = "\
app.list says what the app's root is made of, one thing per line; # starts a comment:
  build COMMAND       run in the app's directory by a shell, first of all
  file FILE PATH      a file or directory of the app's directory, at PATH in the root
  package NAME...     Debian packages that the following may be taken from
  copy PATH [AS]      a file or directory of these packages; libraries come by themselves
  omit PATH           not this file or directory of what was copied
  directory PATH      an empty directory
  link PATH TARGET    a symbolic link at PATH
and what is in files/ beside it is copied as it is.";

/// A package that was made.
pub(crate) struct Made {
    /// Where it is.
    pub(crate) path: PathBuf,
    app: String,
    version: String,
    /// Its length.
    bytes: u64,
    /// Its root hash, hex.
    pub(crate) root_hash: String,
}

/// Makes the package, and says where it is.
pub(crate) fn build(asked: Asked) -> Result<bool> {
    let signer = asked.key.zip(asked.certificate).map(|(key, certificate)| Signer { key, certificate });
    let made = package(&asked.app, asked.output, signer.as_ref())?;
    let Made { path, app, version, bytes, root_hash } = &made;
    let signed = signer.is_some();
    let all = json!({
        "package": path, "app": app, "version": version, "bytes": bytes, "root_hash": root_hash, "signed": signed,
    });
    answer(&all, || format!("{}: {bytes} bytes, root hash {root_hash}\n", path.display()))
}

/// Makes the package of the app in `source`.
///
/// # Errors
/// Its manifest has problems; it cannot be built; it may not be packed.
pub(crate) fn package(source: &Path, output: Option<PathBuf>, signer: Option<&Signer>) -> Result<Made> {
    let manifest = source.join("manifest.toml");
    let plan = policy::compile(&diagnostic::manifest(&manifest)?);
    let packed = rooted(source)?;
    let image = place(source)?.join("image");
    stage::fresh(&image)?;
    stage::copy(&packed.join("root"), &image.join("root"))?;
    stage::copy(&manifest, &image.join("manifest.toml"))?;
    stage::copy(&manifest, &image.join("root").join(gab::MANIFEST))?;
    let (id, version) = (plan.id.to_string(), plan.version.to_string());
    let parts = sbom::of(&debian_cache()?, source, (&id, &version))?;
    stage::write(&image.join("root").join(sbom::PLACE), parts)?;
    progress::during("making the image and its hash tree", || app::root_to_image(&image))?;
    let words = fs::read_to_string(image.join("root.verity"))?;
    let verified = Verified::from_text(&image.join("root.img"), &words).context("the image's own words")?;
    let path = output.map_or_else(|| Ok(place(source)?.join(format!("{id}-{version}.gab"))), anyhow::Ok)?;
    progress::during("writing the package", || gab::write(&verified, signer, &path))?;
    let bytes = path.metadata()?.len();
    Ok(Made { path, app: id.to_string(), version: version.to_string(), bytes, root_hash: verified.root_hash })
}

/// Whether there is something to build: a directory that has its `root/` is taken as it is.
fn is_source(app: &Path) -> bool {
    app.join("app.list").exists()
}

/// The directory with the app's `manifest.toml` and `root/`, built if that is to be done.
pub(crate) fn rooted(source: &Path) -> Result<PathBuf> {
    diagnostic::manifest(&source.join("manifest.toml"))?;
    if !is_source(source) {
        return Ok(source.to_owned());
    }
    let list = source.join("app.list");
    let text = diagnostic::read(&list)?;
    let faulty = |Faults(problems): Faults| Faulty::new(&list, text.clone(), problems);
    Recipe::parse(&text).map_err(faulty)?;
    let to = place(source)?.join("app");
    let program = |name: &str| -> Result<PathBuf> {
        bail!(
            "`cargo {name}` is for the apps of Gabion's own tree; write `build cargo build --release` and `file`"
        )
    };
    let made = app::root(source, &to, &Sources { debian: &debian_cache()?, program: &program });
    // What only following a line brought to light is shown in that line, too.
    made.map_err(|error| {
        error.downcast::<Faults>().map_or_else(|other| other, |faults| faulty(faults).into())
    })?;
    Ok(to)
}

/// What is built lies here.
fn place(source: &Path) -> Result<PathBuf> {
    let place = source.join(".gabion");
    if !place.exists() {
        fs::create_dir(&place).with_context(|| format!("making {}", place.display()))?;
        fs::write(place.join(".gitignore"), "*\n")?;
    }
    Ok(place)
}

/// Debian's packages are kept for all apps.
fn debian_cache() -> Result<PathBuf> {
    Ok(debian::place(&debian::cache()?))
}
