//! Where things lie in the device's programs: functions that run together beside each other, relocations packed.
//!
//! A static program is two thirds C library, most of which never runs but lies between what does. The kernel maps and
//! reads files by neighbourhood, so the order alone decides how much of a program is in memory, and how much is
//! hashed and decompressed before its `main`. Both options are LLD's, which comes with Rust's own toolchains; with
//! another linker the programs are as correct, only larger in memory, and the build says so.

use crate::command::{output, tool};
use crate::paths::Tree;
use anyhow::{Context, Result};
use std::path::Path;

/// The list, below the tree's root: cargo runs the linker there, and no path of this machine gets into its flags.
const LIST: &str = "image/layout.txt";

/// Compiler flags for a program of the device.
pub(crate) fn flags(tree: &Tree) -> Result<Vec<String>> {
    let sysroot = output(tool("rustc").args(["--print", "sysroot"]))?;
    let host = output(tool("rustc").args(["--print", "host-tuple"]))?;
    let lld = Path::new(sysroot.trim()).join("lib/rustlib").join(host.trim()).join("bin/gcc-ld");
    if !lld.join("ld.lld").exists() {
        crate::say(
            "build",
            "no LLD with this Rust: programs will take more memory (see image/src/layout.rs)",
        );
        return Ok(Vec::new());
    }
    let list = std::fs::read(tree.root.join(LIST)).with_context(|| format!("reading {LIST}"))?;
    Ok(vec![
        format!("-Clink-arg=-B{}", lld.display()),
        "-Clink-arg=-fuse-ld=lld".to_owned(),
        format!("-Clink-arg=-Wl,--symbol-ordering-file={LIST},--no-warn-symbol-ordering"),
        "-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned(),
        // Cargo does not look into files that flags name: a changed list must change a flag.
        format!("--cfg=layout=\"{:016x}\"", fnv1a(&list)),
    ])
}

/// The same on every machine, unlike the standard library's hashes: it decides what cargo rebuilds.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_gives_the_published_value() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
