//! dm-verity: the hash tree appended to an image, and the kernel's words for it.
//!
//! The tree (with cryptsetup's superblock in front, so that `veritysetup` can check it) starts at the first block
//! after the data, in the same file and on the same device. The salt is fixed: it is public in any case, and a random
//! one would make two builds differ. What makes an image trusted is the root hash, which the kernel gets from outside.

use crate::command::{output, tool};
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// Data and hash block size, bytes; EROFS and the page cache use the same.
pub const BLOCK: u64 = 4096;
/// ASCII "gabion" and zeros, 32 bytes.
const SALT: &str = "676162696f6e0000000000000000000000000000000000000000000000000000";

/// An image with its hash tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The file: data, then superblock and hash tree.
    pub image: PathBuf,
    /// Length of the data in blocks.
    pub data_blocks: u64,
    /// First block of the tree itself, counted from the file's start.
    pub hash_start_block: u64,
    /// Hex; whoever trusts this trusts the data.
    pub root_hash: String,
    /// Hex.
    pub salt: String,
}

/// Appends a hash tree to `image`. `uuid` goes into the superblock and must not vary between builds.
pub fn append(image: &Path, uuid: &str) -> Result<Verified> {
    let file = OpenOptions::new().write(true).open(image)?;
    // Over a single block there is no tree, only a hash, which is not what devices look for.
    let data_blocks = file.metadata()?.len().div_ceil(BLOCK).max(2);
    file.set_len(data_blocks * BLOCK)?;
    drop(file);
    let said = output(
        tool("veritysetup")
            .args(["format", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096"])
            .arg(format!("--salt={SALT}"))
            .arg(format!("--uuid={uuid}"))
            .arg(format!("--data-blocks={data_blocks}"))
            .arg(format!("--hash-offset={}", data_blocks * BLOCK))
            .args([image, image]),
    )?;
    let root_hash = root_hash(&said).with_context(|| format!("veritysetup named no root hash:\n{said}"))?;
    Ok(Verified {
        image: image.to_path_buf(),
        data_blocks,
        hash_start_block: data_blocks + 1,
        root_hash,
        salt: SALT.to_owned(),
    })
}

fn root_hash(said: &str) -> Option<String> {
    said.lines().find_map(|line| line.strip_prefix("Root hash:")).map(|hash| hash.trim().to_owned())
}

impl Verified {
    /// The image's line in `dm-mod.create=`: device `name` with number `minor`, read-only, over the disk `device`.
    pub fn dm_create(&self, name: &str, minor: u32, device: &str) -> String {
        self.line(name, minor, [device, device], self.hash_start_block)
    }

    /// As [`Verified::dm_create`], with data and hash tree on devices of their own.
    pub fn dm_create_apart(&self, name: &str, minor: u32, data: &str, tree: &str) -> String {
        self.line(name, minor, [data, tree], self.hash_start_block - self.data_blocks)
    }

    fn line(&self, name: &str, minor: u32, [data, tree]: [&str; 2], start: u64) -> String {
        let Self { data_blocks, root_hash, salt, .. } = self;
        let sectors = data_blocks * (BLOCK / 512);
        format!(
            "{name},,{minor},ro,0 {sectors} verity 1 {data} {tree} {BLOCK} {BLOCK} {data_blocks} {start} sha256 {root_hash} {salt}"
        )
    }

    /// The text of `root.verity`, from which `sandboxd` mounts an app that is an image.
    pub fn to_text(&self) -> String {
        let Self { data_blocks, hash_start_block, root_hash, salt, .. } = self;
        format!(
            "data_blocks={data_blocks} hash_start_block={hash_start_block} root_hash={root_hash} salt={salt}\n"
        )
    }

    /// The reverse of [`Verified::to_text`], for an image that was made before.
    pub fn from_text(image: &Path, text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        Some(Self {
            image: image.to_path_buf(),
            data_blocks: field("data_blocks")?.parse().ok()?,
            hash_start_block: field("hash_start_block")?.parse().ok()?,
            root_hash: field("root_hash")?,
            salt: field("salt")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Verified {
        Verified {
            image: "x".into(),
            data_blocks: 2,
            hash_start_block: 3,
            root_hash: "ab".into(),
            salt: "00".into(),
        }
    }

    #[test]
    fn dm_create_counts_in_sectors_and_blocks() {
        assert_eq!(
            example().dm_create("root", 0, "/dev/vda"),
            "root,,0,ro,0 16 verity 1 /dev/vda /dev/vda 4096 4096 2 3 sha256 ab 00"
        );
        assert_eq!(
            example().dm_create_apart("root", 0, "PARTUUID=1", "PARTUUID=2"),
            "root,,0,ro,0 16 verity 1 PARTUUID=1 PARTUUID=2 4096 4096 2 1 sha256 ab 00"
        );
    }

    #[test]
    fn text_round_trips() {
        assert_eq!(Verified::from_text(Path::new("x"), &example().to_text()), Some(example()));
        assert_eq!(Verified::from_text(Path::new("x"), "data_blocks=2"), None);
    }
}
