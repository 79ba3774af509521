//! Payloads of an image: a full one, and a patch for each of the last releases whose image is here. Each is applied once before
//! anybody gets it, by the code that devices have.
//!
//! Blobs lie in the folder's `targets/blobs`, images in `images`, by their SHA-256.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use delta::make::Payload;
use service_api::release::{Blob, OFFERS_MAX, Offer, Release, Role};
use service_api::{Few, Version};
use tuf::hex;

/// Releases before, newest first.
pub(super) struct Olds {
    releases: Vec<Release>,
    most: usize,
}

impl Olds {
    /// The releases below a folder of targets, against so many of which patches are made.
    pub(super) fn of(folder: &Path, below: &str, most: usize) -> Result<Self> {
        let place = folder.join("targets").join(below);
        let mut releases = Vec::new();
        let entries = match fs::read_dir(&place) {
            Ok(entries) => {
                entries.collect::<Result<Vec<_>, _>>().with_context(|| place.display().to_string())?
            }
            // The first release.
            Err(_) => Vec::new(),
        };
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            // DIGEST.NAME, as the repository has it.
            let Some((_, name)) = name.split_once('.').filter(|(_, name)| name.ends_with(".json")) else {
                continue;
            };
            let bytes = fs::read(entry.path()).with_context(|| entry.path().display().to_string())?;
            releases.push(Release::read(&bytes, &format!("{below}/{name}"))?);
        }
        releases.sort_by(|a, b| newer(&b.version, &a.version));
        Ok(Self { releases, most })
    }
}

/// By numbers, part by part.
fn newer(a: &Version, b: &Version) -> Ordering {
    let parts = |version: &Version| -> Vec<u64> {
        version.as_str().split('.').map(|part| part.parse().unwrap_or(u64::MAX)).collect()
    };
    parts(a).cmp(&parts(b))
}

/// The payloads of an image.
pub(super) fn offers(folder: &Path, role: Role, new: &[u8], olds: &Olds) -> Result<Few<Offer, OFFERS_MAX>> {
    let full = delta::make::full(new, &mut |_, _, _| ())?;
    check(&full, &[], new)?;
    let mut offers = vec![keep_payload(folder, None, &full)?];
    eprintln!("{role:?}: {} bytes, all of it {}", new.len(), full.length());
    let mut seen = vec![blob(new).sha256];
    for release in &olds.releases {
        if offers.len() > olds.most {
            break;
        }
        let Some(old) = release.image(role).map(|image| &image.content) else { continue };
        if seen.contains(&old.sha256) {
            continue;
        }
        seen.push(old.sha256.clone());
        let path = folder.join("images").join(old.sha256.as_str());
        let Ok(bytes) = fs::read(&path) else {
            eprintln!("{role:?}: no patch from {}, whose image is not here", release.version);
            continue;
        };
        ensure!(blob(&bytes) == *old, "{} is not the image it is called", path.display());
        let patch = delta::make::patch(&bytes, new, &mut |_, _, _| ())?;
        check(&patch, &bytes, new)?;
        eprintln!("{role:?}: from {} {} bytes", release.version, patch.length());
        if patch.length() < full.length() {
            offers.push(keep_payload(folder, Some(old.clone()), &patch)?);
        }
    }
    Few::new(offers).context("there are too many payloads")
}

fn keep_payload(folder: &Path, old: Option<Blob>, payload: &Payload) -> Result<Offer> {
    Ok(Offer { old, index: keep(folder, &payload.index)?, body: keep(folder, &payload.body)? })
}

/// Keeps a blob where devices fetch it.
pub(super) fn keep(folder: &Path, bytes: &[u8]) -> Result<Blob> {
    keep_in(&folder.join("targets/blobs"), bytes)
}

/// Keeps an image, for patches from it.
pub(super) fn keep_image(folder: &Path, bytes: &[u8]) -> Result<Blob> {
    keep_in(&folder.join("images"), bytes)
}

fn keep_in(folder: &Path, bytes: &[u8]) -> Result<Blob> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let blob = blob(bytes);
    let (path, new) = (folder.join(blob.sha256.as_str()), folder.join(".new"));
    if !path.exists() {
        fs::write(&new, bytes).with_context(|| new.display().to_string())?;
        fs::rename(&new, &path).with_context(|| path.display().to_string())?;
    }
    Ok(blob)
}

fn blob(bytes: &[u8]) -> Blob {
    let digest = hex::encode(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    // What is written so is one.
    let sha256 = digest.parse().unwrap_or_else(|_| unreachable!("a SHA-256 in hexadecimal"));
    Blob { sha256, length: bytes.len() as u64 }
}

/// The payload makes the image.
fn check(payload: &Payload, old: &[u8], new: &[u8]) -> Result<()> {
    ensure!(payload.apply(old, new.len())? == new, "the payload yields another image");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_before_are_ordered_by_their_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert_eq!(newer(&version("1.10"), &version("1.9")), Ordering::Greater);
        assert_eq!(newer(&version("1.9.9"), &version("2.0")), Ordering::Less);
    }
}
