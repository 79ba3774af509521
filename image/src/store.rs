//! The app store image: installed apps as they lie under `/apps` on the device.
//!
//! An app is a directory with `manifest.toml` and either `root/` (files of the store itself) or `root.img` with
//! `root.verity` (an image of its own, mounted under its own root hash). Beside each good manifest lies its plan.

use crate::stamp::Stamp;
use crate::verity::{self, Verified};
use crate::{check, erofs, stage};
use anyhow::{Context, Result};
use packing::app;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const UUID: &str = "67616269-6f6e-4000-8000-617070730000";

/// Files beside the apps.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How the device is connected: `network.toml`.
    pub network: Option<PathBuf>,
    /// Which Security Service it belongs to: `service.toml`.
    pub service: Option<PathBuf>,
    /// When and how it is renewed: `update.toml`.
    pub update: Option<PathBuf>,
    /// Whose releases it takes: the repository's root, `update-root.json`.
    pub update_root: Option<PathBuf>,
}

impl Settings {
    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.files().next().is_none()
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [
            ("network.toml", &self.network),
            ("service.toml", &self.service),
            ("update.toml", &self.update),
            ("update-root.json", &self.update_root),
        ];
        all.into_iter().filter_map(|(name, file)| Some((name, file.as_deref()?)))
    }
}

/// Makes the store image at `image` of the app directories in `apps`, each under the name its directory has, and of
/// `settings`, for devices that nobody configured otherwise.
/// What is wrong with a manifest is for the device to say, and what is wrong with an image, which it checks before it mounts
/// it; what is in a `root/` that no package may have is refused here, because nobody checks it later.
pub fn build(apps: &[PathBuf], settings: &Settings, image: &Path) -> Result<Verified> {
    let mut stamp = Stamp::new("store 8").text(policy::POLICY).text(package::CHECKER);
    for (name, file) in settings.files() {
        stamp = stamp.text(name).path(file)?;
    }
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
        app::name_server_link(&to)?;
        keep_plan(&to)?;
        keep_checked(&to)?;
    }
    for (name, file) in settings.files() {
        stage::copy(file, &staged.join(name))?;
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
    remove(&plan)?;
    let text = fs::read(app.join("manifest.toml")).unwrap_or_default();
    match std::str::from_utf8(&text).ok().and_then(policy::keep) {
        Some(kept) => stage::write(&plan, kept),
        None => Ok(()),
    }
}

/// Keeps the checker's word on the image of the app directory `app`, if it has one and it is good, so that no boot has to
/// check it. One that the app's author brought goes first, as a plan does.
fn keep_checked(app: &Path) -> Result<()> {
    let word = app.join("root.checked");
    remove(&word)?;
    let image = app.join("root.img");
    let text = fs::read_to_string(app.join("root.verity")).unwrap_or_default();
    let Some(said) = Verified::from_text(&image, &text) else { return Ok(()) };
    // Its own hash tree is no proof: it is made again from the data that was checked.
    let again = app.join("root.again");
    remove(&again)?;
    fs::copy(&image, &again).with_context(|| format!("copying {}", image.display()))?;
    File::options().write(true).open(&again)?.set_len(said.data_blocks.saturating_mul(verity::BLOCK))?;
    let good = check::image(&again, said.data_blocks).is_ok();
    let same = good && verity::append(&again, app::UUID)?.to_text() == text;
    remove(&again)?;
    if !same {
        return Ok(());
    }
    stage::write(&word, package::kept(&said.root_hash))
}

/// Removes whatever is at `path`, without following it.
fn remove(path: &Path) -> Result<()> {
    let Ok(about) = path.symlink_metadata() else { return Ok(()) };
    let removed = if about.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| format!("removing {}", path.display()))
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

    #[test]
    fn image_has_the_checkers_word_only_if_it_is_good_and_its_hash_is_its_own() {
        let place = tempfile::tempdir().unwrap();
        let app = place.path().join("app");
        fs::create_dir_all(app.join("root/bin")).unwrap();
        fs::write(app.join("root/bin/text"), "a line\n".repeat(3000)).unwrap();
        app::root_to_image(&app).unwrap();
        let word = app.join("root.checked");
        keep_checked(&app).unwrap();
        let text = fs::read_to_string(app.join("root.verity")).unwrap();
        let good = Verified::from_text(&app.join("root.img"), &text).unwrap();
        assert_eq!(fs::read_to_string(&word).unwrap(), package::kept(&good.root_hash));
        // Another image under the hash of this one.
        let mut bytes = fs::read(app.join("root.img")).unwrap();
        bytes[0] ^= 1;
        fs::write(app.join("root.img"), &bytes).unwrap();
        keep_checked(&app).unwrap();
        assert!(!word.exists());
        // Under its own, but not good; and a word that somebody brought.
        bytes[1024] ^= 1;
        fs::write(app.join("root.img"), &bytes[..(good.data_blocks * verity::BLOCK) as usize]).unwrap();
        let bad = verity::append(&app.join("root.img"), app::UUID).unwrap();
        fs::write(app.join("root.verity"), bad.to_text()).unwrap();
        fs::write(&word, package::kept(&bad.root_hash)).unwrap();
        keep_checked(&app).unwrap();
        assert!(!word.exists());
    }
}
