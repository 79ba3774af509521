//! The template of `/data`: a small ext4 that `sandboxd` writes to a blank disk at the first boot and then grows online.
//!
//! The device therefore needs no `mke2fs`, the largest parser-and-writer it would otherwise ship. The UUID in here is
//! replaced by a random one on the device.

use crate::command::{output, tool};
use anyhow::Result;
use std::path::Path;

/// Size of the template. Small, because every byte is written once at the first boot; large enough for the journal.
const SIZE: &str = "16M";
/// Fixed names, so that two builds agree. The kernel's online resize needs none of them to be unique.
const UUID: &str = "67616269-6f6e-4000-8000-646174610000";
const HASH_SEED: &str = "67616269-6f6e-4000-8000-736565640000";
/// `resize=`: descriptor blocks are reserved for 1 TiB (in 4 KiB blocks), 512 KiB of the template.
const EXTENDED: &str =
    "quotatype=prjquota,lazy_itable_init=0,lazy_journal_init=0,nodiscard,resize=268435456,root_owner=0:0";
/// Everything named, so that the developer's `mke2fs.conf` has no say. `project` and `quota` make each app's storage a
/// limit of the file system's own; `resize_inode` lets the kernel grow it while mounted, `metadata_csum_seed` rename it.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
    large_file,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed,\
    project,quota";

/// Makes the template at `image`.
///
/// `-i 4096` gives each further 128 MiB group as many inodes as the template's only group has: 4096, one per 32 KiB.
pub fn format(image: &Path) -> Result<()> {
    if image.exists() {
        std::fs::remove_file(image)?;
    }
    output(
        tool("mke2fs")
            .env("E2FSPROGS_FAKE_TIME", "1767225600")
            .env("MKE2FS_DETERMINISTIC", "1")
            .args([
                "-q", "-F", "-t", "ext4", "-T", "ext4", "-b", "4096", "-I", "256", "-i", "4096", "-m", "1",
            ])
            .args(["-J", "size=4", "-L", "gabion-data", "-U", UUID, "-O", FEATURES])
            .args(["-E", &format!("{EXTENDED},hash_seed={HASH_SEED}")])
            .arg(image)
            .arg(SIZE),
    )?;
    Ok(())
}
