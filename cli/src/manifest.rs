//! `gabion check` and `gabion explain`: questions about a manifest or a package, answered by the device's own code.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use packing::{gab, opened};
use policy::Board;
use serde_json::json;

use crate::act;
use crate::diagnostic::{self, Faulty};
use crate::output::{answer, is_json};

/// Arguments of `gabion check`.
#[derive(clap::Args)]
pub(crate) struct CheckAsked {
    /// The manifest, a directory that holds `manifest.toml`, or a package.
    #[arg(default_value = ".")]
    manifest: PathBuf,
    /// The package must be signed by this certificate's key (PEM).
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

/// Arguments of `gabion explain`.
#[derive(clap::Args)]
pub(crate) struct ExplainAsked {
    /// The manifest, or a directory that holds `manifest.toml`.
    manifest: PathBuf,
    /// What the app would do.
    #[command(subcommand)]
    act: act::Asked,
}

/// Whether the manifest, or the package, is good. What is wrong with it is the answer.
pub(crate) fn check(asked: &CheckAsked) -> Result<bool> {
    let file = diagnostic::manifest_file(&asked.manifest);
    let certificate = asked.certificate.as_deref();
    let checked = match is_package(&file) || certificate.is_some() {
        true => check_package(&file, certificate),
        false => diagnostic::manifest(&file).and_then(|_| {
            answer(&json!({ "file": file, "good": true, "problems": [] }), || "ok\n".to_owned())
        }),
    };
    let Err(error) = checked else { return checked };
    let problems = match (error.downcast_ref::<Faulty>(), error.downcast_ref::<opened::Fault>()) {
        _ if !is_json() => return Err(error),
        (Some(faulty), _) => faulty.json(),
        (_, Some(opened::Fault { part, message, help })) => {
            json!([{ "file": file, "part": part, "message": message, "help": help }])
        }
        _ => return Err(error),
    };
    answer(&json!({ "file": file, "good": false, "problems": problems }), String::new)?;
    Ok(false)
}

/// By its name, or by the table that it begins with.
fn is_package(file: &Path) -> bool {
    let mut begins = [0; 520];
    let table = File::open(file).and_then(|mut file| file.read_exact(&mut begins));
    file.extension().is_some_and(|name| name == "gab") || (table.is_ok() && begins.ends_with(b"EFI PART"))
}

fn check_package(file: &Path, certificate: Option<&Path>) -> Result<bool> {
    let about = file.metadata().with_context(|| format!("cannot read {}", file.display()))?;
    if !about.is_file() || about.len() > opened::PACKAGE_MAX {
        bail!("{} is no package: {} bytes", file.display(), about.len());
    }
    let package = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let opened = opened::open(&package, certificate).with_context(|| file.display().to_string())?;
    let text = String::from_utf8_lossy(&opened.manifest).into_owned();
    let place = file.join(gab::MANIFEST);
    let manifest =
        policy::check(&text, &Board::default()).map_err(|problems| Faulty::new(&place, text, problems))?;
    let (app, version) = (manifest.id().to_string(), manifest.version().to_string());
    let opened::Opened { root_hash, contents, signed, .. } = &opened;
    let found = json!({
        "file": file, "good": true, "problems": [], "app": app, "version": version, "root_hash": root_hash, "signed": signed,
        "entries": contents.entries, "bytes": contents.bytes,
    });
    answer(&found, || {
        let signed = match (signed, certificate) {
            (true, Some(_)) => "signed by that certificate",
            (true, None) => "signed, by whom was not asked (--certificate)",
            (false, _) => "not signed",
        };
        format!("ok: {app} {version}, {} entries, root hash {root_hash}, {signed}\n", contents.entries)
    })
}

/// Whether the app may do it, and why.
pub(crate) fn explain(asked: ExplainAsked) -> Result<bool> {
    let act = asked.act.parse()?;
    let manifest = diagnostic::manifest(&asked.manifest)?;
    let verdict = policy::explain(&manifest, &act);
    let (allowed, because) = (verdict.allowed, &verdict.because);
    answer(&json!({ "allowed": allowed, "because": because }), || {
        format!("{}: {because}\n", if allowed { "allowed" } else { "denied" })
    })?;
    Ok(allowed)
}
