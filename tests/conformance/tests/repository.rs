//! Repositories that we make, read by the reference client: it takes them, and refuses what is to be refused.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use conformance::python;
use repository::edit::Change;
use tuf::metadata::{Targets, Timestamp};
use update_test::forge::chain;
use update_test::site::{APP, OS, file};
use update_test::{DAY_S, Site};

/// What the reference client, which keeps `state`, says of a target.
fn judged(site: &Site, state: &Path, path: &str) -> Result<String> {
    let first = state.join("first.json");
    if !first.exists() {
        fs::write(first, site.file("1.root.json")?)?;
    }
    let mut client = python::with_tuf()?;
    client.arg(python::scripts().join("update.py")).args([site.path(), state]).arg(path);
    let output = client.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout)?;
    match said.trim() {
        refused if refused.starts_with("refused: ") => Ok(refused.to_owned()),
        bytes => Ok(String::from_utf8(tuf::hex::decode(bytes).context("neither bytes nor a refusal")?)?),
    }
}

fn now_s() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

fn replace(site: &Site, name: &str, bytes: &[u8]) -> Result<()> {
    Ok(fs::write(site.path().join("metadata").join(name), bytes)?)
}

#[test]
fn reference_client_takes_what_we_publish_through_rotations() -> Result<()> {
    let mut site = Site::at(now_s()?)?;
    let state = tempfile::tempdir()?;
    assert_eq!(judged(&site, state.path(), OS)?, "system 1");
    assert_eq!(judged(&site, state.path(), APP)?, "app 1");
    site.release(b"system 2", "2")?;
    for (role, old, new) in
        [("root", "root-1", "root-3"), ("timestamp", "timestamp", "timestamp-2"), ("os", "os-1", "os-4")]
    {
        let change =
            Change { add: vec![site.key(new)?.public], remove: vec![site.key(old)?.id()?], threshold: None };
        site.repository()?.rotate(role, &change)?;
    }
    site.sign(&["root-1", "root-2", "root-3", "targets", "os-2", "os-4"])?;
    let published = site.repository()?.refresh(&site.signers(&["snapshot", "timestamp-2"]))?;
    assert!(published.waiting.is_empty(), "{published:?}");
    assert_eq!(judged(&site, state.path(), OS)?, "system 2");
    assert_eq!(judged(&site, tempfile::tempdir()?.path(), OS)?, "system 2");
    Ok(())
}

#[test]
fn reference_client_refuses_what_is_to_be_refused() -> Result<()> {
    let site = Site::at(now_s()?)?;
    let (state, fresh) = (tempfile::tempdir()?, tempfile::tempdir);
    let (first, os) = (site.file("timestamp.json")?, site.file(&file("os", 1))?);
    site.release(b"system 2", "2")?;
    let newest = site.file("timestamp.json")?;
    assert_eq!(judged(&site, state.path(), OS)?, "system 2");
    assert_eq!(judged(&site, state.path(), "os/box/none.img")?, "refused: NoTarget");
    // Yesterday's timestamp; one that somebody else signed; one that is cut short.
    replace(&site, "timestamp.json", &first)?;
    assert_eq!(judged(&site, state.path(), OS)?, "refused: BadVersionNumberError");
    let forged = site.forged::<Timestamp>("timestamp.json", |it| it.version = 9, &["snapshot"])?;
    replace(&site, "timestamp.json", &forged)?;
    assert_eq!(judged(&site, state.path(), OS)?, "refused: UnsignedMetadataError");
    replace(&site, "timestamp.json", &newest[..newest.len() / 2])?;
    assert_eq!(judged(&site, state.path(), OS)?, "refused: DeserializationError");
    replace(&site, "timestamp.json", &newest)?;
    // A role of the day before, and one that too few have signed, on devices that have seen nothing.
    let right = site.file(&file("os", 2))?;
    replace(&site, &file("os", 2), &os)?;
    assert_eq!(judged(&site, fresh()?.path(), OS)?, "refused: LengthOrHashMismatchError");
    replace(&site, &file("os", 2), &right)?;
    assert_eq!(judged(&site, fresh()?.path(), OS)?, "system 2");
    for (keys, verdict) in
        [(&["os-1", "targets"][..], "refused: UnsignedMetadataError"), (&["os-1", "os-3"], "system 1")]
    {
        let bytes = site.forged::<Targets>(&file("os", 1), |it| it.version = 3, keys)?;
        chain(&site, "os", 3, bytes)?.put(site.path())?;
        assert_eq!(judged(&site, fresh()?.path(), OS)?, verdict);
    }
    Ok(())
}

#[test]
fn reference_client_refuses_a_repository_that_nobody_looked_after() -> Result<()> {
    let site = Site::at(now_s()? - 20 * DAY_S)?;
    assert_eq!(judged(&site, tempfile::tempdir()?.path(), OS)?, "refused: ExpiredMetadataError");
    Ok(())
}
