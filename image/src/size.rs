//! `make size`: the sizes that the README promises, against their bars.

use crate::assemble::{self, Audience};
use crate::paths::Tree;
use anyhow::{Result, bail};
use std::path::Path;

/// Prints each size with its bar; an error if one is above it.
pub fn size(tree: &Tree) -> Result<()> {
    let demo = assemble::demo(tree, Audience::Production)?;
    let rows = [
        ("kernel", length(&demo.kernel)?, Some(4_500_000)),
        ("root image with its hash tree", length(&demo.root.image)?, Some(8_000_000)),
        ("demo apps with their hash tree", length(&demo.apps.image)?, None),
    ];
    let mut above = Vec::new();
    for (what, bytes, bar) in rows {
        let verdict = match bar {
            Some(bar) if bytes > bar => "ABOVE THE BAR",
            Some(_) => "ok",
            None => "",
        };
        let bar_text = bar.map_or_else(|| "-".to_owned(), |bar: u64| bar.to_string());
        println!("{what:<32} {bytes:>12} bytes   bar {bar_text:>10}   {verdict}");
        if bar.is_some_and(|bar| bytes > bar) {
            above.push(what);
        }
    }
    if !above.is_empty() {
        bail!("too large: {}", above.join(", "));
    }
    Ok(())
}

fn length(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path)?.len())
}
