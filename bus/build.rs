//! Makes the modules of `interfaces` from the files in `interfaces/`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("interfaces");
    println!("cargo::rerun-if-changed={}", folder.display());
    let files = interface_files(&folder)?;
    let texts = files.iter().map(fs::read_to_string).collect::<io::Result<Vec<_>>>()?;
    let made = bus_codegen::modules(&texts);
    let made = made.map_err(|(n, error)| format!("{}: {error}", files[n].display()))?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("interfaces.rs"), made)?;
    Ok(())
}

/// Sorted, so that the same files make the same text.
fn interface_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "varlink")).collect();
    files.sort();
    Ok(files)
}
