//! Payloads of images: what devices download. `delta` makes them; this reads and writes the files, and applies each payload
//! once before anybody gets it.

use crate::say;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the payload for `new`, from `old` or from nothing: the files `to.index` and `to.body`.
pub fn make(old: Option<&Path>, new: &Path, to: &Path) -> Result<(PathBuf, PathBuf)> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let before = old.map(read).transpose()?;
    let after = read(new)?;
    let mut last = String::new();
    let mut progress = |what: &str, done: u64, of: u64| {
        let line = match of {
            1 => format!("{what}…"),
            _ => format!("{what}: {} %", done * 10 / of.max(1) * 10),
        };
        if line != last {
            say("payload", &line);
            last = line;
        }
    };
    let payload = match &before {
        Some(before) => delta::make::patch(before, &after, &mut progress),
        None => delta::make::full(&after, &mut progress),
    }
    .with_context(|| format!("making a payload of {}", new.display()))?;
    let made = payload.apply(before.as_deref().unwrap_or_default(), after.len())?;
    ensure!(made == after, "the payload of {} yields another image", new.display());
    let (index, body) = (ending(to, ".index"), ending(to, ".body"));
    fs::write(&index, &payload.index).with_context(|| format!("writing {}", index.display()))?;
    fs::write(&body, &payload.body).with_context(|| format!("writing {}", body.display()))?;
    say("payload", format_args!("{} + {} bytes", payload.index.len(), payload.body.len()));
    Ok((index, body))
}

/// A version has dots of its own, which are no extension.
fn ending(to: &Path, ending: &str) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use delta::Index;

    #[test]
    fn payload_is_two_files_and_one_of_an_absent_image_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new, to) =
            (folder.path().join("old"), folder.path().join("new"), folder.path().join("1.2"));
        fs::write(&old, [7; 10_000]).unwrap();
        fs::write(&new, [7; 12_000]).unwrap();
        let (index, body) = make(Some(&old), &new, &to).unwrap();
        assert!(index.ends_with("1.2.index") && body.ends_with("1.2.body"));
        assert_eq!(Index::read(&fs::read(index).unwrap()).unwrap().new_image().length, 12_000);
        let error = make(None, &folder.path().join("absent"), &to).unwrap_err();
        assert!(format!("{error:#}").contains("absent"), "{error:#}");
    }
}
