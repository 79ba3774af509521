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

#[cfg(test)]
mod tests {
    use super::super::pcr::Pcr;
    use super::*;
    use evidence::Digest;
    use evidence::reference::ReferenceValues;

    #[test]
    fn values_are_what_the_service_reads() {
        let system = System {
            disk: "system.img".into(),
            kernel: "system.efi".into(),
            reference: "system.reference.json".into(),
            release: "0.1.0".to_owned(),
            audience: "production",
            command_line: "root=/dev/dm-0".to_owned(),
            root_hash: hex(&[1; 32]),
            apps_hash: hex(&[2; 32]),
            pcr7: Pcr([7; 32]),
            pcr11: Pcr([11; 32]),
            pcr12: Pcr([12; 32]),
            loader: [3; 32],
            kernel_image: [4; 32],
            again: [5; 32],
            secure_boot: ["PK", "KEK", "db", "dbx"].map(|name| (name, [6; 32])),
        };
        let read = ReferenceValues::read(values(&system).to_string().as_bytes()).unwrap();
        assert_eq!(read.pcr11(), Digest([11; 32]));
        assert_eq!(read.boot_loader, Digest([3; 32]));
        assert!(read.images.contains(&Digest([5; 32])));
        assert!(read.secure_boot["db"].contains(&Digest([6; 32])));
        assert!(!read.is_debug());
    }
}
