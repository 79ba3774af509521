//! The crates, what they depend on, and in which direction that may point.
//!
//! The table [`MAY`] is the one in ARCHITECTURE.md. A crate that is in no row has no place in the architecture yet:
//! that is an error too, so that nobody adds a crate without deciding.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;

/// Which of our folders each folder on the device or for app developers may depend on, for whatever purpose.
const MAY: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("policy", &[]),
    ("package", &[]),
    ("package/packing", &["package", "policy"]),
    ("package/oci", &["policy"]),
    ("init", &["policy", "sys"]),
    ("bus/codegen", &[]),
    ("bus", &["sys", "bus/codegen"]),
    ("bus/tokio", &["bus", "sys"]),
    ("bus/router", &["bus", "sys"]),
    ("bus/devport", &["bus", "sys"]),
    ("bus/door", &["bus", "sys", "bus/devport", "sdk/rust"]),
    ("netd/firewall", &["sys"]),
    ("netd", &["policy", "sys", "bus", "bus/tokio", "netd/firewall"]),
    (
        "attestd",
        &[
            "bus",
            "sys",
            "bus/tokio",
            "attestd/evidence",
            "attestd/tpm",
            "attestd/luks",
            "attestd/permit",
            "service/api",
            "updated/slots",
            "daemons/contact",
        ],
    ),
    ("daemons", &["netd", "attestd", "updated", "bus/door", "sys"]),
    ("daemons/contact", &["service/api"]),
    (
        "updated",
        &[
            "bus",
            "sys",
            "bus/tokio",
            "daemons/contact",
            "sdk/rust",
            "service/api",
            "updated/tuf",
            "updated/delta",
        ],
    ),
    ("updated/slots", &[]),
    ("sdk/rust", &["bus", "bus/tokio", "sys"]),
    ("sdk/examples/rust/thermostat", &["sdk/rust"]),
    ("sdk/tls", &["sdk/rust", "bus"]),
    ("updated/tuf", &[]),
    ("attestd/tpm", &[]),
    ("attestd/luks", &[]),
    ("attestd/permit", &[]),
    ("updated/delta", &[]),
    ("sandboxd", &["policy", "package", "package/packing", "sys", "bus", "netd/firewall", "updated/slots"]),
    ("sandboxd/appsd", &["bus", "sys"]),
    ("service/api", &[]),
    ("service/repository", &["updated/tuf"]),
    ("attestd/evidence", &[]),
    (
        "service",
        &[
            "service/api",
            "service/repository",
            "updated/tuf",
            "attestd/evidence",
            "attestd/permit",
            "updated/delta",
        ],
    ),
    (
        "cli",
        &[
            "policy",
            "package/packing",
            "package/oci",
            "bus",
            "cli/boxed",
            "attestd/permit",
            "service/api",
            "service/repository",
            "updated/tuf",
            "updated/delta",
            "updated/slots",
        ],
    ),
    ("cli/boxed", &["policy", "sys", "sandboxd"]),
];
/// Nobody but tests, the image and [`MADE_OF`] may name these: they are daemons.
const DAEMONS: [&str; 10] = [
    "init",
    "sandboxd",
    "sandboxd/appsd",
    "bus/router",
    "bus/devport",
    "bus/door",
    "netd",
    "attestd",
    "updated",
    "daemons",
];
/// The developer's box is the device's own, so it has the builder of the one. The door carries what the developer port does. And a
/// program that is several daemons.
const MADE_OF: [(&str, &str); 6] = [
    ("cli/boxed", "sandboxd"),
    ("bus/door", "bus/devport"),
    ("daemons", "netd"),
    ("daemons", "attestd"),
    ("daemons", "updated"),
    ("daemons", "bus/door"),
];

/// One of our crates.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name for cargo.
    pub name: String,
    /// Its folder below the root of the tree.
    pub place: String,
    /// What its manifest names, of every kind.
    pub dependencies: Vec<Dependency>,
}

/// A direct dependency.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The name of the package.
    pub name: String,
    /// The folder, when it is one of ours.
    pub place: Option<String>,
    /// Features asked for.
    pub features: Vec<String>,
    /// Whether the default features come along.
    pub default_features: bool,
}

/// Reads the output of `cargo metadata --no-deps --format-version 1`.
///
/// # Errors
/// A key that is missing, named.
pub fn packages(metadata: &str) -> Result<Vec<Package>> {
    let all: Value = serde_json::from_str(metadata).context("cargo metadata is not JSON")?;
    let root = text(&all, "workspace_root")?;
    list(&all, "packages")?.iter().map(|package| read_package(package, &root)).collect()
}

fn read_package(package: &Value, root: &str) -> Result<Package> {
    let manifest = text(package, "manifest_path")?;
    let folder = manifest.strip_suffix("/Cargo.toml").context("a manifest not called Cargo.toml")?;
    let dependencies = list(package, "dependencies")?.iter().map(|d| read_dependency(d, root));
    let dependencies = dependencies.collect::<Result<_>>()?;
    Ok(Package { name: text(package, "name")?, place: below(folder, root), dependencies })
}

fn read_dependency(dependency: &Value, root: &str) -> Result<Dependency> {
    let features =
        list(dependency, "features")?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Dependency {
        name: text(dependency, "name")?,
        place: dependency.get("path").and_then(Value::as_str).map(|path| below(path, root)),
        features,
        default_features: dependency.get("uses_default_features").and_then(Value::as_bool).unwrap_or(true),
    })
}

fn below(path: &str, root: &str) -> String {
    path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_owned()
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value.get(key).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("no text {key:?} in cargo metadata"))
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value.get(key).and_then(Value::as_array).with_context(|| format!("no list {key:?} in cargo metadata"))
}

/// Every dependency that points the wrong way, and every crate without a row in the table.
pub fn wrong_directions(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let from = package.place.as_str();
        if !host_tool(from) && !demo(from) && !MAY.iter().any(|(place, _)| *place == from) {
            wrong.push(format!("{from}: not in the table of dependency directions"));
        }
        for to in package.dependencies.iter().filter_map(|d| d.place.as_deref()) {
            if !may(from, to) {
                wrong.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    wrong
}

fn may(from: &str, to: &str) -> bool {
    if from.starts_with("tests/") {
        return true;
    }
    if from == "image" {
        return !to.starts_with("tests/");
    }
    if DAEMONS.contains(&to) && !MADE_OF.contains(&(from, to)) {
        return false;
    }
    MAY.iter().any(|(place, allowed)| *place == from && allowed.contains(&to))
}

/// Runs on the developer's machine only.
fn host_tool(place: &str) -> bool {
    place.starts_with("tests/") || place == "image"
}

/// Worked examples for app developers: they use what an app can have, which is nothing of ours.
fn demo(place: &str) -> bool {
    place.starts_with("image/demo/")
}

/// Features of `sys` that PID 1 must not carry, among those `init` asks for.
pub fn builder_features_of_init(packages: &[Package]) -> Vec<String> {
    let init = packages.iter().filter(|p| p.place == "init");
    let sys = init.flat_map(|p| &p.dependencies).filter(|d| d.place.as_deref() == Some("sys"));
    sys.flat_map(|d| &d.features).filter(|f| ["builder", "bus"].contains(&f.as_str())).cloned().collect()
}

/// Crates that are not ours, by name and version, in the output of `cargo tree --prefix none`.
pub fn external_crates(tree: &str) -> BTreeSet<String> {
    let lines = tree.lines().map(str::trim).filter(|line| !line.is_empty());
    // A crate of ours is followed by its folder, "(/…)".
    let external = lines.filter(|line| !line.contains("(/"));
    external.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// Direct dependencies that are not ours, by name, with the folder of one crate that uses each.
pub fn direct_dependencies(packages: &[Package]) -> Vec<(String, String, bool)> {
    let each = packages.iter().flat_map(|p| p.dependencies.iter().map(move |d| (p, d)));
    let external = each.filter(|(_, d)| d.place.is_none());
    external.map(|(p, d)| (d.name.clone(), p.place.clone(), d.default_features)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(place: &str, on: &[&str]) -> Package {
        let ours = |to: &&str| Dependency {
            name: (*to).to_owned(),
            place: Some((*to).to_owned()),
            features: Vec::new(),
            default_features: false,
        };
        Package {
            name: place.to_owned(),
            place: place.to_owned(),
            dependencies: on.iter().map(ours).collect(),
        }
    }

    #[test]
    fn direction_of_the_design_is_accepted() {
        let all = [
            package("sys", &[]),
            package("policy", &[]),
            package("init", &["sys", "policy"]),
            package("sandboxd", &["policy", "sys"]),
            package("cli", &["policy", "cli/boxed"]),
            package("cli/boxed", &["policy", "sys", "sandboxd"]),
            package("image", &["policy", "sys", "sandboxd"]),
            package("tests/launch", &["sandboxd", "sys", "init"]),
            package("image/demo/probe", &[]),
        ];
        assert_eq!(wrong_directions(&all), [""; 0]);
    }

    #[test]
    fn direction_turned_round_is_refused() {
        let wrong = [
            ("sys", "policy"),
            ("policy", "sys"),
            ("init", "sandboxd"),
            ("sandboxd", "init"),
            ("cli", "sandboxd"),
            ("cli/boxed", "init"),
            ("sandboxd", "cli/boxed"),
            ("image", "tests/device"),
            ("sandboxd", "tests/launch"),
            ("image/demo/probe", "sys"),
        ];
        for (from, to) in wrong {
            assert_eq!(
                wrong_directions(&[package(from, &[to])]),
                [format!("{from} must not depend on {to}")]
            );
        }
    }

    #[test]
    fn crate_outside_the_table_is_refused() {
        assert_eq!(wrong_directions(&[package("elsewhere", &[])]).len(), 1);
    }

    #[test]
    fn builder_feature_in_init_is_found() {
        let mut init = package("init", &["sys"]);
        assert!(builder_features_of_init(std::slice::from_ref(&init)).is_empty());
        init.dependencies[0].features.push("builder".to_owned());
        assert_eq!(builder_features_of_init(&[init]), ["builder"]);
    }

    #[test]
    fn external_crates_are_counted_once_and_ours_not() {
        let tree = "gabion-init v0.1.0 (/a/init)\nlibc v0.2.1\nnix v0.31.0\nlibc v0.2.1 (*)\ngabion-sys v0.1.0 (/a/sys) (*)\n";
        assert_eq!(external_crates(tree).into_iter().collect::<Vec<_>>(), ["libc v0.2.1", "nix v0.31.0"]);
    }

    #[test]
    fn metadata_is_read_with_places_below_the_root() -> Result<()> {
        let json = r#"{"workspace_root":"/w","packages":[{"name":"a","manifest_path":"/w/x/a/Cargo.toml","dependencies":[
            {"name":"libc","features":["std"],"uses_default_features":true},
            {"name":"b","path":"/w/b","features":[],"uses_default_features":false}]}]}"#;
        let all = packages(json)?;
        assert_eq!(all[0].place, "x/a");
        assert_eq!(all[0].dependencies[1].place.as_deref(), Some("b"));
        assert_eq!(direct_dependencies(&all), [("libc".to_owned(), "x/a".to_owned(), true)]);
        Ok(())
    }

    #[test]
    fn metadata_without_packages_is_an_error() {
        assert!(packages("{\"workspace_root\":\"/w\"}").is_err());
    }
}
