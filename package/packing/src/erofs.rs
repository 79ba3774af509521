//! EROFS images: compressed, read-only, and the same bytes from the same files.

use crate::command::{output, tool};
use anyhow::Result;
use std::path::Path;

/// lz4hc decompresses at memory speed on small boards; level 12 costs time only here.
const COMPRESSION: &str = "-zlz4hc,12";
/// How much is compressed as one, bytes. Of the root, where flash is counted: a seventh less than by blocks of 4 KiB.
const WIDE: &str = "-C262144";

/// Makes `image` from all that is below `directory`. `uuid` names the file system and must not vary between builds.
pub fn format(directory: &Path, uuid: &str, image: &Path) -> Result<()> {
    format_as(directory, uuid, image, &[])
}

/// The same, as small as it gets. Not for apps: what reads their images strictly knows blocks of 4 KiB alone.
pub fn format_small(directory: &Path, uuid: &str, image: &Path) -> Result<()> {
    format_as(directory, uuid, image, &[WIDE])
}

fn format_as(directory: &Path, uuid: &str, image: &Path, more: &[&str]) -> Result<()> {
    if image.exists() {
        std::fs::remove_file(image)?;
    }
    output(
        tool("mkfs.erofs")
            .args(["--quiet", COMPRESSION, "-T0", "-x-1", "--all-root", "-U", uuid])
            .args(more)
            .arg(image)
            .arg(directory),
    )?;
    Ok(())
}
