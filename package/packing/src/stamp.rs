//! Skipping what has not changed: a hash over the contents of the inputs, kept beside the output.
//!
//! Contents, not times: a checkout, a copied tree or a touched file rebuilds nothing. The hash is for economy only
//! (it is not cryptographic and may change with the toolchain); nothing is trusted because of a stamp.

use anyhow::{Context, Result};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What an output depends on.
#[derive(Default)]
pub struct Stamp(DefaultHasher);

impl Stamp {
    /// A stamp for a way of building; a changed `recipe` rebuilds everything that was built by the old one.
    pub fn new(recipe: &str) -> Self {
        let mut stamp = Self::default();
        recipe.hash(&mut stamp.0);
        stamp
    }

    /// Adds a value.
    pub fn text(mut self, text: impl AsRef<str>) -> Self {
        text.as_ref().hash(&mut self.0);
        self
    }

    /// Adds a file, or a directory with all below it: names, modes, link targets, contents.
    pub fn path(mut self, path: &Path) -> Result<Self> {
        self.add(path, Path::new("")).with_context(|| format!("reading {}", path.display()))?;
        Ok(self)
    }

    fn add(&mut self, path: &Path, name: &Path) -> std::io::Result<()> {
        let about = fs::symlink_metadata(path)?;
        name.hash(&mut self.0);
        (about.permissions().mode() & 0o7111).hash(&mut self.0);
        if about.is_symlink() {
            fs::read_link(path)?.hash(&mut self.0);
        } else if about.is_dir() {
            for entry in sorted_entries(path)? {
                self.add(&entry, &name.join(entry.file_name().unwrap_or_default()))?;
            }
        } else if about.is_file() {
            fs::read(path)?.hash(&mut self.0);
        }
        Ok(())
    }

    /// Whether `output` was made from exactly this.
    pub fn fits(&self, output: &Path) -> bool {
        output.exists() && fs::read_to_string(beside(output)).is_ok_and(|kept| kept == self.digest())
    }

    /// Records that `output` was made from this. Call it last.
    pub fn keep(&self, output: &Path) -> Result<()> {
        fs::write(beside(output), self.digest())
            .with_context(|| format!("writing the stamp of {}", output.display()))
    }

    fn digest(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

/// The entries of a directory in the order of their names.
pub fn sorted_entries(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut entries =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

fn beside(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".stamp");
    output.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_fits_until_a_file_changes() {
        let place = tempfile::tempdir().unwrap();
        let (input, output) = (place.path().join("input"), place.path().join("output"));
        fs::create_dir(&input).unwrap();
        fs::write(input.join("a"), "one").unwrap();
        fs::write(&output, "made").unwrap();
        let stamp = || Stamp::new("test").path(&input).unwrap();
        assert!(!stamp().fits(&output));
        stamp().keep(&output).unwrap();
        assert!(stamp().fits(&output));
        fs::write(input.join("a"), "two").unwrap();
        assert!(!stamp().fits(&output));
    }
}
