//! The app store as `sandboxd` sees it: a directory per app, read-only and verified.
//!
//! Names and file sizes are bounded before anything is read. The manifest's text is fetched here and read elsewhere
//! (see `worker.rs`), unless the store has its plan already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{attestfiles, netfiles, updatefiles};

/// More apps than one device has; `init` keeps at most 256 boxes.
pub const APPS_MAX: usize = 200;

/// What the image's maker may have put beside the apps.
const BESIDE: [&str; 4] = [netfiles::CONFIG, attestfiles::SERVICE, updatefiles::SETTINGS, updatefiles::TRUST];

/// The names of the app directories in `dir`, sorted, and those that can not be an app's, escaped.
pub fn list(dir: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)?.take(APPS_MAX * 2) {
        let entry = entry?;
        let name = entry.file_name();
        if BESIDE.iter().any(|beside| name == *beside) {
            continue;
        }
        match name.to_str().filter(|n| plain(n) && entry.file_type().is_ok_and(|t| t.is_dir())) {
            // `mkfs` makes this one in some file systems.
            Some("lost+found") => {}
            Some(name) if good.len() < APPS_MAX => good.push(name.to_owned()),
            _ => bad.push(crate::line::escape(name.as_encoded_bytes())),
        }
    }
    good.sort();
    bad.sort();
    Ok((good, bad))
}

/// What an app id may be made of, so that it is one name below the store. `policy` decides whether it is one.
pub fn plain(name: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b'+');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(allowed)
}

/// The manifest's file in the app directory `app`.
pub fn manifest_file(app: &Path) -> io::Result<File> {
    open(&app.join("manifest.toml"))
}

/// The manifest in the app directory `app`. The error is a message for people.
pub fn manifest(app: &Path) -> Result<Vec<u8>, String> {
    let file = manifest_file(app).map_err(|e| format!("can not open its manifest.toml: {e}"))?;
    let text = read(file, policy::TEXT_MAX).map_err(|e| format!("can not read its manifest.toml: {e}"))?;
    if text.len() > policy::TEXT_MAX {
        return Err(format!("its manifest.toml is longer than {} bytes", policy::TEXT_MAX));
    }
    Ok(text)
}

/// The encoded plan that was made with the store from the manifest which is in it now. For the verified store alone:
/// beside a manifest that its author brought it would be the author's ([decision 9], not to be believed).
///
/// [decision 9]: ../../docs/decisions/0009-plans-are-made-with-the-store.md
pub fn plan(app: &Path) -> Option<Vec<u8>> {
    let kept = read(open(&app.join("manifest.plan")).ok()?, policy::KEPT_MAX).ok()?;
    Some(policy::kept_plan(&kept, &manifest(app).ok()?)?.to_vec())
}

/// The checker's word on the app's image, if there is one. For the verified store alone, as [`plan`].
pub fn checked(app: &Path) -> Option<Vec<u8>> {
    read(open(&app.join("root.checked")).ok()?, package::KEPT_MAX).ok()
}

fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A file's content, cut one byte after `limit`.
fn read(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_sorts_apps_from_what_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["com.example.b", "com.example.a", ".hidden", "Bad", "x\u{1b}[2J"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("file"), "").unwrap();
        BESIDE.iter().for_each(|beside| fs::write(dir.path().join(beside), "").unwrap());
        let (good, bad) = list(dir.path()).unwrap();
        assert_eq!(good, ["com.example.a", "com.example.b"]);
        assert_eq!(bad, [".hidden", "Bad", "file", "x\\x1b[2J"]);
    }

    #[test]
    fn manifest_too_long_or_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(manifest(dir.path()).unwrap_err().contains("can not open"));
        fs::write(dir.path().join("manifest.toml"), vec![b'#'; policy::TEXT_MAX + 1]).unwrap();
        assert!(manifest(dir.path()).unwrap_err().contains("longer"));
        fs::remove_file(dir.path().join("manifest.toml")).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", dir.path().join("manifest.toml")).unwrap();
        assert!(manifest(dir.path()).is_err());
    }

    #[test]
    fn plan_counts_for_the_manifest_beside_it_only() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";
        fs::write(dir.path().join("manifest.toml"), text).unwrap();
        assert_eq!(plan(dir.path()), None);
        fs::write(dir.path().join("manifest.plan"), policy::keep(text).unwrap()).unwrap();
        let found = plan(dir.path()).unwrap();
        assert!(policy::Plan::decode(&found, &policy::Board::default()).is_ok());
        fs::write(dir.path().join("manifest.toml"), format!("{text}# changed\n")).unwrap();
        assert_eq!(plan(dir.path()), None);
    }
}
