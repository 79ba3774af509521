//! `make reproducible`: the same tree, built twice in different places, gives the same bytes.
//!
//! Compared are the root image, the app store, the kernel's command line, and the kernel image by what is signed of it: a
//! signature has the time in it, and one made later is as good. The kernel itself and the Debian packages
//! come from the cache both times; what is shown is that *our* build adds nothing of its surroundings.

use crate::assemble::{self, Audience, Bootable};
use crate::chain::disk::{self, System};
use crate::chain::keys::Keys;
use crate::command::{output, tool};
use crate::paths::Tree;
use crate::{say, stage};
use anyhow::{Result, bail};
use std::fs;
use std::path::Path;

/// Builds twice and compares.
pub fn reproducible(tree: &Tree) -> Result<()> {
    // Different in depth and length, to catch paths and paddings that depend on either.
    let places = ["one", "another/place/with-a-longer-name"];
    let mut built = Vec::new();
    for place in places {
        let place = tree.target.join("reproducible").join(place);
        say("reproducible", format_args!("building in {}", place.display()));
        stage::fresh(&place)?;
        built.push(build_copy(tree, &place)?);
    }
    let [(first, one), (second, two)] = built.as_slice() else { bail!("two builds were made") };
    let mut same = true;
    same &= compare("root image", &fs::read(&first.root.image)?, &fs::read(&second.root.image)?);
    same &= compare("app store", &fs::read(&first.apps.image)?, &fs::read(&second.apps.image)?);
    same &= compare("command line", first.command_line().as_bytes(), second.command_line().as_bytes());
    same &= compare("kernel image", &one.kernel_image, &two.kernel_image);
    println!("kernel             from the cache, not compared: {}", first.kernel.display());
    if !same {
        bail!("the two builds differ");
    }
    Ok(())
}

/// Copies the tree to `place` and builds it there.
fn build_copy(tree: &Tree, place: &Path) -> Result<(Bootable, System)> {
    let copy = copy(tree, place)?;
    let bootable = assemble::demo(&copy, Audience::Production)?;
    let system = disk::build(&copy, &bootable, &Keys::of(tree)?, &[], &copy.out().join("system.img"))?;
    Ok((bootable, system))
}

/// Copies what git would take of the tree to `place`, changes that are not committed included.
pub fn copy(tree: &Tree, place: &Path) -> Result<Tree> {
    let listed = output(tool("git").arg("-C").arg(&tree.root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let from = tree.root.join(name);
        if from.symlink_metadata().is_ok() {
            stage::copy(&from, &place.join("tree").join(name))?;
        }
    }
    Ok(Tree { root: place.join("tree"), target: place.join("target"), ..tree.clone() })
}

fn compare(what: &str, first: &[u8], second: &[u8]) -> bool {
    let same = first == second;
    let verdict = if same {
        "the same".to_owned()
    } else {
        let at = first.iter().zip(second).position(|(a, b)| a != b).unwrap_or(first.len().min(second.len()));
        format!("DIFFERENT from byte {at} on ({} and {} bytes)", first.len(), second.len())
    };
    println!("{what:<18} {:>10} bytes  {verdict}", first.len());
    same
}
