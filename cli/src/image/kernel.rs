//! What a kernel image says of itself. A device holds it to what the release says, and refuses one that says anything else, after it
//! has fetched it: it is found out before it is signed.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bus::update_link::KERNEL_MAX;
use slots::program;

/// Longest text in it, bytes.
const TEXT_MAX: u32 = 16 << 10;

/// Holds the image `kernel` to this version, floor and hash tree of the root, `words`.
///
/// # Errors
/// It can not be read; it says something else, and what to give instead.
pub(super) fn check(kernel: &Path, version: &str, floor: u32, words: &str) -> Result<()> {
    let at = kernel.display();
    let file = File::open(kernel).with_context(|| at.to_string())?;
    let length = file.metadata().with_context(|| at.to_string())?.len();
    ensure!(length <= KERNEL_MAX, "{at} has {length} bytes, and devices take {KERNEL_MAX}");
    let text = |section| -> Result<String> {
        let bytes = program::section(&file, section, TEXT_MAX).with_context(|| at.to_string())?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
    };
    let (about, line) = (text(".osrel")?, text(".cmdline")?);
    let is = value(about.lines(), "IMAGE_VERSION").unwrap_or("none");
    ensure!(is == version, "{at} is of version {is}, not {version}");
    let hash = value(words.split(' '), "root_hash").unwrap_or_default();
    let mut devices = line.split('"').nth(1).unwrap_or_default().split(';');
    let root = devices.find(|device| device.starts_with("root,")).unwrap_or_default();
    ensure!(root.split(' ').any(|word| word == hash), "{at} starts another root than the one that is given");
    let has = value(line.split(' '), "GABION_FLOOR").unwrap_or("0");
    ensure!(has == floor.to_string(), "{at} has the floor {has}: say --floor {has}");
    Ok(())
}

/// The value of `NAME=value`, without quotes.
fn value<'a>(mut words: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}
