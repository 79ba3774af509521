//! Attack: fewer keys than have to sign, and one key counted several times.
//! Control: as many as have to.

use anyhow::Result;
use repository::document::Document;
use tuf::Why;
use tuf::metadata::{Root, Targets};
use update_test::site::{OS, file};
use update_test::{Between, Device, NOW_S, Site, why};

use update_test::forge::chain;

#[test]
fn too_few_signatures_are_refused() -> Result<()> {
    let site = Site::new()?;
    let signed = |keys: &[&str]| {
        let bytes = site.forged::<Targets>(&file("os", 1), |it| it.version = 2, keys)?;
        chain(&site, "os", 2, bytes)
    };
    for (good, keys) in [(0, &[][..]), (1, &["os-1"]), (1, &["os-3", "acme", "targets"])] {
        let refused = why(Device::new(&site)?.fetch(&mut signed(keys)?, NOW_S, OS))?;
        assert_eq!(refused, ("os".into(), Why::Signatures { good, needed: 2 }));
    }
    for keys in [["os-1", "os-2"], ["os-3", "os-1"]] {
        assert_eq!(Device::new(&site)?.fetch(&mut signed(&keys)?, NOW_S, OS)?, b"system 1");
    }
    Ok(())
}

#[test]
fn root_needs_those_before_it_and_its_own() -> Result<()> {
    let mut site = Site::new()?;
    let new = site.key("root-3")?;
    let id = new.id()?;
    let change = |root: &mut Root| {
        root.version = 2;
        root.keys.insert(id.clone(), new.public.clone());
        root.roles.entry("root".to_owned()).and_modify(|keys| keys.keyids = vec![id.clone()]);
        root.roles.entry("root".to_owned()).and_modify(|keys| keys.threshold = 1);
    };
    let root = |keys: &[&str]| site.forged::<Root>("1.root.json", change, keys);
    for (keys, good, needed) in
        [(&["root-1", "root-3"][..], 1, 2), (&["root-1", "root-2"], 0, 1), (&["root-3"], 0, 2)]
    {
        let mut between = Between::new(site.path()).instead("2.root.json", root(keys)?);
        let refused = why(Device::new(&site)?.refresh(&mut between, NOW_S))?;
        assert_eq!(refused, ("root".into(), Why::Signatures { good, needed }), "{keys:?}");
    }
    let mut between =
        Between::new(site.path()).instead("2.root.json", root(&["root-1", "root-2", "root-3"])?);
    assert_eq!(Device::new(&site)?.refresh(&mut between, NOW_S)?.root_version(), 2);
    Ok(())
}

#[test]
fn key_under_two_names_counts_once() -> Result<()> {
    let site = Site::new()?;
    let targets = Document::<Targets>::read(site.file(&file("targets", 1))?)?.value;
    let delegations = targets.delegations.unwrap_or_default();
    let os = delegations.roles.iter().flatten().find(|role| role.name == "os").cloned();
    let first = os.map(|role| role.keyids[0].clone()).unwrap_or_default();
    let alias = "0".repeat(64);
    let doubled = |it: &mut Targets| {
        it.version = 2;
        let delegations = it.delegations.get_or_insert_default();
        let key = delegations.keys[&first].clone();
        delegations.keys.insert(alias.clone(), key);
        for role in delegations.roles.iter_mut().flatten().filter(|role| role.name == "os") {
            role.keyids.push(alias.clone());
        }
    };
    let targets = site.forged::<Targets>(&file("targets", 1), doubled, &["targets"])?;
    // Its one signature, under both names.
    let os = site.forged::<Targets>(&file("os", 1), |_| {}, &["os-1"])?;
    let text = String::from_utf8(os)?;
    let mut value: serde_json::Value = serde_json::from_str(&text)?;
    let mut second = value["signatures"][0].clone();
    second["keyid"] = alias.clone().into();
    value["signatures"].as_array_mut().into_iter().for_each(|all| all.push(second.clone()));
    let os = serde_json::to_vec(&value)?;
    std::fs::write(site.path().join("metadata").join(file("os", 1)), &os)?;
    let meta = update_test::forge::described(1, &os);
    let both = update_test::forge::chain(&site, "targets", 2, targets)?;
    // The snapshot that speaks of the targets has to speak of this file too.
    let mut between = rechained(&site, both, meta)?;
    let refused = why(Device::new(&site)?.fetch(&mut between, NOW_S, OS))?;
    assert_eq!(refused, ("os".into(), Why::Signatures { good: 1, needed: 2 }));
    // The same key twice under one name is no file at all.
    let mut value: serde_json::Value = serde_json::from_slice(&os)?;
    value["signatures"][1] = value["signatures"][0].clone();
    let twice = serde_json::to_vec(&value)?;
    let refused = why(Device::new(&site)?.fetch(&mut chain(&site, "os", 1, twice)?, NOW_S, OS))?;
    assert!(matches!(refused, (role, Why::Form(_)) if role == "os"));
    Ok(())
}

fn rechained(site: &Site, both: Between, os: tuf::metadata::MetaFile) -> Result<Between> {
    use tuf::metadata::{Snapshot, Timestamp};
    let name = file("snapshot", 2);
    let mut snapshot = Document::<Snapshot>::read(both.what(&name).unwrap_or_default())?.value;
    snapshot.meta.insert("os.json".to_owned(), os);
    let snapshot = Document::unsigned(snapshot)?.signed(&site.signers(&["snapshot"]))?.bytes;
    let more = |it: &mut Timestamp| {
        it.version = 2;
        it.meta.snapshot = update_test::forge::described(2, &snapshot);
    };
    let timestamp = site.forged::<Timestamp>("timestamp.json", more, &["timestamp"])?;
    Ok(both.instead(&name, snapshot.clone()).instead("timestamp.json", timestamp))
}
