//! Attack: an older version of each role, by somebody who has the online keys besides.
//! Control: the newer version.

use anyhow::Result;
use tuf::Why;
use tuf::metadata::{Snapshot, Timestamp};
use update_test::site::{OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

use update_test::forge::{chain, chain_with, described, newest};

fn updated() -> Result<(Site, Device)> {
    let site = Site::new()?;
    site.release(b"system 2", "2")?;
    let device = Device::new(&site)?;
    assert_eq!(device.fetch(&mut Between::new(site.path()), NOW_S, OS)?, b"system 2");
    Ok((site, device))
}

#[test]
fn older_root_is_refused() -> Result<()> {
    let mut site = Site::new()?;
    let add = vec![site.key("root-3")?.public];
    let change = repository::edit::Change { add, ..Default::default() };
    site.repository()?.rotate("root", &change)?;
    site.sign(&["root-1", "root-2"])?;
    site.refresh()?;
    let device = Device::new(&site)?;
    assert_eq!(device.refresh(&mut Between::new(site.path()), NOW_S)?.root_version(), 2);
    let mut between = Between::new(site.path()).instead("3.root.json", site.file("1.root.json")?);
    let refused = why(device.refresh(&mut between, NOW_S))?;
    assert_eq!(refused, ("root".into(), Why::Version { is: 1, expected: 3 }));
    Ok(())
}

#[test]
fn older_timestamp_is_refused() -> Result<()> {
    let (site, device) = updated()?;
    let older = site.forged::<Timestamp>("timestamp.json", |it| it.version = 1, &["timestamp"])?;
    let mut between = Between::new(site.path()).instead("timestamp.json", older);
    let refused = why(device.refresh(&mut between, NOW_S))?;
    assert_eq!(refused, ("timestamp".into(), Why::Rollback { is: 1, seen: 2 }));
    Ok(())
}

#[test]
fn older_snapshot_is_refused() -> Result<()> {
    let (site, device) = updated()?;
    let snapshot = site.file(&file("snapshot", 1))?;
    let newer = |it: &mut Timestamp| {
        it.version += 1;
        it.meta.snapshot = described(1, &snapshot);
    };
    let newer = site.forged::<Timestamp>("timestamp.json", newer, &["timestamp"])?;
    let mut between = Between::new(site.path()).instead("timestamp.json", newer);
    assert_eq!(
        why(device.refresh(&mut between, NOW_S))?,
        ("snapshot".into(), Why::Rollback { is: 1, seen: 2 })
    );
    Ok(())
}

#[test]
fn older_roles_of_targets_are_refused() -> Result<()> {
    let (site, _) = updated()?;
    site.repository()?.renew("targets")?;
    site.sign(&["targets"])?;
    site.refresh()?;
    for role in ["targets", "os"] {
        let device = Device::new(&site)?;
        device.refresh(&mut Between::new(site.path()), NOW_S)?;
        let mut between = chain(&site, role, 1, site.file(&file(role, 1))?)?;
        let refused = why(device.fetch(&mut between, NOW_S, OS))?;
        assert_eq!(refused, (format!("{role}.json"), Why::Rollback { is: 1, seen: 2 }));
        // One that has seen nothing can't know.
        assert!(Device::new(&site)?.refresh(&mut between, NOW_S).is_ok());
    }
    Ok(())
}

#[test]
fn snapshot_without_a_role_that_was_there_is_refused() -> Result<()> {
    let (site, device) = updated()?;
    let mut between = chain(&site, "os", 2, site.file(&file("os", 2))?)?;
    assert!(device.fetch(&mut between, NOW_S, OS).is_ok());
    let version = newest(&site)? + 2;
    let remove = |it: &mut Snapshot| {
        it.version = version;
        it.meta.remove("os.json");
    };
    let snapshot = site.forged::<Snapshot>(&file("snapshot", version - 2), remove, &["snapshot"])?;
    let newer = |it: &mut Timestamp| {
        it.version += 2;
        it.meta.snapshot = described(version, &snapshot);
    };
    let newer = site.forged::<Timestamp>("timestamp.json", newer, &["timestamp"])?;
    let between = Between::new(site.path()).instead("timestamp.json", newer);
    let mut between = between.instead(&file("snapshot", version), snapshot.clone());
    let refused = why(device.refresh(&mut between, NOW_S))?;
    assert_eq!(refused, ("snapshot".into(), Why::Removed("os.json".into())));
    Ok(())
}

#[test]
fn older_file_under_a_newer_number_is_refused() -> Result<()> {
    let (site, device) = updated()?;
    let old = site.file(&file("os", 1))?;
    let mut between = chain_with(&site, "os", described(3, &old), 3, old)?;
    let refused = why(device.fetch(&mut between, NOW_S, OS))?;
    assert_eq!(refused, ("os".into(), Why::Version { is: 1, expected: 3 }));
    Ok(())
}
