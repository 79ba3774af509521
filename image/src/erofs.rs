//! EROFS images: compressed, read-only, and the same bytes from the same files.

use crate::command::{output, tool};
use anyhow::Result;
use std::path::Path;

/// lz4hc decompresses at memory speed on small boards; level 12 costs time only here.
const COMPRESSION: &str = "-zlz4hc,12";

/// Makes `image` from all that is below `directory`. `uuid` names the file system and must not vary between builds.
pub fn format(directory: &Path, uuid: &str, image: &Path) -> Result<()> {
    if image.exists() {
        std::fs::remove_file(image)?;
    }
    output(
        tool("mkfs.erofs")
            .args(["--quiet", COMPRESSION, "-T0", "-x-1", "--all-root", "-U", uuid])
            .arg(image)
            .arg(directory),
    )?;
    Ok(())
}
