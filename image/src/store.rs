//! The app store image: installed apps as they lie under `/apps` on the device.
//!
//! An app is a directory with `manifest.toml` and either `root/` (files of the store itself) or `root.img` with
//! `root.verity` (an image of its own, mounted under its own root hash). Beside each good manifest lies its plan.

use crate::stamp::Stamp;
use crate::verity::{self, Verified};
use crate::{erofs, stage};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

const UUID: &str = "67616269-6f6e-4000-8000-617070730000";
const APP_UUID: &str = "67616269-6f6e-4000-8000-617070696d67";

/// Makes the store image at `image` of the app directories in `apps`, each under the name its directory has.
/// Nothing about an app is refused here: what is wrong with one is for the device to say.
pub fn build(apps: &[PathBuf], image: &Path) -> Result<Verified> {
    let mut stamp = Stamp::new("store 2").text(policy::POLICY);
    for app in apps {
        stamp = stamp.text(app.file_name().unwrap_or_default().to_string_lossy()).path(app)?;
    }
    let words = image.with_extension("verity");
    if stamp.fits(image)
        && let Some(verified) =
            fs::read_to_string(&words).ok().and_then(|text| Verified::from_text(image, &text))
    {
        return Ok(verified);
    }
    let staged = image.with_extension("staged");
    stage::fresh(&staged)?;
    for app in apps {
        let to = staged.join(app.file_name().context("an app's directory has a name")?);
        stage::copy(app, &to)?;
        keep_plan(&to)?;
    }
    stage::normalise(&staged)?;
    erofs::format(&staged, UUID, image)?;
    let verified = verity::append(image, UUID)?;
    fs::write(&words, verified.to_text())?;
    stamp.keep(image)?;
    Ok(verified)
}

/// Makes the plan of the app directory `app` in the store, so that no boot has to.
fn keep_plan(app: &Path) -> Result<()> {
    let text = fs::read(app.join("manifest.toml")).unwrap_or_default();
    match std::str::from_utf8(&text).ok().and_then(policy::keep) {
        Some(plan) => stage::write(&app.join("manifest.plan"), plan),
        None => Ok(()),
    }
}

/// Turns the `root/` of the app directory `app` into `root.img` and `root.verity`.
pub fn root_to_image(app: &Path) -> Result<()> {
    let (root, image) = (app.join("root"), app.join("root.img"));
    erofs::format(&root, APP_UUID, &image)?;
    let verified = verity::append(&image, APP_UUID)?;
    fs::write(app.join("root.verity"), verified.to_text())?;
    fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))
}
