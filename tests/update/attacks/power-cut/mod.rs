//! Attack: the power goes at each write of what is kept, before it or in the middle of the new file.
//! Control: the device takes the whole afterwards, and still nothing of yesterday.

use std::fs;

use anyhow::Result;
use repository::edit::Change;
use tuf::update::{Ask, Update};
use tuf::{Limits, Why};
use update_test::site::OS;
use update_test::{Between, DAY_S, Device, Site, why};

/// An update that ends after so many writes. False: there were fewer.
fn cut_after(device: &Device, site: &Site, writes: usize, torn: bool) -> Result<bool> {
    let mut update =
        Update::new(&fs::read(device.path().join("root.json"))?, site.now_s(), Limits::default())?;
    let mut done = 0;
    loop {
        let bytes = match update.ask() {
            Ask::Nothing => return Ok(false),
            Ask::Kept { name, .. } => fs::read(device.path().join(name)).ok(),
            Ask::Fetch { name, .. } => fs::read(site.path().join("metadata").join(name)).ok(),
        };
        let Some(keep) = update.give(bytes)? else { continue };
        if done == writes {
            if torn {
                fs::write(device.path().join("new"), &keep.bytes[..keep.bytes.len() / 2])?;
            }
            return Ok(true);
        }
        fs::write(device.path().join(keep.name), keep.bytes)?;
        done += 1;
    }
}

#[test]
fn update_that_was_cut_at_any_write_is_made_whole() -> Result<()> {
    let mut site = Site::new()?;
    let yesterday = site.file("timestamp.json")?;
    let first = Device::new(&site)?;
    first.fetch(&mut Between::new(site.path()), site.now_s(), OS)?;
    // Two roots, with other keys of snapshot and timestamp, and a release.
    for (role, key) in [("snapshot", "snapshot-2"), ("timestamp", "timestamp-2")] {
        let remove = vec![site.key(role)?.id()?];
        let add = vec![site.key(key)?.public];
        site.repository()?.rotate(role, &Change { add, remove, threshold: None })?;
        site.sign(&["root-1", "root-2"])?;
        let keys =
            if role == "snapshot" { ["snapshot-2", "timestamp"] } else { ["snapshot-2", "timestamp-2"] };
        site.repository()?.refresh(&site.signers(&keys))?;
    }
    site.pass(DAY_S);
    site.add(OS, b"system 2", "2")?;
    site.sign(&["os-1", "os-2"])?;
    site.repository()?.refresh(&site.signers(&["snapshot-2", "timestamp-2"]))?;
    let mut cuts = 0;
    for torn in [false, true] {
        for writes in 0.. {
            let device = Device::new(&site)?;
            for (name, bytes) in first.kept()? {
                fs::write(device.path().join(name), bytes)?;
            }
            if !cut_after(&device, &site, writes, torn)? {
                break;
            }
            cuts += 1;
            let taken = device.fetch(&mut Between::new(site.path()), site.now_s(), OS)?;
            assert_eq!(taken, b"system 2", "after {writes} writes");
            let mut between = Between::new(site.path()).instead("timestamp.json", yesterday.clone());
            let (what, reason) = why(device.fetch(&mut between, site.now_s(), OS))?;
            assert!(what == "timestamp" && matches!(reason, Why::Signatures { good: 0, .. }), "{reason}");
        }
    }
    // Two roots, timestamp, snapshot; targets are as they were.
    assert_eq!(cuts, 2 * 4);
    Ok(())
}
