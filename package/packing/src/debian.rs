//! Debian packages as a source of unmodified programs.
//!
//! A package is downloaded once, by the machine's own `apt` and so checked against the archive's signature, and kept
//! by name. A kept package is used as it is: the same tree packs the same apps until somebody asks for newer ones.

use crate::command::{output, tool};
use crate::stamp::sorted_entries;
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is fetched and built once is kept there: `GABION_CACHE`, or else `~/.cache/gabion`.
///
/// # Errors
/// Neither that nor `HOME` is set.
pub fn cache() -> Result<PathBuf> {
    let cache = match std::env::var_os("GABION_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => {
            let home = std::env::var_os("HOME").context("HOME is not set; set it or GABION_CACHE")?;
            PathBuf::from(home).join(".cache/gabion")
        }
    };
    Ok(std::path::absolute(cache)?)
}

/// Where packages are kept below a cache.
pub fn place(cache: &Path) -> PathBuf {
    cache.join("debs")
}

/// Name, version and architecture of what is kept in `cache` of `packages`.
///
/// # Errors
/// One of them is not there.
pub fn versions(cache: &Path, packages: &[String]) -> Result<Vec<(String, String, String)>> {
    let version = |package: &String| {
        let deb = kept(cache, package).with_context(|| format!("{package} is not in {}", cache.display()))?;
        let stem = deb.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut words = stem.splitn(3, '_').skip(1).map(str::to_owned);
        let (version, architecture) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // apt writes the colon of an epoch as URLs do, which is what package URLs want, too.
        Ok((package.clone(), version, architecture))
    };
    packages.iter().map(version).collect()
}

/// Forgets every package kept in `cache`, so that the next packing downloads what is current.
pub fn forget(cache: &Path) -> Result<()> {
    if cache.exists() {
        fs::remove_dir_all(cache).with_context(|| format!("removing {}", cache.display()))?;
    }
    Ok(())
}

/// The files of `packages`, one directory each, in the order of their names in the list. They are kept in `cache`.
pub fn extracted(cache: &Path, packages: &[String]) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(cache).with_context(|| format!("making {}", cache.display()))?;
    let missing = packages.iter().filter(|package| kept(cache, package).is_none()).collect::<Vec<_>>();
    if !missing.is_empty() {
        download(cache, &missing)?;
    }
    packages
        .iter()
        .map(|package| {
            let deb = kept(cache, package).with_context(|| format!("apt-get did not fetch {package}"))?;
            extract(&deb)
        })
        .collect()
}

/// What is fetched lies beside until it is whole: others may look for it meanwhile, or fetch the same.
fn download(cache: &Path, packages: &[&String]) -> Result<()> {
    let names = packages.iter().map(|name| name.as_str()).collect::<Vec<_>>();
    crate::say("pack", format_args!("downloading {} from Debian", names.join(", ")));
    let place = tempfile::tempdir_in(cache).with_context(|| format!("a folder in {}", cache.display()))?;
    let fetch = || {
        // The sandbox user could not write into a private cache; apt falls back to this anyway, with a warning. What this machine
        // has installed, perhaps from elsewhere, does not count.
        output(
            tool("apt-get")
                .current_dir(place.path())
                .args([
                    "-q",
                    "-o",
                    "APT::Sandbox::User=root",
                    "-o",
                    "Dir::State::status=/dev/null",
                    "download",
                ])
                .args(&names),
        )
    };
    fetch().context("the package lists may be old: `apt-get update` renews them")?;
    for deb in sorted_entries(place.path())? {
        let to = cache.join(deb.file_name().context("a file without a name")?);
        fs::rename(&deb, &to).with_context(|| format!("keeping {}", to.display()))?;
    }
    Ok(())
}

/// The kept file of `package`. Its version is in its name, after an underscore, which no package name has.
fn kept(cache: &Path, package: &str) -> Option<PathBuf> {
    let prefix = format!("{package}_");
    sorted_entries(cache).ok()?.into_iter().rfind(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(".deb")
    })
}

fn extract(deb: &Path) -> Result<PathBuf> {
    let directory = deb.with_extension("files");
    if !directory.exists() {
        let unpacking = || format!("unpacking {}", deb.display());
        // Unpacked beside and then renamed: a half-unpacked package must not look like a whole one.
        let place = tempfile::tempdir_in(deb.parent().with_context(unpacking)?).with_context(unpacking)?;
        let partial = place.path().join("files");
        output(tool("dpkg-deb").arg("-x").arg(deb).arg(&partial))?;
        match fs::rename(&partial, &directory) {
            // Somebody else was first, with the same.
            Err(error) if is_there(&error) && directory.is_dir() => {}
            renamed => renamed.with_context(unpacking)?,
        }
    }
    Ok(directory)
}

fn is_there(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists)
}

/// The file or directory at the absolute path `path` in one of `packages`, links followed as if each package was `/`.
pub fn find(packages: &[PathBuf], path: &str) -> Option<PathBuf> {
    let mut path = path.to_owned();
    // The kernel's own limit on links in a row.
    for _ in 0..40 {
        let relative = path.trim_start_matches('/').to_owned();
        let found =
            packages.iter().map(|root| root.join(&relative)).find(|at| at.symlink_metadata().is_ok())?;
        match fs::read_link(&found) {
            Ok(target) => {
                let parent = Path::new("/").join(&relative);
                path = parent.parent()?.join(target).to_str()?.to_owned();
            }
            Err(_) => return Some(found),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn package_that_many_unpack_at_once_is_there_for_each() {
        let place = tempfile::tempdir().unwrap();
        let (source, deb) = (place.path().join("source"), place.path().join("one_1_all.deb"));
        fs::create_dir_all(source.join("DEBIAN")).unwrap();
        let about =
            "Package: one\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n";
        fs::write(source.join("DEBIAN/control"), about).unwrap();
        fs::write(source.join("file"), "whole").unwrap();
        output(tool("dpkg-deb").arg("-b").arg(&source).arg(&deb)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(fs::read(extract(&deb).unwrap().join("file")).unwrap(), b"whole");
                });
            }
        });
        assert_eq!(sorted_entries(place.path()).unwrap().len(), 3, "nothing is left beside");
    }

    #[test]
    fn find_follows_links_inside_the_packages_only() {
        let place = tempfile::tempdir().unwrap();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        fs::create_dir_all(one.join("lib64")).unwrap();
        fs::create_dir_all(two.join("lib")).unwrap();
        symlink("/lib/ld.so", one.join("lib64/ld.so")).unwrap();
        fs::write(two.join("lib/ld.so"), "").unwrap();
        let packages = [one, two.clone()];
        assert_eq!(find(&packages, "/lib64/ld.so"), Some(two.join("lib/ld.so")));
        assert_eq!(find(&packages, "/bin/sh"), None);
    }
}
