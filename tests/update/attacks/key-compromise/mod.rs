//! Attack: keys are stolen, and used until the owners notice; then they are rotated.
//! Control: the owners' own work goes on with the new keys, on devices that were attacked too.

use anyhow::Result;
use repository::edit::Change;
use tuf::Why;
use tuf::metadata::{Root, Targets, Timestamp};
use update_test::site::{OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

use update_test::forge::chain;

fn rotated(site: &mut Site, role: &str, old: &str, new: &str) -> Result<()> {
    let change =
        Change { add: vec![site.key(new)?.public], remove: vec![site.key(old)?.id()?], threshold: None };
    Ok(site.repository()?.rotate(role, &change)?)
}

#[test]
fn stolen_timestamp_key_stops_updates_until_it_is_rotated() -> Result<()> {
    let mut site = Site::new()?;
    let device = Device::new(&site)?;
    // The thief says a version that the owner never reaches.
    let far = site.forged::<Timestamp>("timestamp.json", |it| it.version = 1 << 40, &["timestamp"])?;
    device.refresh(&mut Between::new(site.path()).instead("timestamp.json", far.clone()), NOW_S)?;
    site.release(b"system 2", "2")?;
    let refused = why(device.fetch(&mut Between::new(site.path()), NOW_S, OS))?;
    assert_eq!(refused, ("timestamp".into(), Why::Rollback { is: 2, seen: 1 << 40 }));
    rotated(&mut site, "timestamp", "timestamp", "timestamp-2")?;
    site.sign(&["root-1", "root-2"])?;
    site.repository()?.refresh(&site.signers(&["snapshot", "timestamp-2"]))?;
    assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, OS)?, b"system 2");
    let refused = why(device.refresh(&mut Between::new(site.path()).instead("timestamp.json", far), NOW_S))?;
    assert_eq!(refused, ("timestamp".into(), Why::Signatures { good: 0, needed: 1 }));
    Ok(())
}

#[test]
fn stolen_release_key_alone_is_worth_nothing_and_nothing_after_rotation() -> Result<()> {
    let mut site = Site::new()?;
    let device = Device::new(&site)?;
    let evil = |site: &Site, version, keys: &[&str]| {
        let change = |it: &mut Targets| {
            it.version = version;
            it.targets.entry(OS.to_owned()).and_modify(|target| target.length = 4);
        };
        chain(site, "os", version, site.forged::<Targets>(&file("os", 1), change, keys)?)
    };
    let refused = why(device.fetch(&mut evil(&site, 2, &["os-1"])?, NOW_S, OS))?;
    assert_eq!(refused, ("os".into(), Why::Signatures { good: 1, needed: 2 }));
    // It is rotated; then a second one is stolen.
    rotated(&mut site, "os", "os-1", "os-4")?;
    site.sign(&["targets", "os-2", "os-4"])?;
    site.refresh()?;
    let device = Device::new(&site)?;
    assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, OS)?, b"system 1");
    let refused = why(device.fetch(&mut evil(&site, 3, &["os-1", "os-2"])?, NOW_S, OS))?;
    assert_eq!(refused, ("os".into(), Why::Signatures { good: 1, needed: 2 }));
    Ok(())
}

#[test]
fn lost_root_key_is_replaced_and_signs_nothing_more() -> Result<()> {
    let mut site = Site::new()?;
    let device = Device::new(&site)?;
    rotated(&mut site, "root", "root-2", "root-3")?;
    // Who holds it from now on alone are not enough.
    site.sign(&["root-1", "root-3"])?;
    let published = site.repository()?.refresh(&site.signers(&["snapshot", "timestamp"]))?;
    assert!(published.waiting.iter().any(|waiting| waiting.starts_with("root 2: 1 of 2")), "{published:?}");
    assert_eq!(device.refresh(&mut Between::new(site.path()), NOW_S)?.root_version(), 1);
    site.sign(&["root-2"])?;
    site.refresh()?;
    assert_eq!(device.refresh(&mut Between::new(site.path()), NOW_S)?.root_version(), 2);
    let forged = site.forged::<Root>("2.root.json", |it| it.version = 3, &["root-1", "root-2"])?;
    let refused = why(device.refresh(&mut Between::new(site.path()).instead("3.root.json", forged), NOW_S))?;
    assert_eq!(refused, ("root".into(), Why::Signatures { good: 1, needed: 2 }));
    Ok(())
}

#[test]
fn key_taken_from_targets_waits_until_everything_is_signed_anew() -> Result<()> {
    let mut site = Site::new()?;
    rotated(&mut site, "targets", "targets", "targets-2")?;
    site.sign(&["root-1", "root-2"])?;
    let published = site.repository()?.refresh(&site.signers(&["snapshot", "timestamp"]))?;
    assert_eq!(published.waiting.len(), 2, "{published:?}");
    let device = Device::new(&site)?;
    assert_eq!(device.refresh(&mut Between::new(site.path()), NOW_S)?.root_version(), 1);
    site.sign(&["targets-2"])?;
    let published = site.repository()?.refresh(&site.signers(&["snapshot", "timestamp"]))?;
    assert!(published.waiting.is_empty(), "{published:?}");
    assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, OS)?, b"system 1");
    assert_eq!(device.refresh(&mut Between::new(site.path()), NOW_S)?.root_version(), 2);
    Ok(())
}
