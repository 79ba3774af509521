//! The shared libraries that the programs in a box's root need, and those that these need in turn.

use crate::command::{output, tool};
use crate::debian;
use crate::stage;
use crate::stamp::sorted_entries;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where Debian keeps libraries, in the dynamic linker's order, and where they go in the box: the first.
const DIRECTORIES: [&str; 4] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];

/// Completes the root of a box with libraries and dynamic linker out of `packages`.
///
/// Every ELF file in `root` is looked at, so plug-ins that were copied on purpose bring their libraries too.
/// All that is missing is reported at once.
pub fn complete(root: &Path, packages: &[PathBuf]) -> Result<()> {
    let mut waiting = Vec::new();
    elf_files(root, &mut waiting)?;
    let mut missing = BTreeMap::new();
    while let Some(file) = waiting.pop() {
        for library in needed(&file)? {
            let to = root.join(library.trim_start_matches('/'));
            if to.symlink_metadata().is_ok() || missing.contains_key(&library) {
                continue;
            }
            match candidates(&library).iter().find_map(|path| debian::find(packages, path)) {
                Some(found) => {
                    stage::copy(&found, &to)?;
                    waiting.push(to);
                }
                None => {
                    let by = file.strip_prefix(root).unwrap_or(&file).display().to_string();
                    missing.insert(library, by);
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list =
        missing.iter().map(|(library, by)| format!("\n  {library}, needed by /{by}")).collect::<String>();
    bail!(
        "these libraries are in none of the listed packages:{list}\n\
         add `package NAME` for the package that has them (packages.debian.org searches contents)"
    )
}

/// Absolute paths in the box of what `file` needs: its dynamic linker and its libraries.
fn needed(file: &Path) -> Result<Vec<String>> {
    let said = output(tool("readelf").args(["-W", "-l", "-d"]).arg(file))?;
    Ok(said.lines().filter_map(named).collect())
}

fn named(line: &str) -> Option<String> {
    let bracketed = |after: &str| {
        let (_, rest) = line.split_once(after)?;
        Some(rest.split_once(']')?.0.trim().to_owned())
    };
    let library = || bracketed("Shared library: [").map(|name| format!("{}/{name}", DIRECTORIES[0]));
    bracketed("[Requesting program interpreter: ").or_else(library)
}

/// Where `library` may lie in a package.
fn candidates(library: &str) -> Vec<String> {
    let name = library.rsplit('/').next().unwrap_or_default();
    let elsewhere = DIRECTORIES.iter().map(|directory| format!("{directory}/{name}"));
    std::iter::once(library.to_owned()).chain(elsewhere).collect()
}

fn elf_files(path: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let about = path.symlink_metadata().with_context(|| format!("reading {}", path.display()))?;
    if about.is_dir() {
        for entry in sorted_entries(path)? {
            elf_files(&entry, found)?;
        }
    } else if about.is_file() {
        let mut magic = [0; 4];
        if File::open(path)?.read_exact(&mut magic).is_ok() && magic == *b"\x7fELF" {
            found.push(path.to_path_buf());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readelf_lines_name_the_linker_and_the_libraries() {
        let linker = "      [Requesting program interpreter: /lib64/ld-linux-x86-64.so.2]";
        assert_eq!(named(linker).as_deref(), Some("/lib64/ld-linux-x86-64.so.2"));
        let library = " 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]";
        assert_eq!(named(library).as_deref(), Some("/lib/x86_64-linux-gnu/libc.so.6"));
        assert_eq!(named("Dynamic section at offset 0x3dd0"), None);
    }

    #[test]
    fn missing_library_is_named_with_who_needs_it() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("bin/cat");
        stage::copy(&Path::new("/bin/cat").canonicalize().unwrap(), &program).unwrap();
        let error = complete(place.path(), &[]).unwrap_err().to_string();
        assert!(error.contains("libc.so.6, needed by /bin/cat"), "{error}");
    }
}
