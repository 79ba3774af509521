//! What others' ways cost for the same pair, bytes: each by its own tool, from Debian.

use super::length;
use super::pair::Pair;
use anyhow::{Context, Result};
use image::command::{output, tool};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

const BLOCK: usize = 4096;

/// The best of three patches for each file that changed; a new file as zstd packs it.
pub(super) fn floor(pair: &Pair, dir: &Path) -> Result<u64> {
    let mut files = Vec::new();
    list(&pair.new_root, &mut files)?;
    let (mut sum, mut seen) = (0, HashSet::new());
    for new in files {
        let bytes = fs::read(&new)?;
        let old = pair.old_root.join(new.strip_prefix(&pair.new_root)?);
        // Names of one file count once.
        if fs::read(&old).ok().as_ref() == Some(&bytes) || !seen.insert(bytes) {
            continue;
        }
        let to = dir.join("file.patch");
        let mut best = u64::MAX;
        let mut consider = |command: &mut std::process::Command| -> Result<()> {
            output(command)?;
            best = best.min(length(&to)?);
            fs::remove_file(&to)?;
            Ok(())
        };
        let packing = ["-q", "-f", "--ultra", "-22", "--long=27"];
        if old.exists() {
            consider(tool("bsdiff").args([&old, &new, &to]))?;
            consider(tool("xdelta3").args(["-e", "-9", "-f", "-s"]).args([&old, &new, &to]))?;
            let from = format!("--patch-from={}", old.display());
            consider(tool("zstd").args(packing).arg(from).arg(&new).arg("-o").arg(&to))?;
        } else {
            consider(tool("zstd").args(packing).arg(&new).arg("-o").arg(&to))?;
        }
        sum += best;
    }
    Ok(sum)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        match entry.file_type()? {
            kind if kind.is_dir() => list(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

/// casync: the new image's index, and the chunks that the old one's store has not.
pub(super) fn casync(pair: &Pair, dir: &Path) -> Result<u64> {
    let mut stores = Vec::new();
    for (name, image) in [("old", &pair.old), ("new", &pair.new)] {
        let (store, index) = (dir.join(format!("{name}.castr")), dir.join(format!("{name}.caibx")));
        output(tool("casync").arg("make").arg(format!("--store={}", store.display())).args([&index, image]))?;
        let mut chunks = Vec::new();
        list(&store, &mut chunks)?;
        stores.push((store, chunks));
    }
    let [(old, _), (store, chunks)] = stores.as_slice() else { anyhow::bail!("two stores were made") };
    let mut sum = length(&dir.join("new.caibx"))?;
    for chunk in chunks {
        if !old.join(chunk.strip_prefix(store)?).exists() {
            sum += length(chunk)?;
        }
    }
    Ok(sum)
}

/// zchunk, as its own tool counts it.
pub(super) fn zchunk(pair: &Pair, dir: &Path) -> Result<u64> {
    let mut files = Vec::new();
    for (name, image) in [("old", &pair.old), ("new", &pair.new)] {
        let to = dir.join(format!("{name}.zck"));
        output(tool("zck").arg("-o").args([&to, image]))?;
        files.push(to);
    }
    let said = output(tool("zck_delta_size").args(&files))?;
    let words = said.split_whitespace().skip_while(|word| *word != "download");
    let bytes = words.skip(1).find_map(|word| word.parse().ok());
    bytes.with_context(|| format!("zck_delta_size counted nothing:\n{said}"))
}

/// RAUC's adaptive method `block-hash-index`: 32 bytes for each block of the new image, and every block that the old one has
/// not. Its bundle is a packed file system; here all those blocks are packed as one, which is better than it can be.
pub(super) fn rauc(pair: &Pair) -> Result<u64> {
    let (old, new) = (fs::read(&pair.old)?, fs::read(&pair.new)?);
    let mut there: HashSet<&[u8]> = old.chunks(BLOCK).collect();
    let index = new.chunks(BLOCK).count() * 32;
    let missing: Vec<u8> = new.chunks(BLOCK).filter(|block| there.insert(block)).flatten().copied().collect();
    let file = pair.scratch.join("missing");
    fs::write(&file, missing)?;
    let packed = pair.scratch.join("missing.zst");
    output(tool("zstd").args(["-q", "-f", "-19"]).arg(&file).arg("-o").arg(&packed))?;
    Ok(index as u64 + length(&packed)?)
}
