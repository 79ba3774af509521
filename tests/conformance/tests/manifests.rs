//! The manifest's JSON Schema, as editors use it, by a validator of others: every manifest of the tree fits, and one with a fault that a
//! schema can see does not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use conformance::python;

/// Every manifest of an app that git has.
fn manifests() -> Result<Vec<PathBuf>> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let listed = Command::new("git").arg("-C").arg(&tree).args(["ls-files", "*manifest.toml"]).output()?;
    ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout)?;
    Ok(names.lines().map(|name| tree.join(name)).collect())
}

/// Those that do not fit, with why.
fn wrong(manifests: &[PathBuf]) -> Result<BTreeMap<String, Vec<String>>> {
    let place = tempfile::tempdir()?;
    let schema = place.path().join("schema.json");
    fs::write(&schema, policy::schema())?;
    let script = python::scripts().join("schema.py");
    let output = python::with_schemathesis()?.arg(script).arg(&schema).args(manifests).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn every_manifest_of_the_tree_fits_its_schema() -> Result<()> {
    let manifests = manifests()?;
    ensure!(manifests.len() >= 20, "only {}", manifests.len());
    assert_eq!(wrong(&manifests)?, BTreeMap::new());
    Ok(())
}

#[test]
fn manifest_with_a_fault_that_a_schema_can_see_does_not_fit() -> Result<()> {
    let place = tempfile::tempdir()?;
    let app = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";
    let faults = [
        "[resources]\nmemroy = \"1MiB\"\n",
        "[resources]\nmemory = 16\n",
        "[resources]\ntasks = \"4\"\n",
        "[process]\nprofile = \"none\"\n",
        "[process]\nsysv_shm = \"yes\"\n",
        "[network]\nlisten = \"80/tcp\"\n",
        "[netwrok]\n",
        "[lifecycle]\nrestart = \"sometimes\"\n",
    ];
    let mut paths = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        let path = place.path().join(format!("{number}.toml"));
        fs::write(&path, format!("{app}{fault}"))?;
        ensure!(policy::check(&fs::read_to_string(&path)?, &policy::Board::default()).is_err(), "{fault}");
        paths.push(path);
    }
    let found = wrong(&paths)?;
    for (path, fault) in paths.iter().zip(faults) {
        ensure!(found.contains_key(path.to_str().context("a path")?), "{fault} fits");
    }
    Ok(())
}
