//! The app store image: installed apps as they lie under `/apps` on the device.
//!
//! An app is a directory with `manifest.toml` and either `root/` (files of the store itself) or `root.img` with
//! `root.verity` (an image of its own, mounted under its own root hash). Beside each good manifest lies its plan.

use crate::stamp::Stamp;
use crate::verity::{self, Verified};
use crate::{check, erofs, stage};
use anyhow::{Context, Result};
use package::elf::Machine;
use std::fs;
use std::path::{Path, PathBuf};

const UUID: &str = "67616269-6f6e-4000-8000-617070730000";
const APP_UUID: &str = "67616269-6f6e-4000-8000-617070696d67";

/// Makes the store image at `image` of the app directories in `apps`, each under the name its directory has.
/// What is wrong with a manifest is for the device to say; what is in a root that no package may have is refused here,
/// because the device's kernel would read it.
pub fn build(apps: &[PathBuf], image: &Path) -> Result<Verified> {
    let mut stamp = Stamp::new("store 4").text(policy::POLICY);
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
        let root = app.join("root");
        if root.exists() {
            check::root(&root).with_context(|| format!("the app in {}", app.display()))?;
        }
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

/// Makes the plan of the app directory `app` in the store, so that no boot has to. One that the app's author brought
/// goes first: beside a manifest that is not good it would stay and be believed, and as a link it would be followed.
fn keep_plan(app: &Path) -> Result<()> {
    let plan = app.join("manifest.plan");
    if plan.symlink_metadata().is_ok() {
        let removed = if plan.is_dir() && !plan.is_symlink() {
            fs::remove_dir_all(&plan)
        } else {
            fs::remove_file(&plan)
        };
        removed.with_context(|| format!("removing {}", plan.display()))?;
    }
    let text = fs::read(app.join("manifest.toml")).unwrap_or_default();
    match std::str::from_utf8(&text).ok().and_then(policy::keep) {
        Some(kept) => stage::write(&plan, kept),
        None => Ok(()),
    }
}

/// Turns the `root/` of the app directory `app` into `root.img` and `root.verity`.
pub fn root_to_image(app: &Path) -> Result<()> {
    let (root, image) = (app.join("root"), app.join("root.img"));
    check::root(&root)?;
    erofs::format(&root, APP_UUID, &image)?;
    let made = fs::read(&image).with_context(|| format!("reading {}", image.display()))?;
    package::erofs::check(&made[..], Machine::HERE).context("the image that was made of the app's root")?;
    let verified = verity::append(&image, APP_UUID)?;
    fs::write(app.join("root.verity"), verified.to_text())?;
    fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";

    #[test]
    fn plan_that_an_author_brought_is_never_in_the_store() {
        let place = tempfile::tempdir().unwrap();
        let (app, elsewhere) = (place.path().join("app"), place.path().join("elsewhere"));
        fs::create_dir(&app).unwrap();
        fs::write(&elsewhere, "precious").unwrap();
        let plan = app.join("manifest.plan");
        for text in ["[app]\nnonsense = 1\n", GOOD] {
            fs::write(app.join("manifest.toml"), text).unwrap();
            let made = policy::keep(text);
            fs::write(&plan, "the author's").unwrap();
            keep_plan(&app).unwrap();
            assert_eq!(fs::read(&plan).ok(), made);
            fs::remove_file(&plan).ok();
            std::os::unix::fs::symlink(&elsewhere, &plan).unwrap();
            keep_plan(&app).unwrap();
            assert_eq!(fs::read(&plan).ok(), made);
            assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
            fs::remove_file(&plan).ok();
        }
    }
}
