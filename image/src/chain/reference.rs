//! What a device that runs this release reports: the values that whoever checks its evidence compares with
//! (`evidence::reference::ReferenceValues`).
//!
//! Written beside the image and published with it. Only what is known before any device runs: PCR 11 in full, the hashes
//! that the firmware's log may name for what it started, and the keys it must have trusted.

use super::disk::System;
use super::hex;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// Writes them as JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write(system: &System, to: &Path) -> Result<()> {
    fs::write(to, format!("{:#}\n", values(system))).with_context(|| format!("writing {}", to.display()))
}

fn values(system: &System) -> Value {
    let keys: Map<String, Value> = system
        .secure_boot
        .iter()
        .map(|(name, hash)| ((*name).to_owned(), Value::from(vec![hex(hash)])))
        .collect();
    serde_json::json!({
        "release": system.release,
        "audience": system.audience,
        // Of the SHA-256 bank, once the kernel runs.
        "pcrs": { "11": hex(&system.pcr11.0) },
        // Authenticode hashes, in the order in which the firmware's log has them in PCR 4.
        "boot_loader": hex(&system.loader),
        "kernel_image": hex(&system.kernel_image),
        "images": [hex(&system.again)],
        "command_line": system.command_line,
        "root_hash": system.root_hash,
        "apps_hash": system.apps_hash,
        "secure_boot": keys,
    })
}
