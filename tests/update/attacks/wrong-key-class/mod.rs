//! Attack: a role signed by keys that are good, for another role; keys that are not of the class they say.
//! Control: its own keys.

use anyhow::Result;
use repository::document::Document;
use tuf::Why;
use tuf::metadata::{Snapshot, Targets, Timestamp};
use update_test::site::{OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

use update_test::forge::chain;

const ALL: [&str; 8] = ["root-1", "root-2", "targets", "snapshot", "timestamp", "os-1", "os-2", "acme"];

fn but(not: &[&str]) -> Vec<&'static str> {
    ALL.into_iter().filter(|name| !not.contains(name)).collect()
}

#[test]
fn every_key_but_its_own_signs_no_role() -> Result<()> {
    let site = Site::new()?;
    let (more, next) = (|it: &mut Timestamp| it.version = 2, |it: &mut Targets| it.version = 2);
    let timestamp = |keys: &[&str]| site.forged("timestamp.json", more, keys);
    let targets = |keys: &[&str]| site.forged::<Targets>(&file("targets", 1), next, keys);
    let os = |keys: &[&str]| site.forged::<Targets>(&file("os", 1), next, keys);
    let between = |bytes| Between::new(site.path()).instead("timestamp.json", bytes);
    let cases = [
        ("timestamp", 1, between(timestamp(&but(&["timestamp"]))?), between(timestamp(&["timestamp"])?)),
        (
            "targets",
            1,
            chain(&site, "targets", 2, targets(&but(&["targets"]))?)?,
            chain(&site, "targets", 2, targets(&["targets"])?)?,
        ),
        (
            "os",
            2,
            chain(&site, "os", 2, os(&but(&["os-1", "os-2"]))?)?,
            chain(&site, "os", 2, os(&["os-1", "os-2"])?)?,
        ),
    ];
    for (role, needed, mut attack, mut control) in cases {
        let refused = why(Device::new(&site)?.fetch(&mut attack, NOW_S, OS))?;
        assert_eq!(refused, (role.to_owned(), Why::Signatures { good: 0, needed }));
        assert_eq!(Device::new(&site)?.fetch(&mut control, NOW_S, OS)?, b"system 1", "{role}");
    }
    Ok(())
}

#[test]
fn role_in_the_place_of_another_is_refused() -> Result<()> {
    let site = Site::new()?;
    // The timestamp's own key signs what says it is a snapshot.
    let mut value = Document::<Snapshot>::read(site.file(&file("snapshot", 1))?)?.value;
    value.version = 9;
    value.meta.insert("snapshot.json".to_owned(), value.meta["targets.json"].clone());
    let bytes = Document::unsigned(value)?.signed(&site.signers(&["timestamp"]))?.bytes;
    let mut between = Between::new(site.path()).instead("timestamp.json", bytes);
    let refused = why(Device::new(&site)?.refresh(&mut between, NOW_S))?;
    assert_eq!(refused, ("timestamp".into(), Why::Kind("snapshot".into())));
    Ok(())
}

#[test]
fn catalog_speaks_for_no_target_outside_its_folder() -> Result<()> {
    let site = Site::new()?;
    let take = |it: &mut Targets| {
        it.version = 2;
        let app = it.targets.values().next().cloned();
        it.targets.extend(app.map(|app| ("os/box/evil.img".to_owned(), app)));
    };
    let bytes = site.forged::<Targets>(&file("apps-acme", 1), take, &["acme"])?;
    let mut between = chain(&site, "apps-acme", 2, bytes)?;
    let device = Device::new(&site)?;
    let refused = why(device.fetch(&mut between, NOW_S, "os/box/evil.img"))?;
    assert_eq!(refused, ("os/box/evil.img".into(), Why::NoTarget));
    assert_eq!(device.fetch(&mut between, NOW_S, update_test::site::APP)?, b"app 1");
    Ok(())
}

#[test]
fn key_that_says_another_class_signs_nothing() -> Result<()> {
    let mut site = Site::new()?;
    for (keytype, scheme) in
        [("rsa", "rsassa-pss-sha256"), ("ecdsa", "ecdsa-sha2-nistp256"), ("ed25519", "none")]
    {
        let mut key = site.key("os-1")?.public;
        (key.keytype, key.scheme) = (keytype.to_owned(), scheme.to_owned());
        assert_eq!(key.verifier(), None);
        let change = repository::edit::Change { add: vec![key], ..Default::default() };
        assert!(site.repository()?.rotate("os", &change).is_err());
    }
    Ok(())
}
