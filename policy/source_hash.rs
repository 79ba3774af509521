//! A hash over a crate's sources, for build scripts: by it something that other sources made is told from ours. It guards
//! against age, not against people.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Sets `variable` for the crate's code to the hash of all below its `src`, and has cargo look whether they changed.
pub(crate) fn set(variable: &str) -> io::Result<()> {
    println!("cargo::rerun-if-changed=src");
    let sources = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("src");
    let mut files = Vec::new();
    collect(&sources, &mut files)?;
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file.strip_prefix(&sources).unwrap_or(&file).to_string_lossy().into_owned();
        for byte in name.bytes().chain([0]).chain(fs::read(&file)?).chain([0]) {
            // FNV-1a, 64 bits.
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env={variable}={hash:016x}");
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
