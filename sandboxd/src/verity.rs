//! An app that comes as an image: loop device, dm-verity, the package checker (`worker.rs`, or the store's word that it
//! was checked), EROFS, in this order, so that the kernel's file-system code never sees a byte that does not hash to the
//! root the (verified) app store names, nor one that the checker did not see.
//!
//! `root.verity` is one line of `key=value` words; it is data of the store, not of the app, and checked all the same.
//! The loop device and the verity device go away with the mount (autoclear, deferred remove).

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use sys::dm::{self, DeviceMapper, Verity};
use sys::loopdev::LoopDevice;
use sys::mount::{FsContext, MountAttr};

use crate::config::Images;
use crate::problem::{BoxError, Step};
use crate::storage::attach_at;

/// The four numbers of `root.verity`, checked.
#[derive(Debug, PartialEq, Eq)]
pub struct VerityText {
    data_blocks: u64,
    hash_start_block: u64,
    root_hash: String,
    salt: String,
}

impl VerityText {
    /// Reads `data_blocks=N hash_start_block=N root_hash=HEX salt=HEX`, each once.
    pub fn parse(text: &str) -> Result<Self, BoxError> {
        let field = |key: &str| {
            let mut found = text.split_whitespace().filter_map(|w| w.strip_prefix(key)?.strip_prefix('='));
            match (found.next(), found.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(BoxError::VerityText(format!("needs exactly one {key}="))),
            }
        };
        let number = |key: &str| {
            let value = field(key)?.parse::<u64>().ok().filter(|n| (1..1 << 32).contains(n));
            value.ok_or_else(|| BoxError::VerityText(format!("{key} is not a number of blocks")))
        };
        let hex = |key: &str, longest: usize| {
            let value = field(key)?;
            let good = value.len() <= longest && value.len() % 2 == 0 && !value.is_empty();
            let digits = value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            (good && digits)
                .then(|| value.to_owned())
                .ok_or_else(|| BoxError::VerityText(format!("{key} is not lower-case hex of fitting length")))
        };
        let text = Self {
            data_blocks: number("data_blocks")?,
            hash_start_block: number("hash_start_block")?,
            root_hash: hex("root_hash", 64)?,
            salt: hex("salt", 128)?,
        };
        if text.root_hash.len() != 64 || text.hash_start_block < text.data_blocks {
            return Err(BoxError::VerityText("root_hash or hash_start_block is out of place".into()));
        }
        Ok(text)
    }

    /// What the kernel is asked for, with the image on `device`.
    pub fn target<'a>(&'a self, device: &'a str) -> Verity<'a> {
        Verity {
            device,
            tree: device,
            data_blocks: self.data_blocks,
            hash_start_block: self.hash_start_block,
            root_hash: &self.root_hash,
            salt: &self.salt,
        }
    }

    /// The same with data and hash tree on devices of their own, the tree from the beginning of its own.
    pub fn target_apart<'a>(&'a self, device: &'a str, tree: &'a str) -> Verity<'a> {
        let hash_start_block = self.hash_start_block - self.data_blocks;
        Verity { tree, hash_start_block, ..self.target(device) }
    }

    /// Length of the data, bytes.
    pub fn data_bytes(&self) -> u64 {
        self.data_blocks.saturating_mul(BLOCK)
    }

    /// Root hash.
    pub fn hash(&self) -> [u8; 32] {
        let digit = |at: usize| {
            self.root_hash.as_bytes().get(at).map_or(0, |b| (*b as char).to_digit(16).unwrap_or(0) as u8)
        };
        std::array::from_fn(|at| digit(2 * at) << 4 | digit(2 * at + 1))
    }
}

/// An app's image as a verity device that nobody has mounted yet. The device goes away with it, or with the mount.
#[derive(Debug)]
pub struct Prepared {
    device: Device,
    root_hash: String,
    blocks: u64,
}

#[derive(Debug)]
enum Device {
    Verity {
        mapper: DeviceMapper,
        name: String,
        number: u64,
    },
    /// For tests; see [`Images::NotVerified`].
    Loop(LoopDevice),
}

/// The root hash of the image in `app`, lower-case hex; `None` when it has none.
pub fn root_hash(app: &Path) -> Option<String> {
    Some(VerityText::parse(&fs::read_to_string(app.join("root.verity")).ok()?).ok()?.root_hash)
}

/// Sets up loop device and dm-verity for the image in `app` (`root.img`, `root.verity`), under a name with `label` in it.
pub fn prepare(app: &Path, label: &str, images: Images) -> Result<Prepared, BoxError> {
    let text =
        fs::read_to_string(app.join("root.verity")).map_err(|e| BoxError::VerityText(e.to_string()))?;
    let text = VerityText::parse(&text)?;
    let image = File::open(app.join("root.img")).map_err(|e| BoxError::Root(app.join("root.img"), e))?;
    let loop_device = LoopDevice::attach(image.as_fd()).map_err(|e| BoxError::step(Step::Verity, e))?;
    let device = match images {
        Images::Verified => {
            verity(&text, &loop_device, label).map_err(|e| BoxError::step(Step::Verity, e))?
        }
        Images::NotVerified => Device::Loop(loop_device),
    };
    Ok(Prepared { device, root_hash: text.root_hash, blocks: text.data_blocks })
}

fn verity(text: &VerityText, image: &LoopDevice, label: &str) -> io::Result<Device> {
    let mapper = DeviceMapper::open()?;
    // One that a sandboxd before us left, and that a worker may still have open, has another name.
    let name = format!("app-{label}-{}", std::process::id());
    let number = mapper.create_verity(&name, &text.target(image.path().to_str().unwrap_or_default()))?;
    Ok(Device::Verity { mapper, name, number })
}

impl Prepared {
    /// Whether the app store has the checker's word on exactly this image.
    pub fn was_checked(&self, app: &Path) -> bool {
        let word = crate::store::checked(app);
        word.is_some_and(|word| word == package::kept(&self.root_hash).as_bytes())
    }

    /// The image's bytes, each checked against the root hash as it is read, and how many they are.
    pub fn open(&self) -> io::Result<(File, u64)> {
        Ok((File::open(self.path())?, self.blocks.saturating_mul(BLOCK)))
    }

    /// Mounts it read-only at `at`.
    pub fn mount(self, at: &Path) -> Result<(), BoxError> {
        fs::create_dir_all(at).and_then(|()| self.mount_at(at)).map_err(|e| BoxError::step(Step::Image, e))
    }

    fn mount_at(&self, at: &Path) -> io::Result<()> {
        let context = FsContext::open(c"erofs")?;
        context.string("source", &self.path())?.flag("ro")?;
        let mount = context.mount(MountAttr::RDONLY.with(MountAttr::NOSUID).with(MountAttr::NODEV))?;
        attach_at(mount.as_fd(), at)
    }

    fn path(&self) -> String {
        match &self.device {
            Device::Verity { number, .. } => dm::node(*number),
            Device::Loop(device) => device.path().to_str().unwrap_or_default().to_owned(),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Self::Verity { mapper, name, .. } = self {
            // Deferred: it goes with its last user, which is the mount, or nobody. What can fail here only leaves it behind.
            let _ = mapper.remove(name);
        }
    }
}

/// Bytes of a data block.
const BLOCK: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hash: &str) -> String {
        format!("data_blocks=10 hash_start_block=10 root_hash={hash} salt=00ff\n")
    }

    #[test]
    fn verity_text_is_read() {
        let text = VerityText::parse(&line(&"ab".repeat(32))).unwrap();
        assert_eq!((text.data_blocks, text.hash_start_block, text.salt.as_str()), (10, 10, "00ff"));
    }

    #[test]
    fn verity_text_that_could_reach_the_table_is_refused() {
        let good = line(&"ab".repeat(32));
        for bad in [
            line("ab"),
            line(&"AB".repeat(32)),
            line(&"zz".repeat(32)),
            good.replace("salt=00ff", "salt=-"),
            good.replace("salt=00ff", "salt=0"),
            good.replace("data_blocks=10", "data_blocks=0"),
            good.replace("data_blocks=10", "data_blocks=99"),
            good.replace("data_blocks=10", "data_blocks=10 data_blocks=11"),
            good.replace("hash_start_block=10 ", ""),
            String::new(),
        ] {
            assert!(VerityText::parse(&bad).is_err(), "{bad}");
        }
    }
}
