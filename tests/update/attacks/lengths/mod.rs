//! Attack: lengths, versions and numbers that overflow, are nought, negative or no whole ones, signed by whoever may.
//! Control: the same numbers, in bounds.

use anyhow::Result;
use tuf::Why;
use tuf::metadata::{MetaFile, Root, SuccinctRoles, Targets, Timestamp};
use update_test::site::{OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

use update_test::forge::{chain, chain_with, described};

fn os_with(site: &Site, length: u64) -> Result<Between> {
    let change = |it: &mut Targets| {
        it.version = 2;
        it.targets.entry(OS.to_owned()).and_modify(|target| target.length = length);
    };
    chain(site, "os", 2, site.forged::<Targets>(&file("os", 1), change, &["os-1", "os-2"])?)
}

#[test]
fn length_of_a_target_that_is_another_is_refused() -> Result<()> {
    let site = Site::new()?;
    for length in [0, 7, 9, u64::MAX] {
        let refused = why(Device::new(&site)?.fetch(&mut os_with(&site, length)?, NOW_S, OS))?;
        assert_eq!(refused, (OS.into(), Why::Length { most: length }));
    }
    assert_eq!(Device::new(&site)?.fetch(&mut os_with(&site, 8)?, NOW_S, OS)?, b"system 1");
    Ok(())
}

#[test]
fn length_of_metadata_that_is_another_is_refused() -> Result<()> {
    let site = Site::new()?;
    let bytes = site.file(&file("os", 1))?;
    let right = bytes.len() as u64;
    for length in [0, right - 1, right + 1, u64::MAX] {
        let meta = MetaFile { length: Some(length), ..described(1, &bytes) };
        let mut between = chain_with(&site, "os", meta, 1, bytes.clone())?;
        let (_, reason) = why(Device::new(&site)?.fetch(&mut between, NOW_S, OS))?;
        assert_eq!(reason, Why::Length { most: length });
    }
    let mut between = chain_with(&site, "os", described(1, &bytes), 1, bytes)?;
    assert_eq!(Device::new(&site)?.fetch(&mut between, NOW_S, OS)?, b"system 1");
    Ok(())
}

#[test]
fn number_that_no_field_has_is_refused() -> Result<()> {
    let site = Site::new()?;
    let text = String::from_utf8(site.file("timestamp.json")?)?;
    assert!(text.contains("\"version\":1"));
    for number in ["-1", "0", "1.0", "1e3", "18446744073709551616", "\"1\"", "null"] {
        let value = text.replace("\"version\":1", &format!("\"version\":{number}"));
        let mut between = Between::new(site.path()).instead("timestamp.json", value.into_bytes());
        let (what, reason) = why(Device::new(&site)?.refresh(&mut between, NOW_S))?;
        // Its signature is not over that, so whichever is seen first.
        assert!(
            what == "timestamp" && matches!(reason, Why::Form(_) | Why::Signatures { .. }),
            "{number}: {reason}"
        );
    }
    Ok(())
}

#[test]
fn greatest_version_leads_nowhere() -> Result<()> {
    let site = Site::new()?;
    let device = Device::new(&site)?;
    let last = site.forged::<Timestamp>("timestamp.json", |it| it.version = u64::MAX, &["timestamp"])?;
    let mut between = Between::new(site.path()).instead("timestamp.json", last);
    assert_eq!(device.fetch(&mut between, NOW_S, OS)?, b"system 1");
    let root = site.forged::<Root>("1.root.json", |it| it.version = u64::MAX, &["root-1", "root-2"])?;
    let mut between = Between::new(site.path()).instead("2.root.json", root);
    let refused = why(device.refresh(&mut between, NOW_S))?;
    assert_eq!(refused, ("root".into(), Why::Version { is: u64::MAX, expected: 2 }));
    Ok(())
}

#[test]
fn delegation_in_impossible_numbers_delegates_nothing() -> Result<()> {
    let site = Site::new()?;
    for bit_length in [0, 33, u32::MAX] {
        let change = |it: &mut Targets| {
            it.version = 2;
            let delegations = it.delegations.get_or_insert_default();
            delegations.roles = None;
            let (keyids, threshold, name_prefix) = (Vec::new(), 1, "bin".to_owned());
            delegations.succinct_roles = Some(SuccinctRoles { keyids, threshold, bit_length, name_prefix });
        };
        let targets = site.forged::<Targets>(&file("targets", 1), change, &["targets"])?;
        let refused = why(Device::new(&site)?.fetch(&mut chain(&site, "targets", 2, targets)?, NOW_S, OS))?;
        assert_eq!(refused, (OS.into(), Why::NoTarget));
    }
    Ok(())
}

#[test]
fn delegations_that_go_on_and_on_are_given_up() -> Result<()> {
    let site = Site::new()?;
    // Targets delegate to themselves under another name, again and again.
    let change = |it: &mut Targets| {
        it.version = 2;
        let delegations = it.delegations.get_or_insert_default();
        let role = delegations.roles.iter().flatten().find(|role| role.name == "os").cloned();
        let many = (0..40).flat_map(|number| {
            role.clone().map(|role| tuf::metadata::DelegatedRole {
                name: format!("os{number}"),
                terminating: false,
                ..role
            })
        });
        delegations.roles = Some(many.collect());
    };
    let targets = site.forged::<Targets>(&file("targets", 1), change, &["targets"])?;
    let empty = site.forged::<Targets>(&file("os", 1), |it| it.targets.clear(), &["os-1", "os-2"])?;
    let mut between = chain(&site, "targets", 2, targets)?;
    let name = file("snapshot", 2);
    let snapshot = repository::document::Document::<tuf::metadata::Snapshot>::read(
        between.what(&name).unwrap_or_default(),
    )?;
    let mut snapshot = snapshot.value;
    for number in 0..40 {
        snapshot.meta.insert(format!("os{number}.json"), described(1, &empty));
        between = between.instead(&file(&format!("os{number}"), 1), empty.clone());
    }
    let signed =
        repository::document::Document::unsigned(snapshot)?.signed(&site.signers(&["snapshot"]))?.bytes;
    let more = |it: &mut Timestamp| {
        it.version = 2;
        it.meta.snapshot = described(2, &signed);
    };
    let timestamp = site.forged::<Timestamp>("timestamp.json", more, &["timestamp"])?;
    let mut between = between.instead(&name, signed.clone()).instead("timestamp.json", timestamp);
    assert_eq!(why(Device::new(&site)?.fetch(&mut between, NOW_S, OS))?, (OS.into(), Why::Roles));
    Ok(())
}
