//! The kernel: built once per configuration by `image/kernel/build.sh`, which also says why it is slow.

use crate::paths::Tree;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A built kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What QEMU and the boot loader take.
    pub bzimage: PathBuf,
    /// The whole `.config` it was built from.
    pub config: PathBuf,
}

/// The kernel of this tree's configuration, from the cache or built now (its progress goes to the terminal).
pub fn kernel(tree: &Tree) -> Result<Kernel> {
    let script = tree.root.join("image/kernel/build.sh");
    let done = Command::new(&script)
        .env("GABION_CACHE", &tree.cache)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    let said = String::from_utf8_lossy(&done.stdout);
    match said.lines().last() {
        Some(directory) if done.status.success() => {
            let directory = PathBuf::from(directory);
            Ok(Kernel { bzimage: directory.join("bzImage"), config: directory.join("config") })
        }
        _ => bail!("the kernel could not be built; see the messages above"),
    }
}
