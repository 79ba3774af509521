//! The permits that this user has, each in a file of its device's name.
//!
//! A permit is no secret. By it a device is known, too: its own certificate must come from the authority that the permit names.
//! So a permit is kept only from somebody who is believed: the service, or who has sent it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use permit::Claimed;

use super::key;

/// Where they are.
fn folder() -> Result<PathBuf> {
    Ok(key::folder()?.join("permits"))
}

/// Keeps a permit in place of what there was for its device. It must be for this user's key.
pub(crate) fn keep(text: &str) -> Result<Claimed> {
    let permit = read(text)?;
    let (certificate, _) = key::own()?;
    anyhow::ensure!(
        permit.terms().developer.is(&certificate),
        "the permit is for another key than yours: {}",
        permit.terms().developer.fingerprint()
    );
    let folder = folder()?;
    key::make_private(&folder)?;
    let path = folder.join(&permit.terms().device);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(permit)
}

/// The permit for a device, and its text.
pub(crate) fn of(device: &str) -> Result<Option<(Claimed, String)>> {
    let path = folder()?.join(device);
    if !path.exists() {
        return Ok(None);
    }
    let text = key::read(&path)?;
    Ok(Some((read(&text).with_context(|| path.display().to_string())?, text)))
}

/// All that there are, by device.
pub(crate) fn all() -> Result<Vec<Claimed>> {
    let folder = folder()?;
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| from_file(path).map(|(permit, _)| permit)).collect()
}

/// A permit in a file, and its text.
pub(crate) fn from_file(path: &Path) -> Result<(Claimed, String)> {
    let text = key::read(path)?;
    Ok((read(&text).with_context(|| path.display().to_string())?, text))
}

fn read(text: &str) -> Result<Claimed> {
    Ok(Claimed::read(text)?)
}
